package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// IDs returns the ids of the containers that have a workspace in use.
func (m *Manager) IDs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(m.cfg.Dir, "containers"))
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() && idPattern.MatchString(entry.Name()) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// Archive moves the workspace of a removed container, which holds nothing in Azure, to the archive. What terraform init
// can create again is removed.
func (m *Manager) Archive(id string) error {
	dir := m.Path(id)
	if err := os.RemoveAll(filepath.Join(dir, ".terraform")); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	if err := secureState(dir); err != nil {
		return err
	}
	if err := removeSecrets(dir); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to := m.ArchivePath(id)
	// An orphan that was imported may have an earlier workspace there.
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = m.ArchivePath(id) + "-" + strconv.Itoa(n)
	}
	if err := os.Rename(dir, to); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	return nil
}

// removeSecrets removes the files of a workspace with secrets that nobody needs any more: plans, earlier states, and a
// state that holds nothing in Azure but what was read there.
func removeSecrets(dir string) error {
	patterns := []string{"*.tfplan", backupFile, erroredFile, "*" + damaged + "*"}
	known, err := readState(dir)
	if err == nil && len(known.managed()) == 0 && len(known.Resources)+len(known.Outputs) > 0 {
		patterns = append(patterns, stateFile)
	}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
