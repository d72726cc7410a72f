package engine

import (
	"context"

	"github.com/google/uuid"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// ContainerStart implements api.Backend.
func (e *Engine) ContainerStart(ctx context.Context, ref string) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	trace, err := randomHex(16)
	if err != nil {
		return err
	}
	span, err := randomHex(8)
	if err != nil {
		return err
	}
	run := store.Run{ID: uuid.NewString(), ContainerID: c.ID, TraceID: trace, SpanID: span}
	if err := e.cfg.Store.Start(ctx, run, e.enqueue(invokeArgs{RunID: run.ID})); err != nil {
		return err
	}
	e.changes.notify(c.ID)
	return nil
}

// traceparent is the run's W3C trace context: version 00, sampled.
func traceparent(run store.Run) string { return "00-" + run.TraceID + "-" + run.SpanID + "-01" }

// ContainerWait implements api.Backend.
func (e *Engine) ContainerWait(ctx context.Context, ref string, cond api.WaitCondition, accepted func()) (api.WaitResponse, error) {
	switch cond {
	case "", api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved:
	default:
		return api.WaitResponse{}, api.Errorf(api.InvalidParameter, "invalid condition: %q: use not-running, next-exit or removed", cond)
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return api.WaitResponse{}, err
	}
	accepted()
	first := c
	for {
		changed := e.changes.watch(c.ID)
		now, err := e.cfg.Store.Container(ctx, c.ID)
		gone := api.KindOf(err) == api.NotFound
		if err != nil && !gone {
			return api.WaitResponse{}, err
		}
		if gone || satisfied(cond, first, now) {
			if !gone {
				c = now
			}
			return waitResponse(c), nil
		}
		c = now
		select {
		case <-changed:
		case <-ctx.Done():
			return api.WaitResponse{}, context.Cause(ctx)
		case <-e.stopping:
			return api.WaitResponse{}, api.Errorf(api.Unavailable, "the daemon is stopping; wait again when it is started again")
		}
	}
}

// satisfied tells whether a container that was first when the wait began, and is now, fulfils the condition.
func satisfied(cond api.WaitCondition, first, now store.Container) bool {
	switch cond {
	case api.WaitRemoved:
		return false // until it is gone
	case api.WaitNextExit:
		return now.State != store.Running && now.Finished.After(first.Finished)
	default:
		return now.State != store.Running
	}
}

func waitResponse(c store.Container) api.WaitResponse {
	out := api.WaitResponse{StatusCode: int64(c.ExitCode)}
	if c.Error != "" {
		out.Error = &api.WaitError{Message: c.Error}
	}
	return out
}

// ContainerRemove implements api.Backend.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, force bool) error {
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return err
	}
	outcome, done := e.outcomes.expect(c.ID)
	defer done()
	if err := e.cfg.Store.Remove(ctx, c.ID, force, e.enqueue(destroyArgs{ContainerID: c.ID})); err != nil {
		return err
	}
	e.changes.notify(c.ID)
	return e.await(ctx, outcome)
}

// ContainerStop implements api.Backend.
func (e *Engine) ContainerStop(context.Context, string, *int) error { return api.NotSupported("stop") }

// ContainerKill implements api.Backend.
func (e *Engine) ContainerKill(context.Context, string, string) error {
	return api.NotSupported("kill")
}

// ContainerRestart implements api.Backend.
func (e *Engine) ContainerRestart(context.Context, string, *int) error {
	return api.NotSupported("restart")
}

// ContainerRename implements api.Backend.
func (e *Engine) ContainerRename(context.Context, string, string) error {
	return api.NotSupported("rename")
}

// ContainerPrune implements api.Backend.
func (e *Engine) ContainerPrune(context.Context, api.Filters) (api.PruneReport, error) {
	return api.PruneReport{}, api.NotSupported("prune")
}
