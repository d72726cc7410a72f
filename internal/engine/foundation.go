package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// foundation creates what all containers share, once per daemon, and remembers its outputs.
func (e *Engine) foundation(ctx context.Context) (workspace.FoundationOutputs, error) {
	return e.changeFoundation(ctx, "")
}

// changeFoundation is foundation, and applies a held change whose digest is given.
func (e *Engine) changeFoundation(ctx context.Context, approved string) (workspace.FoundationOutputs, error) {
	select {
	case <-e.foundationMu:
	case <-ctx.Done():
		return workspace.FoundationOutputs{}, context.Cause(ctx)
	}
	defer func() { e.foundationMu <- struct{}{} }()
	if e.outputs != nil && approved == "" {
		return *e.outputs, nil
	}
	spec, err := FoundationSpec(ctx, e.cfg.Settings, e.cfg.Azure)
	if err != nil {
		return workspace.FoundationOutputs{}, err
	}
	spec.Replace, spec.Hold, spec.Approved = e.cfg.ReplaceFoundation, e.cfg.HoldFoundation, approved
	var outputs workspace.FoundationOutputs
	// Daemons with the same owner share the foundation.
	if err := e.adopted(ctx); err != nil {
		return workspace.FoundationOutputs{}, err
	}
	err = e.cfg.Store.Exclusive(ctx, "foundation "+e.cfg.Settings.Owner, func(ctx context.Context) error {
		return e.operate(ctx, workspace.FoundationID, func(dead workspace.DeadHolder) error {
			outputs, err = e.cfg.Workspaces.Foundation(ctx, spec, dead)
			return err
		})
	})
	if other, ok := errors.AsType[*workspace.OtherChangeError](err); ok && e.cfg.HoldFoundation {
		e.held.Store(other.Now)
	}
	if err != nil {
		return workspace.FoundationOutputs{}, fmt.Errorf("create foundation: %w", err)
	}
	api.Correlated(ctx, outputs.Operation.CorrelationID)
	if outputs.TaggedOtherwise != "" {
		e.cfg.Log.Warn().Str("resources", outputs.TaggedOtherwise).Msg("resources that containers share lack tags of the " +
			"setting tags, or have other values: they keep what they have; change them with az tag update --operation merge")
	}
	if held := outputs.Held; held != nil {
		e.cfg.Log.Warn().Str("digest", held.Change).Stringer("plan", held.Plan).
			Msg("a change of what containers share is held: " + howToApply(held.Change))
	}
	e.outputs = &outputs
	e.held.Store(outputs.Held)
	e.logAnalyticsID.Store(&outputs.LogAnalyticsID)
	return outputs, nil
}

// howToApply says how a held change is looked at and applied.
func howToApply(digest string) string {
	return "sockerless-backend-azf plan shows it, and sockerless-backend-azf plan --apply --digest " + digest +
		" applies it"
}

// foundationWarnings returns the change that is held.
func (e *Engine) foundationWarnings() []string {
	held := e.held.Load()
	if held == nil {
		return nil
	}
	return []string{fmt.Sprintf("WARNING: a change of what containers share is held (%s): %s", held.Plan,
		howToApply(held.Change))}
}

// findHeld looks for a held change, if there is something that it could change. The first create does so otherwise.
func (e *Engine) findHeld(ctx context.Context) {
	known, err := e.cfg.Workspaces.FoundationOutputs(ctx)
	if err != nil || known.LogAnalyticsID == "" || known.InsightsConnection == "" {
		return
	}
	if _, err := e.foundation(api.ByDaemon(ctx, "start")); err != nil && ctx.Err() == nil {
		e.cfg.Log.Warn().Err(err).Msg("cannot find out whether a change of what containers share is held")
	}
}

// FoundationCreate implements api.Backend. The creation goes on when ctx ends.
func (e *Engine) FoundationCreate(ctx context.Context, approved string) (api.Foundation, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-e.interrupted:
			cancel()
		case <-done:
		}
	}()
	outputs, err := e.changeFoundation(ctx, approved)
	if err != nil {
		if ctx.Err() != nil {
			return api.Foundation{}, stopError("the daemon is stopping: send the request again when it has restarted")
		}
		if other, ok := errors.AsType[*workspace.OtherChangeError](err); ok {
			err = api.Errorf(api.Conflict, "%w", other)
		}
		doing := "create what containers share"
		if approved != "" {
			doing = "change what containers share"
		}
		refused := e.refused(ctx, doing, store.Container{}, err)
		if refusal(err) {
			refused.Message += ". Nothing was changed"
		}
		return api.Foundation{}, refused
	}
	f := api.Foundation{
		LogAnalyticsWorkspace: outputs.LogAnalyticsID, Plan: outputs.Operation.Plan.String(),
	}
	if outputs.Held != nil {
		f.Held, f.HeldPlan = outputs.Held.Change, outputs.Held.Plan.String()
	}
	return f, nil
}
