package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/sockerless/backend-azf/tfmodules"
)

// Container is what Destroy and Holds must know of a container, whatever is left of its workspace.
type Container struct {
	ID          string // 64 hex digits
	FunctionApp string
	// ResourceGroup is that of the function app, unless the workspace's variables name another one.
	ResourceGroup string
	// Begun reports whether the creation of the function app may have begun, on any daemon. Otherwise a container whose
	// workspace was never applied has nothing in Azure.
	Begun bool
}

// removal is what the removal of a workspace's one resource must know.
type removal struct {
	dir string
	// name is that of the resource in Azure.
	name  string
	begun bool
	// module names the resource and reads nothing else, and vars are its variables.
	module    fs.FS
	vars      removalVars
	resources []importable
}

// removalVars are the variables of the modules removal and serviceplanremoval.
type removalVars struct {
	Name              string `json:"name"`
	ResourceGroupName string `json:"resource_group_name"`
	ServicePlanID     string `json:"service_plan_id,omitempty"`
}

// ofContainer returns what the removal of a container's function app must know.
func (m *Manager) ofContainer(c Container) removal {
	dir := m.Path(c.ID)
	group := groupOf(dir, c.ResourceGroup)
	return removal{
		dir: dir, name: c.FunctionApp, begun: c.Begun, module: tfmodules.Removal(),
		vars: removalVars{
			Name: c.FunctionApp, ResourceGroupName: group,
			ServicePlanID: m.resourceID(group, "Microsoft.Web/serverFarms", "unknown"),
		},
		resources: m.ofFunctionApp(c.ID, c.FunctionApp, group),
	}
}

// Holds reports whether a container's workspace may still have a resource in Azure: its state has resources, or the app
// exists although no state knows it. It changes nothing. A workspace that another process works in is ErrLocked. A
// state that cannot be read is an error.
func (m *Manager) Holds(ctx context.Context, c Container) (bool, error) {
	return m.holds(ctx, m.ofContainer(c))
}

// holds is Holds.
func (m *Manager) holds(ctx context.Context, r removal) (bool, error) {
	if err := stateFree(r.dir); err != nil {
		return false, err
	}
	known, err := localStates(r.dir, r.name)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(known, func(s *state) bool { return len(s.managed()) > 0 }) {
		return true, nil
	}
	left, err := m.missing(ctx, nil, r.resources)
	if errors.Is(err, ErrForeign) {
		return false, nil
	}
	return len(left) > 0, err
}

// Destroy deletes the container's function app, checks that nothing is left, and moves the workspace to the archive. It
// needs neither the files of the workspace nor what the app was created with: it writes the module removal into the
// workspace, and what the state does not know it looks for in Azure and imports, by an operation of its own. An app
// that is gone, and one that has another container's tags, is not an error. Destroy can be called again after any
// failure. dead may be nil.
func (m *Manager) Destroy(ctx context.Context, c Container, dead DeadHolder) (Operation, error) {
	if !idPattern.MatchString(c.ID) {
		return Operation{}, fmt.Errorf("destroy: %q is not a container id", c.ID)
	}
	return m.remove(ctx, m.ofContainer(c), dead)
}

// remove is Destroy.
func (m *Manager) remove(ctx context.Context, r removal, dead DeadHolder) (op Operation, err error) {
	if _, err := os.Stat(r.dir); errors.Is(err, fs.ErrNotExist) {
		if there, err := m.remains(ctx, r); err != nil || !there {
			return Operation{}, err
		}
	}
	if err := m.repair(r.dir, r.name); err != nil {
		return Operation{}, err
	}
	r.begun = r.begun || touched(r.dir)
	if err := m.renderRemoval(r); err != nil {
		return Operation{}, err
	}
	err = m.retry(ctx, task{
		dir: r.dir, dead: dead, name: r.name, removes: r.resources,
		do: func(ctx context.Context, s *session) (err error) {
			op, err = m.destroy(ctx, r, s)
			return err
		},
	})
	if err != nil {
		return Operation{}, err
	}
	return op, m.archive(r.dir)
}

// remains reports whether there may be something in Azure or in a remote backend although there is no workspace.
func (m *Manager) remains(ctx context.Context, r removal) (bool, error) {
	if !r.begun {
		return false, nil
	}
	if archived, _ := m.archived(filepath.Base(r.dir)); len(archived) == 0 && m.cfg.Backend.Remote() {
		return true, nil // the state may be there
	}
	// What is in the archive was destroyed, unless somebody else knows better.
	return m.holds(ctx, r)
}

