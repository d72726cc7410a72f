package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/riverqueue/river"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

type provisionWorker struct {
	river.WorkerDefaults[provisionArgs]
	engine *Engine
}

// Work creates the container's function app. When that fails, it destroys what was created and forgets the container.
func (w *provisionWorker) Work(ctx context.Context, job *river.Job[provisionArgs]) error {
	e, id := w.engine, job.Args.ContainerID
	ctx, log := e.forJob(ctx, job.JobRow, id)
	c, due, err := e.cfg.Store.Due(ctx, id, store.Creating, completed(job))
	if err != nil || !due {
		return err
	}
	if c.ServicePlan == "" && c.PlaceError == nil {
		// An earlier release has inserted the job. The container waits for a place.
		return errors.Join(e.ensurePool(ctx), river.JobSnooze(snoozeTime))
	}
	ctx, calls := collect(ctx)
	app, err := e.provision(ctx, c)
	if err == nil {
		if err := e.cfg.Store.Provisioned(ctx, id, app, ended(job, calls, nil)); err != nil {
			return err
		}
		log.Info().Str("function_app", c.FunctionApp).Msg("container created")
		e.loseIfLost(ctx, id)
		return nil
	}
	if later := snoozed(err); later != nil {
		return later
	}
	refused := e.refused(ctx, "create container "+c.Name, c, err)
	if ctx.Err() != nil {
		return refused.Err
	}
	level := zerolog.ErrorLevel
	if refusal(err) {
		level = zerolog.WarnLevel // as the team's rules want it
	}
	log.WithLevel(level).Err(refused).AnErr("cause", refused.Err).Func(correlations(calls())).Msg("create failed")
	return e.undo(ctx, c, job.Attempt > 1, refused, func(err *api.Error) store.InTx {
		return ended(job, calls, err)
	})
}

// loseIfLost gives up a container that is created now, if its client has left before. The next comparison of jobs does
// what fails here: the job is completed, so that it must not return an error.
func (e *Engine) loseIfLost(ctx context.Context, id string) {
	c, err := e.cfg.Store.Container(ctx, id)
	if err == nil && c.Lost() {
		err = e.cfg.Store.Lose(ctx, id, e.enqueueDestroy(id))
	}
	if err != nil && api.KindOf(err) != api.NotFound {
		e.cfg.Log.Warn().Err(err).Str("container_id", id).Msg("cannot give up a container whose client has left")
	}
}

func (e *Engine) provision(ctx context.Context, c store.Container) (store.App, error) {
	if c.PlaceError != nil {
		return store.App{}, &finalError{c.PlaceError}
	}
	// An image that cannot be wrapped must change nothing in Azure.
	if err := e.derive(ctx, &c); err != nil {
		return store.App{}, err
	}
	shared, err := e.foundation(ctx)
	if err != nil {
		return store.App{}, err
	}
	plan, err := e.cfg.Store.ServicePlan(ctx, c.ServicePlan)
	if err != nil {
		return store.App{}, err
	}
	spec, _, err := e.cfg.Settings.functionAppSpec(c, plan, shared)
	if err != nil {
		return store.App{}, err
	}
	var outputs workspace.FunctionAppOutputs
	err = e.operateOn(ctx, plan.ID, c.ID, func(dead workspace.DeadHolder) error {
		outputs, err = e.cfg.Workspaces.Provision(ctx, c.ID, spec, dead)
		return err
	})
	if err != nil {
		return store.App{}, err
	}
	api.Correlated(ctx, outputs.Operation.CorrelationID)
	return store.App{
		ResourceID: outputs.ResourceID, HostName: outputs.HostName, PlanSummary: outputs.Operation.Plan.String(),
	}, nil
}

// undo destroys what a failed create has created and forgets the container. When that fails too, it keeps the
// container as dead. end completes the job with the error for the client. again reports whether this is not the job's
// first attempt.
func (e *Engine) undo(
	ctx context.Context, c store.Container, again bool, refused *api.Error, end func(*api.Error) store.InTx,
) error {
	// Another daemon may have made an earlier attempt.
	operation, err := e.destroyApp(withPurpose(ctx, audit.ActionRollback), c.ServicePlan, c.ID, c.ResourceID, again)
	api.Correlated(ctx, operation.CorrelationID)
	if err == nil {
		if refusal(refused.Err) {
			refused.Message += nothingCreated
			if operation.Applied {
				refused.Message += " by this attempt, and what an earlier one had created was removed"
			}
		}
		return e.cfg.Store.Delete(ctx, c.ID, end(refused))
	}
	if later := snoozed(err); later != nil {
		return later
	}
	left := e.refused(ctx, "destroy what was created of it", c, err)
	both := *refused
	both.Message = refused.Message + "; then it " + left.Message
	both.Err = fmt.Errorf("%w; then what was created could not be destroyed: %w", refused.Err, left.Err)
	if ctx.Err() != nil {
		return both.Err
	}
	reason := both.Message
	both.Message += keptAsDead
	return e.cfg.Store.Fail(ctx, c.ID, reason, e.cfg.RetryAfter, end(&both))
}

// destroyApp destroys the function app of the container with this id. resourceID is the app's, and plan is the id of
// its service plan, "" when they are unknown.
func (e *Engine) destroyApp(
	ctx context.Context, plan, id, resourceID string, begun bool,
) (operation workspace.Operation, err error) {
	err = e.operateOn(ctx, plan, id, func(dead workspace.DeadHolder) error {
		operation, err = e.cfg.Workspaces.Destroy(ctx, e.removal(id, resourceID, begun), dead)
		return err
	})
	return operation, err
}

// removal returns what a removal must know of a container. It is not read from today's settings where the app's
// resource id names it: they may have changed.
func (e *Engine) removal(id, resourceID string, begun bool) workspace.Container {
	group := e.cfg.Settings.ResourceGroup
	if parsed, err := arm.ParseResourceID(resourceID); err == nil && parsed.ResourceGroupName != "" {
		group = parsed.ResourceGroupName
	}
	return workspace.Container{ID: id, FunctionApp: appName(id), ResourceGroup: group, Begun: begun}
}
