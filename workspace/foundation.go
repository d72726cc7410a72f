package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/tfmodules"
)

// FoundationOutputs is the outcome of Foundation.
type FoundationOutputs struct {
	Operation          Operation
	LogAnalyticsID     string // the Log Analytics workspace's customer id, a UUID
	InsightsConnection string // a secret
	// Held is a change that Foundation.Hold has kept from what is there, nil when there is none. The rest is what there
	// is.
	Held *Held
	// TaggedOtherwise holds the ids, with blanks between, of the resources of ours that lack one of Foundation.Tags or
	// have another value.
	TaggedOtherwise string
	// EarlierServicePlan is the resource id of the service plan that the state of an earlier release holds, "" when there
	// is none. ProvisionServicePlan adopts it, and the next Foundation forgets it then.
	EarlierServicePlan string
}

// Held is a change of what all containers share that is not applied before somebody approves it.
type Held struct {
	// Change is the digest of the change, for Foundation.Approved, and Plan counts it.
	Change string
	Plan   Changes
}

// heldError ends the operation of a held change.
type heldError struct{ Held }

func (e *heldError) Error() string {
	return fmt.Sprintf("the change of what containers share is held (%s, digest %s): foundation_changes is hold",
		e.Plan, e.Change)
}

// OtherChangeError reports that Foundation.Approved is the digest of another change than the plan has. Nothing is
// changed then.
type OtherChangeError struct {
	// Now is the change that the plan has, nil when there is nothing to change.
	Now *Held
}

func (e *OtherChangeError) Error() string {
	if e.Now == nil {
		return "the change that was approved is not there any more: the plan changes nothing"
	}
	return fmt.Sprintf("the change that was approved is not the one that the plan has now: that has the digest %s: "+
		"look at it, and approve it", e.Now.Change)
}

func (m *Manager) foundation() string { return filepath.Join(m.cfg.Dir, "foundation") }

// earlierOverride is a file of earlier releases, which changed the service plan of the foundation.
const earlierOverride = "service_plan_override.tf.json"

// renderFoundation writes the files of the foundation's workspace.
func (m *Manager) renderFoundation(dir string, vars any) error {
	if err := m.render(dir, tfmodules.Foundation(), vars); err != nil {
		return err
	}
	return remove(dir, earlierOverride)
}

// Foundation creates or updates the resources that all containers share. It blocks until Terraform is done. What people
// or Azure Policy have set on them stays. A plan that deletes, replaces or shrinks anything is ErrFoundationChanges,
// unless f.Replace allows it. A change that f.Hold keeps back is in the outputs. A service plan of an earlier release
// leaves the state when it is f.AdoptedServicePlan. dead may be nil.
func (m *Manager) Foundation(
	ctx context.Context, f Foundation, dead DeadHolder,
) (outputs FoundationOutputs, err error) {
	m.founding.Lock()
	defer m.founding.Unlock()
	dir := m.foundation()
	// As long as there is no component, the flag would make its creation wait.
	f.RemoveGeneratedRule = false
	if err := m.renderFoundation(dir, f); err != nil {
		return FoundationOutputs{}, err
	}
	if err := m.repair(dir, ""); err != nil {
		return FoundationOutputs{}, err
	}
	resources := m.ofFoundation(f)
	accepted := false // an attempt has begun to apply what was approved
	err = m.retry(ctx, task{dir: dir, dead: dead, applies: resources, do: func(ctx context.Context, s *session) error {
		whole, err := m.followState(ctx, s, f)
		if err != nil {
			return err
		}
		s.review = func(plan *tfjson.Plan, change string) error {
			err := f.hold(plan, change, whole, accepted)
			if err == nil {
				err = reviewFoundation(dir, plan, f)
			}
			accepted = accepted || err == nil
			return err
		}
		op, err := m.apply(ctx, s, "", resources)
		held, isHeld := errors.AsType[*heldError](err)
		if err != nil && !isHeld {
			return err
		}
		outputs, err = m.foundationOutputs(ctx, op, s)
		if isHeld {
			outputs.Held = &held.Held
		}
		return err
	}})
	if err != nil {
		return FoundationOutputs{}, err
	}
	if outputs.Held != nil {
		return outputs, nil
	}
	// From now on, and for everybody who destroys it by hand.
	f.RemoveGeneratedRule = true
	return outputs, errors.Join(spendAllowance(dir), writeVars(dir, f))
}

