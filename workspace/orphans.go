package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// IDs returns the ids of the containers that have a workspace in use.
func (m *Manager) IDs() ([]string, error) { return m.ids(containersDir, idPattern) }

// ids returns the names of the workspaces in a folder.
func (m *Manager) ids(folder string, form *regexp.Regexp) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(m.cfg.Dir, folder))
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() && form.MatchString(entry.Name()) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// Archive moves the workspace of a removed container, which holds nothing in Azure, to the archive. What terraform init
// can create again is removed, and unless Config.KeepSecrets is set what holds secrets. A workspace with a state that
// cannot be read stays where it is, and is an error.
func (m *Manager) Archive(id string) error { return m.archive(m.Path(id)) }

// archive is Archive.
func (m *Manager) archive(dir string) error {
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
	_, to := m.archived(filepath.Base(dir))
	now := m.cfg.Now() // see expired
	if err := errors.Join(os.Chtimes(dir, now, now), os.Rename(dir, to)); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	return nil
}

// withSecrets are the files of a workspace in use that hold secrets: the temporary ones may become any of the others.
// An earlier release kept plan files beside the state.
var withSecrets = []string{
	"*.tfvars", "*.tfvars.json", "*.tfplan", "*.tfstate*", filepath.Join(operationsDir, "*", planFile), temporary,
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
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Expired returns up to limit archived workspaces, and operations of the foundation and of service plans in use, that
// are older than before, as paths below Config.Dir. The last operation of a workspace in use always stays, and so does
// the last one that was applied.
func (m *Manager) Expired(before time.Time, limit int) (paths []string, err error) {
	add := func(parent string, kept func(name string) bool) error {
		found, err := expiredIn(filepath.Join(m.cfg.Dir, parent), before, limit-len(paths), kept)
		if err != nil {
			return fmt.Errorf("list the archive: %w", err)
		}
		for _, name := range found {
			paths = append(paths, filepath.Join(parent, name))
		}
		return nil
	}
	if err := add("archive", func(string) bool { return false }); err != nil {
		return nil, err
	}
	plans, err := m.ServicePlanIDs()
	if err != nil {
		return nil, err
	}
	inUse := []string{FoundationID}
	for _, id := range plans {
		inUse = append(inUse, ServicePlanWorkspace(id))
	}
	for _, name := range inUse {
		kept, err := m.neededOperations(filepath.Join(m.cfg.Dir, name))
		if err != nil {
			return nil, err
		}
		if err := add(filepath.Join(name, operationsDir), kept); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// neededOperations returns the function that reports whether a folder of a workspace's operations must stay.
func (m *Manager) neededOperations(dir string) (func(folder string) bool, error) {
	_, last, err := operationFolders(dir)
	if err != nil {
		return nil, err
	}
	applied, err := newestOperation(dir)
	if err != nil {
		return nil, err
	}
	return func(folder string) bool {
		form := folderForm.FindStringSubmatch(folder)
		if form == nil {
			return true
		}
		n, err := strconv.Atoi(form[1])
		return err != nil || n == last || applied != nil && n == applied.Number
	}, nil
}

// listed is the number of entries that are read at a time of a folder that may have very many.
const listed = 1000

// expiredIn returns up to limit names of folders in parent that are older than before and not kept.
func expiredIn(parent string, before time.Time, limit int, kept func(name string) bool) (names []string, err error) {
	f, err := os.Open(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		entries, err := f.ReadDir(listed)
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		for _, entry := range entries {
			if len(names) == limit {
				return names, nil
			}
			if kept(entry.Name()) {
				continue
			}
			old, err := expired(filepath.Join(parent, entry.Name()), before)
			if err != nil {
				return nil, err
			}
			if old {
				names = append(names, entry.Name())
			}
		}
	}
}

// expired reports whether an archived workspace, or the folder of an operation, is older than before. A restored folder
// may have the time of its restoration, so that the end of its last operation counts, too.
func expired(dir string, before time.Time) (bool, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || info.ModTime().Before(before) {
		return err == nil, err
	}
	last, err := readVerdict(filepath.Join(dir, verdict))
	if err == nil && last == nil {
		last, err = newestVerdict(dir, func(*Operation) bool { return true })
	}
	return last != nil && !last.Finished.IsZero() && last.Finished.Before(before), err
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

// archiveGap is the number of names after which archived gives up.
const archiveGap = 16

// archived returns the folders of a container's archived workspaces, the oldest first, and the one for the next. A
// container has several when its app was an orphan afterwards. The oldest may have been removed. The archive may be
// large, so that it is not listed.
func (m *Manager) archived(id string) (found []string, next string) {
	name := func(n int) string {
		if n == 1 {
			return m.ArchivePath(id)
		}
		return m.ArchivePath(id) + "-" + strconv.Itoa(n)
	}
	last := 0
	for n := 1; n <= last+archiveGap; n++ {
		if _, err := os.Lstat(name(n)); err == nil {
			found, last = append(found, name(n)), n
		}
	}
	return found, name(last + 1)
}
