package workspace

import (
	"context"
	"fmt"
	"io/fs"

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
	if err := m.ready(dir, app.Name, tfmodules.FunctionApp(), app); err != nil {
		return FunctionAppOutputs{}, err
	}
	var out struct {
		ID       output[string] `json:"id"`
		HostName output[string] `json:"default_hostname"`
	}
	resources := m.ofFunctionApp(id, app.Name, app.ResourceGroupName)
	provision := func(ctx context.Context, s *session) (err error) {
		s.derivedImage = app.DerivedImage
		outputs.Operation, err = m.applyInto(ctx, s, app.Name, resources, &out)
		return err
	}
	err = m.retry(ctx, task{dir: dir, name: app.Name, do: provision, dead: dead, applies: resources})
	if err != nil {
		return FunctionAppOutputs{}, err
	}
	outputs.ResourceID, outputs.HostName = out.ID.Value, out.HostName.Value
	return outputs, nil
}

// ready makes a workspace ready for operations on the one resource of a module. name is the resource's in Azure.
func (m *Manager) ready(dir, name string, module fs.FS, vars any) error {
	if err := m.render(dir, module, vars); err != nil {
		return err
	}
	return m.repair(dir, name)
}

// applyInto is apply, and decodes the workspace's outputs into a struct of output fields.
func (m *Manager) applyInto(
	ctx context.Context, s *session, name string, resources []importable, into any,
) (Operation, error) {
	op, err := m.apply(ctx, s, name, resources)
	if err != nil {
		return Operation{}, err
	}
	return op, m.outputs(ctx, op, s, into)
}

// apply creates the resources that the workspace's files describe. Resources of ours that Azure holds and the state
// does not know are imported. name is the resource's, "" for the foundation.
func (m *Manager) apply(ctx context.Context, s *session, name string, resources []importable) (Operation, error) {
	if err := m.pushErrored(ctx, s, name); err != nil {
		return Operation{}, err
	}
	left, err := m.leftovers(ctx, s, name, resources)
	if err != nil {
		return Operation{}, err
	}
	return m.operateImporting(ctx, applying, s, left)
}
