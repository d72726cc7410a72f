package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sockerless/backend-azf/tfmodules"
)

// IDs lists the containers that have a workspace in use.
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

// Holds tells whether a workspace may still have something in Azure: its state has resources, or its app is there though no state knows
// it. Nothing is changed. A workspace that another process works in is ErrLocked.
func (m *Manager) Holds(ctx context.Context, id string) (bool, error) {
	dir := m.Path(id)
	if err := stateFree(dir); err != nil {
		return false, err
	}
	if known, err := readState(dir); err == nil && len(known.managed()) > 0 {
		return true, nil
	}
	last, err := lastOperation(dir, applying)
	if err != nil {
		return false, err
	}
	spec, rendered, err := readSpec(dir)
	if err != nil || !rendered || last == nil {
		return false, err // nothing was ever applied
	}
	for _, r := range m.ownApp(id, spec) {
		found, ok, err := m.cfg.Find(ctx, r.id)
		if err != nil || ok && found.Tags[r.tag] == r.value {
			return true, err
		}
	}
	return false, nil
}

// DestroyOrphan destroys a function app that carries the tag of the container with the given id and has no workspace: it is imported into a
// new one, which Destroy then empties. Of app, only what names the function app counts; the rest must be valid and is never applied.
// It can be called again after any failure, and the app of another container is ErrForeign.
func (m *Manager) DestroyOrphan(ctx context.Context, id string, app FunctionApp) (Operation, error) {
	if !idPattern.MatchString(id) {
		return Operation{}, fmt.Errorf("reclaim: %q is not a container id", id)
	}
	dir := m.Path(id)
	app.ServicePlanID = m.resourceID(app.ResourceGroupName, "Microsoft.Web/serverFarms", "unknown") // good enough for an import
	if err := m.render(dir, tfmodules.FunctionApp(), app); err != nil {
		return Operation{}, err
	}
	if err := m.mend(dir); err != nil {
		return Operation{}, err
	}
	err := m.attempt(ctx, dir, func(s *session) error {
		list := m.ownApp(id, app)
		list[0].shared = true // nothing was ever applied here
		_, err := m.adopt(ctx, dir, list, s)
		return err
	})
	if err != nil {
		return Operation{}, err
	}
	return m.Destroy(ctx, id)
}

// Archive moves the workspace of a container that is gone, and whose workspace holds nothing, to the archive, without what terraform init
// can make again.
func (m *Manager) Archive(id string) error {
	dir := m.Path(id)
	if err := os.RemoveAll(filepath.Join(dir, ".terraform")); err != nil {
		return fmt.Errorf("archive workspace: %w", err)
	}
	if _, err := secureState(dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to := m.ArchivePath(id)
	// An app that was reclaimed may have an earlier workspace there.
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
