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

// removal is the spec of a workspace that Destroy empties: the variables of the module removal.
type removal struct {
	Name              string `json:"name"`
	ResourceGroupName string `json:"resource_group_name"`
	ServicePlanID     string `json:"service_plan_id"`
}

// Holds reports whether a container's workspace may still have a resource in Azure: its state has resources, or the app
// exists although no state knows it. It changes nothing. A workspace that another process works in is ErrLocked. A
// state that cannot be read is an error.
func (m *Manager) Holds(ctx context.Context, c Container) (bool, error) {
	dir := m.Path(c.ID)
	if err := stateFree(dir); err != nil {
		return false, err
	}
	c.ResourceGroup = groupOf(dir, c.ResourceGroup)
	known, err := localStates(dir, c.FunctionApp)
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(known, func(s *state) bool { return len(s.managed()) > 0 }) {
		return true, nil
	}
	left, err := m.missing(ctx, nil, m.ofFunctionApp(c.ID, c.FunctionApp, c.ResourceGroup))
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
func (m *Manager) Destroy(ctx context.Context, c Container, dead DeadHolder) (op Operation, err error) {
	if !idPattern.MatchString(c.ID) {
		return Operation{}, fmt.Errorf("destroy: %q is not a container id", c.ID)
	}
	dir := m.Path(c.ID)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if there, err := m.remains(ctx, c); err != nil || !there {
			return Operation{}, err
		}
	}
	if err := m.repair(dir, c.FunctionApp); err != nil {
		return Operation{}, err
	}
	begun := c.Begun || touched(dir)
	c.ResourceGroup = groupOf(dir, c.ResourceGroup)
	if err := m.renderRemoval(dir, c); err != nil {
		return Operation{}, err
	}
	err = m.retry(ctx, task{
		dir: dir, dead: dead, app: c.FunctionApp, removes: m.ofFunctionApp(c.ID, c.FunctionApp, c.ResourceGroup),
		do: func(ctx context.Context, s *session) (err error) {
			op, err = m.destroy(ctx, c, begun, s)
			return err
		},
	})
	if err != nil {
		return Operation{}, err
	}
	return op, m.Archive(c.ID)
}

// remains reports whether a container without a workspace may have something in Azure or in a remote backend.
func (m *Manager) remains(ctx context.Context, c Container) (bool, error) {
	if !c.Begun {
		return false, nil
	}
	if archived, _ := m.archived(c.ID); len(archived) == 0 && m.cfg.Backend.Remote() {
		return true, nil // the state may be there
	}
	// What is in the archive was destroyed, unless somebody else knows better.
	return m.Holds(ctx, c)
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
	var vars removal
	if err != nil || json.Unmarshal(content, &vars) != nil || vars.ResourceGroupName == "" {
		return group
	}
	return vars.ResourceGroupName
}

// renderRemoval makes a workspace's configuration the module removal, and nothing else.
func (m *Manager) renderRemoval(dir string, c Container) error {
	for _, pattern := range []string{"*.tf", "*.tf.json", "*.tfvars", "*.tfvars.json"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("render workspace: %w", err)
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("render workspace: %w", err)
			}
		}
	}
	return m.render(dir, tfmodules.Removal(), removal{
		Name: c.FunctionApp, ResourceGroupName: c.ResourceGroup,
		ServicePlanID: m.resourceID(c.ResourceGroup, "Microsoft.Web/serverFarms", "unknown"),
	})
}

// destroy empties the workspace's state. begun reports whether Azure may hold something that the state does not know.
func (m *Manager) destroy(ctx context.Context, c Container, begun bool, s *session) (Operation, error) {
	if err := m.pushErrored(ctx, s, c.FunctionApp); err != nil {
		return Operation{}, err
	}
	known, err := m.knownState(ctx, s, c.FunctionApp)
	if err != nil {
		return Operation{}, err
	}
	if begun {
		if known, err = m.importMissing(ctx, c, known, s); err != nil {
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
	if known, err = m.knownState(ctx, s, c.FunctionApp); err != nil {
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
func (m *Manager) knownState(ctx context.Context, s *session, app string) (*state, error) {
	known, err := m.readState(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if foreign := known.foreign(app); foreign != "" {
		return nil, fmt.Errorf("%s has %s: %w", m.stateName(s.dir), foreign, ErrOtherState)
	}
	return known, nil
}

// importMissing imports what Azure holds and the state does not know, and returns the state afterwards.
func (m *Manager) importMissing(ctx context.Context, c Container, known *state, s *session) (*state, error) {
	left, err := m.missing(ctx, known, m.ofFunctionApp(c.ID, c.FunctionApp, c.ResourceGroup))
	if errors.Is(err, ErrForeign) {
		return known, nil
	}
	if err != nil || len(left) == 0 {
		return known, err
	}
	if s.stateOnly {
		err = m.adopt(ctx, c, known, left, s)
	} else {
		_, err = m.operateImporting(ctx, importing, s, left)
	}
	if err != nil {
		return nil, err
	}
	return m.knownState(ctx, s, c.FunctionApp)
}

// adopt puts resources into the state by their ids alone. The provider deletes them by these, and an import, which
// reads, has failed.
func (m *Manager) adopt(ctx context.Context, c Container, known *state, left []importable, s *session) error {
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
	for _, r := range left {
		kind, name, _ := strings.Cut(r.Address, ".")
		resources = append(resources, map[string]any{
			"mode": "managed", "type": kind, "name": name, "provider": `provider["` + address + `"]`,
			"instances": []map[string]any{{"schema_version": 1, "attributes": map[string]string{"id": r.id}}},
		})
		m.cfg.Log.Warn().Str("workspace", s.dir).Str("resource", r.id).Str("correlation_id", s.correlation).
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
	return m.pushErrored(ctx, s, c.FunctionApp)
}