// hold returns a *heldError for a plan that changes what is there, and an *OtherChangeError for one that nobody has
// approved. whole reports whether containers can use what is there, and accepted whether an earlier plan was approved.
func (f Foundation) hold(plan *tfjson.Plan, change string, whole, accepted bool) error {
	now := &Held{Change: change, Plan: count(plan)}
	nothing := now.Plan == (Changes{})
	switch {
	case nothing && (f.Approved == "" || accepted):
		return nil
	case nothing:
		return &OtherChangeError{}
	case f.Approved != "" && f.Approved != change:
		return &OtherChangeError{now}
	case !f.Hold || f.Approved == change || !whole:
		return nil
	}
	return &heldError{*now}
}

// followState adapts the foundation's files to what its state holds. whole reports whether the state has everything
// that containers need.
func (m *Manager) followState(ctx context.Context, s *session, f Foundation) (whole bool, err error) {
	known, err := m.readState(ctx, s)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	whole = known.output("log_analytics_workspace_id") != "" &&
		known.output("application_insights_connection_string") != ""
	if !s.unlocked {
		if err := m.untaint(ctx, s, known); err != nil {
			return false, err
		}
	}
	f.RemoveGeneratedRule = known.has("azurerm_application_insights.this[0]")
	if err := writeVars(s.dir, f); err != nil {
		return false, fmt.Errorf("render workspace %s: %w", s.dir, err)
	}
	return whole, nil
}

// untaint has the next plan complete what a failed create left, which Terraform would replace.
func (m *Manager) untaint(ctx context.Context, s *session, known *state) error {
	for _, address := range known.withStatus("tainted") {
		s.leavePool() // the command cannot be told of a started provider
		err := m.command(ctx, s, "untaint", func(tf *tfexec.Terraform) error {
			return tf.Untaint(ctx, address, m.lockTimeout())
		})
		if err != nil {
			return err
		}
	}
	return nil
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
	if err := m.refreshFoundation(dir); err != nil {
		return FoundationOutputs{}, err
	}
	if !m.cfg.Backend.Remote() { // no command runs
		return m.foundationOutputs(ctx, Operation{}, &session{dir: dir})
	}
	err = m.retry(ctx, task{dir: dir, do: func(ctx context.Context, s *session) (err error) {
		outputs, err = m.foundationOutputs(ctx, Operation{}, s)
		return err
	}})
	return outputs, err
}

// refreshFoundation makes the files of the foundation's workspace fit for being read: another daemon, or one of another
// version, may have written them. Under Foundation they are.
func (m *Manager) refreshFoundation(dir string) error {
	if !m.founding.TryLock() {
		return nil
	}
	defer m.founding.Unlock()
	// Outputs need no variables.
	if err := m.renderFoundation(dir, nil); err != nil {
		return err
	}
	// A state in use stays as it is, and can be read.
	if err := m.repair(dir, ""); !errors.Is(err, ErrLocked) {
		return err
	}
	return nil
}

// foundationOutputs reads the outputs from the state.
func (m *Manager) foundationOutputs(ctx context.Context, op Operation, s *session) (FoundationOutputs, error) {
	known, err := m.knownState(ctx, s, "")
	if err != nil {
		return FoundationOutputs{}, err
	}
	return FoundationOutputs{
		Operation: op, LogAnalyticsID: known.output("log_analytics_workspace_id"),
		InsightsConnection: known.output("application_insights_connection_string"),
		TaggedOtherwise:    known.output("tagged_otherwise"), EarlierServicePlan: known.idOf("azurerm_service_plan"),
	}, nil
}
