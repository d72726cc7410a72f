package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sockerless/backend-azf/tfmodules"
)

// FoundationOutputs is the outcome of Foundation.
type FoundationOutputs struct {
	Operation          Operation
	ServicePlanID      string
	ServicePlanSKU     string
	LogAnalyticsID     string // the Log Analytics workspace's customer id, a UUID
	InsightsConnection string // a secret
}

func (m *Manager) foundation() string { return filepath.Join(m.cfg.Dir, "foundation") }

// Foundation creates or updates the resources that all containers share. It blocks until Terraform is done. dead may be
// nil.
func (m *Manager) Foundation(
	ctx context.Context, f Foundation, dead DeadHolder,
) (outputs FoundationOutputs, err error) {
	dir := m.foundation()
	if err := m.render(dir, tfmodules.Foundation(), f); err != nil {
		return FoundationOutputs{}, err
	}
	if err := m.repair(dir, ""); err != nil {
		return FoundationOutputs{}, err
	}
	resources := m.ofFoundation(f)
	err = m.retry(ctx, task{dir: dir, dead: dead, applies: resources, do: func(ctx context.Context, s *session) error {
		op, err := m.apply(ctx, s, "", resources)
		if err != nil {
			return err
		}
		outputs, err = m.foundationOutputs(ctx, op, s)
		return err
	}})
	return outputs, err
}

// ErrNoWorkspace is wrapped by FoundationOutputs before the first Foundation.
var ErrNoWorkspace = errors.New("terraform workspace is missing")

// FoundationOutputs reads the outputs of Foundation from the state and changes nothing in Azure. The Operation is zero.
// The error wraps ErrNoWorkspace when Foundation was never called. Outputs of resources that do not exist yet are
// empty.
func (m *Manager) FoundationOutputs(ctx context.Context) (outputs FoundationOutputs, err error) {
	dir := m.foundation()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && !m.cfg.Backend.Remote() {
		return FoundationOutputs{}, fmt.Errorf("read outputs of %s: %w", dir, ErrNoWorkspace)
	}
	// Another daemon, or one of another version, may have written the files. Outputs need no variables.
	if err := m.render(dir, tfmodules.Foundation(), nil); err != nil {
		return FoundationOutputs{}, err
	}
	// A state in use stays as it is, and can be read.
	if err := m.repair(dir, ""); err != nil && !errors.Is(err, ErrLocked) {
		return FoundationOutputs{}, err
	}
	err = m.retry(ctx, task{dir: dir, do: func(ctx context.Context, s *session) (err error) {
		outputs, err = m.foundationOutputs(ctx, Operation{}, s)
		return err
	}})
	return outputs, err
}

func (m *Manager) foundationOutputs(ctx context.Context, op Operation, s *session) (FoundationOutputs, error) {
	var out struct {
		PlanID         output[string] `json:"service_plan_id"`
		ServicePlanSKU output[string] `json:"service_plan_sku"`
		Logs           output[string] `json:"log_analytics_workspace_id"`
		Insights       output[string] `json:"application_insights_connection_string"`
	}
	if err := m.outputs(ctx, op, s, &out); err != nil {
		return FoundationOutputs{}, err
	}
	return FoundationOutputs{
		Operation: op, ServicePlanID: out.PlanID.Value, ServicePlanSKU: out.ServicePlanSKU.Value,
		LogAnalyticsID: out.Logs.Value, InsightsConnection: out.Insights.Value,
	}, nil
}
