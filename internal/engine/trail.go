package engine

import (
	"context"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Trail writes the steps of Terraform operations into the audit trail.
type Trail struct {
	Store *store.DB
	Tools audit.Tools
	// SharedIDs: a provider process is used by several operations, which then have one correlation id.
	SharedIDs bool
}

// Record writes one step. An operation that has nothing to apply leaves the record of its plan, and one that fails
// before its apply another one with the error. The apply has a record of its beginning, before anything can change, and
// one of its end. An Unavailable error means that nothing may be changed.
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
	if step.Workspace != workspace.FoundationID {
		r.Container = &audit.Container{ID: step.Workspace}
	}
	if step.Stage != workspace.Planned && op.Applied {
		r.Action = applied(ctx, op.Kind)
	}
	switch step.Stage {
	case workspace.Planned:
		r.Tools = &t.Tools
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

type purposeKey struct{}

// withPurpose returns a context whose destroys are recorded as this action.
func withPurpose(ctx context.Context, action audit.Action) context.Context {
	return context.WithValue(ctx, purposeKey{}, action)
}

// applied returns the action of an apply of an operation of a kind.
func applied(ctx context.Context, kind string) audit.Action {
	if purpose, ok := ctx.Value(purposeKey{}).(audit.Action); ok && kind == string(audit.ActionDestroy) {
		return purpose
	}
	return audit.Action(kind)
}
