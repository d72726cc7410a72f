package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"time"
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
// can create again is removed, and unless Config.KeepSecrets is set what holds secrets. A workspace with a state that
// cannot be read stays where it is, and is an error.
func (m *Manager) Archive(id string) error {
	dir := m.Path(id)
	if _, err := localStates(dir, ""); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".terraform")); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	if err := secureState(dir); err != nil {
		return err
	}
	if !m.cfg.KeepSecrets {
		if err := removeSecrets(dir); err != nil {
			return fmt.Errorf("archive workspace: %w", err)
		}
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to, n := m.ArchivePath(id), 1
	// An orphan that was imported may have an earlier workspace there.
	for range m.archived(id) {
		n++
		to = m.ArchivePath(id) + "-" + strconv.Itoa(n)
	}
	now := m.cfg.Now() // see Expired
	if err := errors.Join(os.Chtimes(dir, now, now), os.Rename(dir, to)); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	return nil
}

// withSecrets are the files of a workspace in use that hold secrets. An earlier release kept plan files beside the
// state.
var withSecrets = []string{
	"*.tfvars", "*.tfvars.json", "*.tfplan", "*.tfstate*", filepath.Join(operationsDir, "*", planFile),
	"." + stateFile + "*",
}

// removeSecrets removes the files of a workspace that hold secrets. Nobody needs them any more: the workspace holds
// nothing in Azure.
func removeSecrets(dir string) error {
	for _, pattern := range withSecrets {
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

// Expired returns up to limit archived workspaces, and operations of the foundation, that are older than before, as
// paths below Config.Dir. The foundation's last operation always stays.
func (m *Manager) Expired(before time.Time, limit int) (paths []string, err error) {
	for _, parent := range []string{"archive", filepath.Join(FoundationID, operationsDir)} {
		entries, err := os.ReadDir(filepath.Join(m.cfg.Dir, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list the archive: %w", err)
		}
		if parent != "archive" && len(entries) > 0 {
			entries = entries[:len(entries)-1]
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(before) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list the archive: %w", err)
			}
			if paths = append(paths, filepath.Join(parent, entry.Name())); len(paths) == limit {
				return paths, nil
			}
		}
	}
	return paths, nil
}

// RemoveExpired removes what Expired has returned.
func (m *Manager) RemoveExpired(paths []string) error {
	for _, path := range paths {
		if err := os.RemoveAll(filepath.Join(m.cfg.Dir, path)); err != nil {
			return fmt.Errorf("remove from the archive: %w", err)
		}
	}
	return nil
}

// archived returns the folders of a container's archived workspaces, the oldest first.
func (m *Manager) archived(id string) iter.Seq[string] {
	return func(yield func(string) bool) {
		path := m.ArchivePath(id)
		for n := 2; ; n++ {
			if _, err := os.Lstat(path); err != nil || !yield(path) {
				return
			}
			path = m.ArchivePath(id) + "-" + strconv.Itoa(n)
		}
	}
}
