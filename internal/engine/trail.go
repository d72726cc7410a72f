package engine

import (
	"context"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Trail writes the steps of Terraform operations into the audit trail.
type Trail struct {
	Store *store.DB
	Tools audit.Tools
	// Gate asks the policies about plans. Settings say what is hidden from them.
	Gate     *gate.Gate
	Settings Settings
	// SharedIDs: a provider process is used by several operations, which then have one correlation id.
	SharedIDs bool
}

// Record writes one step. An operation that has nothing to apply leaves the record of its plan, and one that fails
// before its apply another one with the error. The apply has a record of its beginning, before anything can change, and
// one of its end. An Unavailable error means that nothing may be changed. So does a *gate.Refusal, by which policies
// refuse a plan.
func (t Trail) Record(ctx context.Context, step workspace.Step) error {
	op := step.Operation
	r := audit.Record{
		Action: audit.ActionPlan,
		Operation: &audit.Operation{
			Workspace: step.Workspace, Number: op.Number, Kind: op.Kind,
			CorrelationID: op.CorrelationID, SharedID: t.SharedIDs,
			Plan: step.PlanSHA256, Change: step.Change, Files: step.Files,
			Imports: op.Plan.Import, Adds: op.Plan.Add, Changes: op.Plan.Change, Destroys: op.Plan.Destroy,
		},
	}
	if workspace.KindOf(step.Workspace) == workspace.KindContainer {
		r.Container = &audit.Container{ID: step.Workspace}
	}
	if step.Stage != workspace.Planned && op.Applied {
		r.Action = applied(ctx, op.Kind)
	}
	switch step.Stage {
	case workspace.Planned:
		r.Tools = &t.Tools
		if step.Applies {
			return t.judge(ctx, step, r)
		}
	case workspace.Applying:
		r.Outcome = &audit.Outcome{State: audit.OutcomeBegun}
	case workspace.Ended:
		if !op.Applied && op.Error == "" {
			return nil
		}
		r.Outcome = &audit.Outcome{
			State: audit.OutcomeSucceeded, Error: op.Error, Milliseconds: op.Finished.Sub(op.Started).Milliseconds(),
		}
		if op.Error != "" {
			r.Outcome.State = audit.OutcomeFailed
		}
		api.Correlated(ctx, op.CorrelationID)
	}
	return t.Store.Record(ctx, r)
}

// judge asks the policies about a plan that would be applied, keeps its context, and records their verdicts with it.
// What a failed create or a crash has left is destroyed whatever they say, and so is an import before it.
func (t Trail) judge(ctx context.Context, step workspace.Step, r audit.Record) error {
	action := judged(ctx, step)
	concerned := action != "" && t.Gate.Concerned(policy.StagePlan, action)
	if concerned && action == gate.Remove && r.Container != nil {
		// What has begun goes on, or half of an app would be left.
		begun, err := t.Store.DestroyBegun(ctx, step.Workspace)
		if err != nil {
			return err
		}
		concerned = !begun
	}
	if !concerned && action != gate.Create && action != gate.Foundation && action != gate.ServicePlan {
		return t.Store.Record(ctx, r)
	}
	var about *store.Container
	if r.Container != nil {
		c, err := t.Store.Container(ctx, step.Workspace)
		switch {
		case err == nil:
			about = &c
		case api.KindOf(err) != api.NotFound: // an orphan has none
			return err
		}
	}
	asked, err := t.Gate.Describe(ctx, string(policy.StagePlan), action, about)
	if err != nil {
		return err
	}
	asked.Workspace = string(workspace.KindOf(step.Workspace))
	hide := t.Settings.hiding(store.Container{})
	if about != nil {
		hide = t.Settings.hiding(*about)
	}
	asked = asked.HideIn(func(text string) string { return step.Hide(hide(text)) })
	content, err := step.Keep(asked)
	if err != nil {
		return err
	}
	if !concerned {
		return t.Store.Record(ctx, r)
	}
	decision, err := t.Gate.Ask(ctx, asked, step.Masked, content)
	if err != nil {
		return err
	}
	r.Policy, r.Override, r.Daemon.Policies = decision.Verdicts, decision.Override, decision.Digest
	seq, err := t.Store.RecordVerdicts(ctx, r, nil)
	if err != nil {
		return err
	}
	return decision.Err(seq)
}

// judged returns the action that policies are asked about before a plan is applied, "" for none.
func judged(ctx context.Context, step workspace.Step) string {
	kind := audit.Action(step.Operation.Kind)
	switch {
	case kind == audit.ActionApply:
		return map[workspace.Kind]string{
			workspace.KindContainer: gate.Create, workspace.KindServicePlan: gate.ServicePlan,
			workspace.KindFoundation: gate.Foundation,
		}[workspace.KindOf(step.Workspace)]
	case kind != audit.ActionDestroy:
		return ""
	}
	switch purpose(ctx) {
	case audit.ActionGC:
		return gate.GC
	case askedRemoval:
		return gate.Remove
	}
	return ""
}

// askedRemoval is the purpose of a destroy that a client has asked for, of a container that is whole. It is recorded as
// any other destroy.
const askedRemoval audit.Action = "remove"

type purposeKey struct{}

// withPurpose returns a context whose destroys are recorded as this action.
func withPurpose(ctx context.Context, action audit.Action) context.Context {
	return context.WithValue(ctx, purposeKey{}, action)
}

// applied returns the action of an apply of an operation of a kind.
func applied(ctx context.Context, kind string) audit.Action {
	if p := purpose(ctx); p != "" && p != askedRemoval && kind == string(audit.ActionDestroy) {
		return p
	}
	return audit.Action(kind)
}

// purpose returns what a destroy is for, "" if that was not said.
func purpose(ctx context.Context) audit.Action {
	p, _ := ctx.Value(purposeKey{}).(audit.Action)
	return p
}