// touched reports whether an apply was begun in a workspace, or left a state in whatever condition.
func touched(dir string) bool {
	if last, err := newestOperation(dir); err != nil || last != nil {
		return true
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tfstate*"))
	return err != nil || len(found) > 0
}

// groupOf returns the resource group in a workspace's variables, or the given one when they cannot be read.
func groupOf(dir, group string) string {
	content, err := os.ReadFile(filepath.Join(dir, varsFile))
	var vars removalVars
	if err != nil || json.Unmarshal(content, &vars) != nil || vars.ResourceGroupName == "" {
		return group
	}
	return vars.ResourceGroupName
}

// renderRemoval makes a workspace's configuration the module of the removal, and nothing else.
func (m *Manager) renderRemoval(r removal) error {
	for _, pattern := range []string{"*.tf", "*.tf.json", "*.tfvars", "*.tfvars.json"} {
		found, err := filepath.Glob(filepath.Join(r.dir, pattern))
		if err != nil {
			return fmt.Errorf("render workspace: %w", err)
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("render workspace: %w", err)
			}
		}
	}
	return m.render(r.dir, r.module, r.vars)
}

// destroy empties the workspace's state.
func (m *Manager) destroy(ctx context.Context, r removal, s *session) (Operation, error) {
	if err := m.pushErrored(ctx, s, r.name); err != nil {
		return Operation{}, err
	}
	known, err := m.knownState(ctx, s, r.name)
	if err != nil {
		return Operation{}, err
	}
	if r.begun {
		if known, err = m.importMissing(ctx, r, known, s); err != nil {
			return Operation{}, err
		}
	}
	if len(known.managed()) == 0 {
		return Operation{}, nil
	}
	op, err := m.operateImporting(ctx, destroying, s, nil)
	if err != nil {
		return Operation{}, err
	}
	if known, err = m.knownState(ctx, s, r.name); err != nil {
		return Operation{}, err
	}
	if left := known.managed(); len(left) > 0 {
		return Operation{}, fmt.Errorf("workspace %s: %s is still in the state after destroy",
			s.dir, strings.Join(left, ", "))
	}
	if m.cfg.KeepSecrets && known != nil && known.content != nil {
		// The archive holds the last state whatever the backend is.
		return op, writeFile(filepath.Join(s.dir, stateFile), known.content)
	}
	return op, nil
}

// knownState returns the workspace's state, nil when there is none.
func (m *Manager) knownState(ctx context.Context, s *session, name string) (*state, error) {
	known, err := m.readState(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if foreign := known.foreign(name); foreign != "" {
		return nil, fmt.Errorf("%s has %s: %w", m.stateName(s.dir), foreign, ErrOtherState)
	}
	return known, nil
}

// importMissing imports what Azure holds and the state does not know, and returns the state afterwards.
func (m *Manager) importMissing(ctx context.Context, r removal, known *state, s *session) (*state, error) {
	left, err := m.missing(ctx, known, r.resources)
	if errors.Is(err, ErrForeign) {
		return known, nil
	}
	if err != nil || len(left) == 0 {
		return known, err
	}
	if s.stateOnly {
		err = m.adopt(ctx, r, known, left, s)
	} else {
		_, err = m.operateImporting(ctx, importing, s, left)
	}
	if err != nil {
		return nil, err
	}
	return m.knownState(ctx, s, r.name)
}

// adopt puts resources into the state by their ids alone. The provider deletes them by these, and an import, which
// reads, has failed.
func (m *Manager) adopt(ctx context.Context, r removal, known *state, left []importable, s *session) error {
	adopted := map[string]any{"version": stateVersion, "serial": 1, "lineage": uuid.NewString()}
	if last, err := newestOperation(s.dir); err == nil && last != nil && last.Lineage != "" {
		adopted["serial"], adopted["lineage"] = last.Serial+1, last.Lineage
	}
	if known != nil {
		adopted["serial"], adopted["lineage"] = known.Serial+1, known.Lineage
	}
	address := azurermAddresses[0]
	if dir, _, ok := strings.Cut(m.cfg.Package.Path, "/hashicorp/"); ok {
		address = dir + "/hashicorp/azurerm"
	}
	var resources []map[string]any
	for _, l := range left {
		kind, name, _ := strings.Cut(l.Address, ".")
		resources = append(resources, map[string]any{
			"mode": "managed", "type": kind, "name": name, "provider": `provider["` + address + `"]`,
			"instances": []map[string]any{{"schema_version": 1, "attributes": map[string]string{"id": l.id}}},
		})
		m.cfg.Log.Warn().Str("workspace", s.dir).Str("resource", l.id).Str("correlation_id", s.correlation).
			Msg("a resource that cannot be imported was put into the state by its id, to be deleted")
	}
	adopted["resources"] = resources
	content, err := json.Marshal(adopted)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.dir, erroredFile), content); err != nil {
		return err
	}
	return m.pushErrored(ctx, s, r.name)
}
