package workspace

import (
	"context"
	"fmt"

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
	if err := m.repair(dir, app.Name); err != nil {
		return FunctionAppOutputs{}, err
	}
	var op Operation
	var out struct {
		ID       output[string] `json:"id"`
		HostName output[string] `json:"default_hostname"`
	}
	resources := m.ofFunctionApp(id, app.Name, app.ResourceGroupName)
	provision := func(ctx context.Context, s *session) (err error) {
		s.derivedImage = app.DerivedImage
		if op, err = m.apply(ctx, s, app.Name, resources); err != nil {
			return err
		}
		return m.outputs(ctx, op, s, &out)
	}
	err = m.retry(ctx, task{dir: dir, app: app.Name, do: provision, dead: dead, applies: resources})
	if err != nil {
		return FunctionAppOutputs{}, err
	}
	return FunctionAppOutputs{Operation: op, ResourceID: out.ID.Value, HostName: out.HostName.Value}, nil
}

// apply creates the resources that the workspace's files describe. Resources of ours that Azure holds and the state
// does not know are imported. app is the function app's name, "" for the foundation.
func (m *Manager) apply(ctx context.Context, s *session, app string, resources []importable) (Operation, error) {
	if err := m.pushErrored(ctx, s, app); err != nil {
		return Operation{}, err
	}
	left, err := m.leftovers(ctx, s, app, resources)
	if err != nil {
		return Operation{}, err
	}
	return m.operateImporting(ctx, applying, s, left)
}
