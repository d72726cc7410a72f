package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sockerless/backend-azf/tfmodules"
)

// FunctionAppOutputs is the outcome of Provision.
type FunctionAppOutputs struct {
	Operation  Operation
	ResourceID string
	HostName   string
}

// Provision creates or completes the function app of the container with the given id (64 hex digits). It blocks until
// Terraform is done, and can be called again after any failure. When ctx ends, terraform is interrupted and given time
// to write its state. A failed command is a *TerraformError. dead may be nil.
func (m *Manager) Provision(
	ctx context.Context, id string, app FunctionApp, dead DeadHolder,
) (outputs FunctionAppOutputs, err error) {
	if !idPattern.MatchString(id) {
		return FunctionAppOutputs{}, fmt.Errorf("provision: %q is not a container id", id)
	}
	dir := m.Path(id)
	if err := m.render(dir, tfmodules.FunctionApp(), app); err != nil {
		return FunctionAppOutputs{}, err
	}
	if err := m.repair(dir); err != nil {
		return FunctionAppOutputs{}, err
	}
	var op Operation
	var out struct {
		ID       output[string] `json:"id"`
		HostName output[string] `json:"default_hostname"`
	}
	resources := m.ofFunctionApp(id, app)
	provision := func(ctx context.Context, s *session) (err error) {
		if op, err = m.apply(ctx, s, resources); err != nil {
			return err
		}
		return m.outputs(ctx, op, s, &out)
	}
	err = m.retry(ctx, task{dir: dir, do: provision, dead: dead, applies: resources})
	if err != nil {
		return FunctionAppOutputs{}, err
	}
	return FunctionAppOutputs{Operation: op, ResourceID: out.ID.Value, HostName: out.HostName.Value}, nil
}

// apply creates the resources that the workspace's files describe. Resources of ours that Azure holds and the state
// does not know are imported.
func (m *Manager) apply(ctx context.Context, s *session, resources []importable) (Operation, error) {
	if err := m.pushErrored(ctx, s); err != nil {
		return Operation{}, err
	}
	left, err := m.leftovers(ctx, s, resources)
	if err != nil {
		return Operation{}, err
	}
	return m.operateImporting(ctx, applying, s, left)
}

// ErrNoWorkspace is wrapped by Destroy when there is no workspace of the container, neither in use nor in the archive,
// and by FoundationOutputs.
var ErrNoWorkspace = errors.New("terraform workspace is missing")

// ErrNoState is wrapped by Destroy when a workspace in which Terraform may have created something has no state. Nothing
// is destroyed then, and the workspace stays.
var ErrNoState = errors.New("terraform state is missing")

// Destroy destroys the resources in the workspace's state, checks that none is left, and moves the workspace to the
// archive. An app that a killed or failed apply left behind without state is imported first, by an operation of its
// own. Destroy works from the files in the workspace, not from today's module. A workspace in the archive is not an
// error. A missing one is ErrNoWorkspace, and one whose state was lost is ErrNoState. dead may be nil.
func (m *Manager) Destroy(ctx context.Context, id string, dead DeadHolder) (op Operation, err error) {
	dir := m.Path(id)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(m.ArchivePath(id)); err == nil {
			return Operation{}, nil
		}
		return Operation{}, fmt.Errorf(
			"workspace %s: %w: restore the folder, or delete the function app by hand", dir, ErrNoWorkspace)
	}
	if err := m.repair(dir); err != nil {
		return Operation{}, err
	}
	err = m.retry(ctx, task{dir: dir, dead: dead, do: func(ctx context.Context, s *session) (err error) {
		op, err = m.destroy(ctx, id, s)
		return err
	}})
	if err != nil {
		return Operation{}, err
	}
	return op, m.Archive(id)
}

// destroy empties the workspace's state.
func (m *Manager) destroy(ctx context.Context, id string, s *session) (Operation, error) {
	spec, rendered, err := readSpec(s.dir)
	if err != nil {
		return Operation{}, err
	}
	if err := m.pushErrored(ctx, s); err != nil {
		return Operation{}, err
	}
	if rendered {
		err := m.importLeftovers(ctx, s, m.ofFunctionApp(id, spec))
		if err != nil && !errors.Is(err, ErrForeign) {
			return Operation{}, err
		}
	}
	known, err := m.readState(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		last, err := lastOperation(s.dir, applying)
		if err != nil {
			return Operation{}, err
		}
		if last.leftState() {
			return Operation{}, fmt.Errorf("workspace %s: %w: restore %s, or delete the function app by hand",
				s.dir, ErrNoState, m.stateName(s.dir))
		}
		return Operation{}, nil
	}
	if err != nil || len(known.managed()) == 0 {
		return Operation{}, err
	}
	// azurerm reads the service plan that the variables name even when it plans a destroy. An imported app may have
	// another one.
	if plan := known.servicePlan(); rendered && plan != "" && plan != spec.ServicePlanID {
		spec.ServicePlanID = plan
		if err := writeVars(s.dir, spec); err != nil {
			return Operation{}, fmt.Errorf("render workspace %s: %w", s.dir, err)
		}
	}
	op, err := m.operateImporting(ctx, destroying, s, nil)
	if err != nil {
		return Operation{}, err
	}
	if known, err = m.readState(ctx, s); err != nil {
		return Operation{}, err
	}
	if left := known.managed(); len(left) > 0 {
		return Operation{}, fmt.Errorf("workspace %s: %s is still in the state after destroy",
			s.dir, strings.Join(left, ", "))
	}
	if known.content != nil {
		// The archive holds the last state whatever the backend is.
		return op, writeFile(filepath.Join(s.dir, stateFile), known.content)
	}
	return op, nil
}

// importLeftovers imports resources that the last apply left behind, and does nothing else.
func (m *Manager) importLeftovers(ctx context.Context, s *session, resources []importable) error {
	left, err := m.leftovers(ctx, s, resources)
	if err != nil || len(left) == 0 {
		return err
	}
	_, err = m.operateImporting(ctx, importing, s, left)
	return err
}
