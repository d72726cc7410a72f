package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Guarded returns an error that names each file and folder of sets that others than root and the user of this process
// may change: who may do so decides what is allowed.
func Guarded(sets []Set) error {
	var errs []error
	for _, s := range sets {
		if len(s.Command) > 0 {
			errs = append(errs, guarded(s.Name, s.Command[0]))
			continue
		}
		if s.VerifyKey != "" {
			errs = append(errs, guarded(s.Name, s.VerifyKey))
		}
		root, err := filepath.EvalSymlinks(s.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("policies.%s: %w", s.Name, err))
			continue
		}
		err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = guarded(s.Name, path)
			}
			return err
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func guarded(set, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("policies.%s: %w", set, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("policies.%s: others may change %s: run chmod go-w on it", set, path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("policies.%s: %s belongs to uid %d, who may change it: give it to root, or to the daemon's user",
			set, path, owner.Uid)
	}
	return nil
}
