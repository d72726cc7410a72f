package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hashicorp/terraform-exec/tfexec"
	"golang.org/x/sys/unix"
)

// Files that Terraform leaves beside the state.
const (
	backupFile  = stateFile + ".backup"
	erroredFile = "errored.tfstate"
	lockInfo    = "." + stateFile + ".lock.info"
	// damaged is added to the name of a file that is not the workspace's state. It is kept for people to look at.
	damaged = ".damaged"
)

// ErrLocked is wrapped when another process works in a workspace.
var ErrLocked = errors.New("another Terraform run holds the lock of its state")

// repair makes the files of a workspace fit for the next operation after the last one was killed, its disk was full or
// its files were lost or damaged. While another process works in the workspace, repair does nothing and returns
// ErrLocked. Nor does it do anything when a state is encrypted, another workspace's or of a newer Terraform, which is
// an error. pushErrored repairs what only Terraform can. name is that of the resource in Azure, "" in the foundation's
// workspace, which has several.
func (m *Manager) repair(dir, name string) error {
	remote := m.cfg.Backend.Remote()
	if !remote {
		if err := stateFree(dir); err != nil {
			return err
		}
	}
	if _, err := localStates(dir, name); err != nil {
		return fmt.Errorf("repair workspace: %w", err)
	}
	for _, pattern := range []string{temporary, "imports*.tf.json"} {
		leftovers, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range leftovers {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("repair workspace: %w", err)
			}
		}
	}
	if remote {
		return nil
	}
	if err := m.repairState(dir, name); err != nil {
		return fmt.Errorf("repair workspace %s: %w", dir, err)
	}
	return nil
}

// stateFree returns ErrLocked while a living process holds the lock of the local state. Terraform locks the file itself
// (fcntl), so the kernel frees the lock of a dead process, and only its description stays behind.
func stateFree(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, stateFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("repair workspace: %w", err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
	err = errors.Join(unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock), f.Close())
	if err != nil {
		return fmt.Errorf("ask for the lock of %s: %w", f.Name(), err)
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("workspace %s: %w: process %d; let it end, or end it", dir, ErrLocked, lock.Pid)
	}
	return nil
}

// repairState sets a file aside that is not a state, and puts the backup in its place when that is this workspace's. A
// killed terraform leaves such a file: it empties the file when it locks it and writes it in place. The backup
// holds the state from before the operation. What neither knows is found in Azure by the next operation. The caller
// knows from localStates that the state need not stay.
func (m *Manager) repairState(dir, name string) error {
	if err := remove(dir, lockInfo); err != nil {
		return err
	}
	last, err := newestOperation(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stateFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	log := m.cfg.Log.With().Str("workspace", dir).Logger()
	known, problem := ownState(content, last, name)
	if problem == nil {
		if last != nil && last.Lineage == known.Lineage && known.Serial < last.Serial {
			log.Warn().Uint64("serial", known.Serial).Uint64("last_serial", last.Serial).
				Msg("the state is older than the one that the last operation left: what it lacks is looked for in Azure")
		}
		return nil
	}
	// Until the last step the state stays as it is, so that a full disk or another kill leaves the same work to repair.
	backup, err := os.ReadFile(filepath.Join(dir, backupFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(content) > 0 {
		if err := setAside(path, content); err != nil {
			return err
		}
		log.Warn().Err(problem).Msg("the state file was set aside: what it should hold is looked for in Azure")
	}
	if _, err := ownState(backup, last, name); err != nil {
		return os.Remove(path)
	}
	log.Warn().Msg("restored the state from before the last operation")
	return writeFile(path, backup)
}

// ownState parses a state and checks that it is the one of a workspace whose last operation and resource are given.
// last may be nil, and name empty.
func ownState(content []byte, last *Operation, name string) (*state, error) {
	known, err := parseState(content)
	if err != nil {
		return nil, err
	}
	if foreign := known.foreign(name); foreign != "" {
		return nil, fmt.Errorf("%s is in it: %w", foreign, ErrOtherState)
	}
	if last != nil && last.Lineage != "" && last.Lineage != known.Lineage {
		return nil, fmt.Errorf("its lineage is %s and that of the last operation %s: %w", known.Lineage, last.Lineage,
			ErrOtherState)
	}
	return known, nil
}

// setAside keeps content under a name of its own beside path, unless an earlier attempt did.
func setAside(path string, content []byte) error {
	for n := 1; ; n++ {
		name := path + damaged
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		have, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return writeFile(name, content)
		}
		if err != nil || bytes.Equal(have, content) {
			return err
		}
	}
}

// pushErrored puts the content of errored.tfstate into the state. Terraform writes that file when it cannot write the
// state. A file that is not a state, or older than the state, is set aside.
func (m *Manager) pushErrored(ctx context.Context, s *session, name string) error {
	path := filepath.Join(s.dir, erroredFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("repair workspace: %w", err)
	}
	last, err := newestOperation(s.dir)
	if err != nil {
		return err
	}
	if _, err := ownState(content, last, name); err != nil { // the disk may have been full for it as well
		if stays(err) {
			return fmt.Errorf("%s: %w", path, err)
		}
		return errors.Join(setAside(path, content), os.Remove(path))
	}
	err = m.command(ctx, s, "state push", func(tf *tfexec.Terraform) error {
		if err := tf.StatePush(ctx, erroredFile, m.lockTimeout()); err != nil {
			return fmt.Errorf("%w; %s holds the resources of the last operation: push it by hand, or remove it", err, path)
		}
		return nil
	})
	if outputContains(err, "cannot import state with") { // its message for another lineage or a lower serial
		return errors.Join(setAside(path, content), os.Remove(path))
	}
	if err != nil {
		return err
	}
	if err := secureState(s.dir); err != nil {
		return err
	}
	m.cfg.Log.Warn().Str("workspace", s.dir).Msg("pushed the state that an earlier operation could not write")
	return remove(s.dir, erroredFile)
}
