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
	// damaged is added to the name of a state file that was only partly written. The file is kept for people to look at.
	damaged = ".damaged"
)

// ErrLocked is wrapped when another process works in a workspace.
var ErrLocked = errors.New("another Terraform run holds the lock of its state")

// repair makes the files of a workspace fit for the next operation after the last one was killed or its disk was full.
// While another process works in the workspace, repair does nothing and returns ErrLocked. pushErrored repairs what
// only Terraform can.
func (m *Manager) repair(dir string) error {
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
			return fmt.Errorf("repair workspace: %w", err)
		}
	}
	if err := removeImports(dir); err != nil {
		return fmt.Errorf("repair workspace: %w", err)
	}
	if remote {
		return nil
	}
	if err := m.repairState(dir); err != nil {
		return fmt.Errorf("repair workspace: %w", err)
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

// repairState undoes what a killed terraform did to half of the state. Terraform empties the file when it locks it and
// writes it in place; the backup holds the state from before the operation.
func (m *Manager) repairState(dir string) error {
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
	// Until the last step the state stays as it is, so that a full disk or another kill leaves the same work to repair.
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
	m.cfg.Log.Warn().Str("workspace", dir).Msg("the state was only partly written: restored the one from before")
	return writeFile(path, backup)
}

// pushErrored puts the content of errored.tfstate into the state. Terraform writes that file when it cannot write the
// state.
func (m *Manager) pushErrored(ctx context.Context, s *session) error {
	path := filepath.Join(s.dir, erroredFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("repair workspace: %w", err)
	}
	if !json.Valid(content) { // the disk was full for it as well
		return os.Rename(path, path+damaged)
	}
	err = m.command(ctx, s, "state push", func(tf *tfexec.Terraform) error {
		if err := tf.StatePush(ctx, erroredFile, m.lockTimeout()); err != nil {
			return fmt.Errorf("%w; %s holds the resources of the last operation: push it by hand, or remove it", err, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := secureState(s.dir); err != nil {
		return err
	}
	m.cfg.Log.Warn().Str("workspace", s.dir).Msg("pushed the state that an earlier operation could not write")
	return remove(s.dir, erroredFile)
}
