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

// Holds reports whether a workspace may still have a resource in Azure: its state has resources, or its app exists
// although no state knows it. It changes nothing. A workspace that another process works in is ErrLocked.
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
	for _, r := range m.ofFunctionApp(id, spec) {
		found, ok, err := m.cfg.Find(ctx, r.id)
		if err != nil || ok && found.Tags[r.tag] == r.value {
			return true, err
		}
	}
	return false, nil
}

// DestroyOrphan destroys a function app that carries the tag of the container with the given id and has no workspace.
// It imports the app into a new workspace, which Destroy then empties. Of app, only the name and the resource group of
// the function app count; the rest must be valid and is never applied. DestroyOrphan can be called again after any
// failure. The app of another container is ErrForeign. dead may be nil.
func (m *Manager) DestroyOrphan(ctx context.Context, id string, app FunctionApp, dead DeadHolder) (Operation, error) {
	if !idPattern.MatchString(id) {
		return Operation{}, fmt.Errorf("destroy orphan: %q is not a container id", id)
	}
	dir := m.Path(id)
	// Good enough for an import.
	app.ServicePlanID = m.resourceID(app.ResourceGroupName, "Microsoft.Web/serverFarms", "unknown")
	if err := m.render(dir, tfmodules.FunctionApp(), app); err != nil {
		return Operation{}, err
	}
	if err := m.repair(dir); err != nil {
		return Operation{}, err
	}
	err := m.retry(ctx, task{dir: dir, dead: dead, do: func(ctx context.Context, s *session) error {
		resources := m.ofFunctionApp(id, app)
		for i := range resources {
			resources[i].shared = true // nothing was ever applied here
		}
		return m.importLeftovers(ctx, s, resources)
	}})
	if err != nil {
		return Operation{}, err
	}
	return m.Destroy(ctx, id, dead)
}

// Archive moves the workspace of a removed container, which holds nothing in Azure, to the archive. What terraform init
// can create again is removed.
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
