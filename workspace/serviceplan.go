package workspace

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/tfmodules"
)

// ErrServicePlanChanges is wrapped when a plan would delete, replace or shrink a service plan that
// ProvisionServicePlan should only create or keep. Nothing is changed then.
var ErrServicePlanChanges = errors.New("the plan would harm a service plan, and nothing was changed")

// FirstServicePlan is the id of the service plan whose name has no id: the foundation had it in earlier releases.
const FirstServicePlan = "first"

var servicePlanPattern = regexp.MustCompile(`^(` + FirstServicePlan + `|[0-9a-f]{8})$`)

// ServicePlanOutputs is the outcome of ProvisionServicePlan.
type ServicePlanOutputs struct {
	Operation  Operation
	ResourceID string
	// SKU is that of the service plan in Azure, which people may have scaled.
	SKU string
	// TaggedOtherwise reports that the service plan lacks one of ServicePlan.Tags or has another value.
	TaggedOtherwise bool
}

// ServicePlanPath returns the folder of a service plan's workspace, whether it exists or not. ArchivePath of the same
// id is its place after DestroyServicePlan.
func (m *Manager) ServicePlanPath(id string) string { return filepath.Join(m.cfg.Dir, plansDir, id) }

// ServicePlanIDs returns the ids of the service plans that have a workspace in use.
func (m *Manager) ServicePlanIDs() ([]string, error) { return m.ids(plansDir, servicePlanPattern) }

// ProvisionServicePlan creates the service plan with the given id (FirstServicePlan, or 8 hex digits), or imports the
// one of that name when it is ours. One that exists stays as it is. ProvisionServicePlan blocks until Terraform is
// done, and can be called again after any failure, as Provision. dead may be nil.
func (m *Manager) ProvisionServicePlan(
	ctx context.Context, id string, p ServicePlan, dead DeadHolder,
) (outputs ServicePlanOutputs, err error) {
	if !servicePlanPattern.MatchString(id) {
		return ServicePlanOutputs{}, fmt.Errorf("provision: %q is not the id of a service plan", id)
	}
	dir := m.ServicePlanPath(id)
	if err := m.ready(dir, p.Name, tfmodules.ServicePlan(), p); err != nil {
		return ServicePlanOutputs{}, err
	}
	var out struct {
		ID        output[string] `json:"id"`
		SKU       output[string] `json:"sku"`
		Otherwise output[bool]   `json:"tagged_otherwise"`
	}
	resources := m.ofServicePlan(p.Name, p.ResourceGroupName, p.Tags[OwnerTag])
	if strings.EqualFold(p.Adopt, resources[0].id) {
		resources[0].tag = ""
	}
	provision := func(ctx context.Context, s *session) error {
		s.review = keepServicePlan
		known, err := m.knownState(ctx, s, p.Name)
		if err != nil {
			return err
		}
		if err := m.untaint(ctx, s, known); err != nil {
			return err
		}
		outputs.Operation, err = m.applyInto(ctx, s, p.Name, resources, &out)
		return err
	}
	err = m.retry(ctx, task{dir: dir, name: p.Name, do: provision, dead: dead, applies: resources})
	if err != nil {
		return ServicePlanOutputs{}, err
	}
	outputs.ResourceID, outputs.SKU, outputs.TaggedOtherwise = out.ID.Value, out.SKU.Value, out.Otherwise.Value
	return outputs, nil
}

// keepServicePlan refuses a plan that would harm a service plan.
func keepServicePlan(plan *tfjson.Plan, _ string) error {
	if found := harm(plan, ""); len(found) > 0 {
		return fmt.Errorf("%w: %s", ErrServicePlanChanges, strings.Join(found, "; "))
	}
	return nil
}

// PlanRemoval is what DestroyServicePlan and HoldsServicePlan must know of a service plan, whatever is left of its
// workspace.
type PlanRemoval struct {
	ID, Name string
	// ResourceGroup is that of the service plan, unless the workspace's variables name another one.
	ResourceGroup string
	// Owner is the value of OwnerTag.
	Owner string
	// Begun reports whether the creation of the service plan may have begun, on any daemon. Otherwise one whose workspace
	// was never applied has nothing in Azure.
	Begun bool
}

// ofPlan returns what the removal of a service plan must know.
func (m *Manager) ofPlan(p PlanRemoval) removal {
	dir := m.ServicePlanPath(p.ID)
	group := groupOf(dir, p.ResourceGroup)
	return removal{
		dir: dir, name: p.Name, begun: p.Begun, module: tfmodules.ServicePlanRemoval(),
		vars:      removalVars{Name: p.Name, ResourceGroupName: group},
		resources: m.ofServicePlan(p.Name, group, p.Owner),
	}
}

// HoldsServicePlan is Holds for a service plan.
func (m *Manager) HoldsServicePlan(ctx context.Context, p PlanRemoval) (bool, error) {
	return m.holds(ctx, m.ofPlan(p))
}

// ArchiveServicePlan is Archive for a service plan.
func (m *Manager) ArchiveServicePlan(id string) error { return m.archive(m.ServicePlanPath(id)) }

// DestroyServicePlan is Destroy for a service plan. Azure refuses to delete one on which there are apps.
func (m *Manager) DestroyServicePlan(ctx context.Context, p PlanRemoval, dead DeadHolder) (Operation, error) {
	if !servicePlanPattern.MatchString(p.ID) {
		return Operation{}, fmt.Errorf("destroy: %q is not the id of a service plan", p.ID)
	}
	return m.remove(ctx, m.ofPlan(p), dead)
}
