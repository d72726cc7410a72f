package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
	"golang.org/x/sys/unix"
)

// Files that Terraform leaves beside the state.
const (
	backupFile  = stateFile + ".backup"
	erroredFile = "errored.tfstate"
	lockInfo    = "." + stateFile + ".lock.info"
	// damaged is added to the name of a state file that was written in part only, and is kept to be looked at.
	damaged = ".damaged"
)

// ErrLocked is wrapped when another process works in a workspace.
var ErrLocked = errors.New("another Terraform run holds the lock of its state")

// mend makes the files of a workspace fit for the next run, whatever the last one left: it was killed, or its disk was full. While another
// process works in the workspace, nothing is done, and the error is ErrLocked. What only Terraform can mend is pushErrored's.
func (m *Manager) mend(dir string) error {
	remote := m.cfg.Backend.Remote()
	if !remote {
		if err := stateFree(dir); err != nil {
			return err
		}
	}
	leftovers, err := filepath.Glob(filepath.Join(dir, temporary))
	if err != nil {
		return err
	}
	for _, path := range leftovers {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("mend workspace: %w", err)
		}
	}
	if remote {
		return nil
	}
	if err := m.mendState(dir); err != nil {
		return fmt.Errorf("mend workspace: %w", err)
	}
	return nil
}

// stateFree is ErrLocked while a living process holds the lock of the local state. Terraform locks the file itself (fcntl), so the
// kernel frees the lock of a dead run, and only its description stays behind.
func stateFree(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, stateFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mend workspace: %w", err)
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

// mendState undoes what a killed run did to the state by halves: Terraform makes the file empty when it locks it and writes it in
// place, with the state from before the run in the backup.
func (m *Manager) mendState(dir string) error {
	if err := remove(dir, lockInfo); err != nil {
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
	if len(content) > 0 && json.Valid(content) {
		return nil
	}
	// Until the last step the state stays as it is, so that a full disk or another kill leaves the same to mend.
	if len(content) > 0 {
		if err := writeFile(path+damaged, content); err != nil {
			return err
		}
	}
	backup, err := os.ReadFile(filepath.Join(dir, backupFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !json.Valid(backup) {
		return os.Remove(path)
	}
	m.cfg.Log.Warn().Str("workspace", dir).Msg("the state was written in part only: the one from before is taken")
	return writeFile(path, backup)
}

// pushErrored puts into the state what Terraform could not, and wrote to errored.tfstate instead.
func (m *Manager) pushErrored(ctx context.Context, dir string, s *session) error {
	path := filepath.Join(dir, erroredFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mend workspace: %w", err)
	}
	if !json.Valid(content) { // the disk was full for it as well
		return os.Rename(path, path+damaged)
	}
	err = m.command(ctx, dir, "state push", s, func(tf *tfexec.Terraform) error {
		if err := tf.StatePush(ctx, erroredFile, m.lockTimeout()); err != nil {
			return fmt.Errorf("%w; %s holds what the last run made: push it by hand, or remove it", err, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := secureState(dir); err != nil {
		return err
	}
	m.cfg.Log.Warn().Str("workspace", dir).Msg("pushed the state that an earlier run could not write")
	return remove(dir, erroredFile)
}

// remove removes a file that may be gone.
func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
