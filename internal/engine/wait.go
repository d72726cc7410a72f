package engine

import (
	"context"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// await blocks until a job of a container in state doing has ended in any daemon, ctx ends, or this daemon has
// stopped. It returns the job's error. job 0 is the one that creates the function app, which is inserted once the
// container has a place.
func (e *Engine) await(ctx context.Context, containerID string, doing store.State, job int64) error {
	for stopped := false; ; {
		changed := e.cfg.Store.Watch(containerID)
		c, goneErr := e.cfg.Store.Container(ctx, containerID)
		// Read the outcome after the container: when the container has left the state, the outcome exists.
		outcome, ok, err := e.outcome(ctx, c, goneErr, containerID, job)
		again := e.lookAgain(err)
		switch {
		case ok:
			api.Correlated(ctx, outcome.Correlations...)
			if outcome.Err != nil {
				return outcome.Err
			}
			return nil
		case err != nil && again == nil:
			return err
		case err == nil && (api.KindOf(goneErr) == api.NotFound || goneErr == nil && c.State != doing):
			return endedElsewhere(c, goneErr != nil, doing)
		case stopped:
			return stopError("the daemon is stopping: it will finish the request when it has restarted")
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.interrupted:
			stopped = true // look once more: the job may have ended just before
		}
	}
}

// outcome returns the outcome of a job that await waits for. c is the container, and goneErr says that there is none.
func (e *Engine) outcome(
	ctx context.Context, c store.Container, goneErr error, containerID string, job int64,
) (o store.Outcome, ok bool, err error) {
	switch {
	case job != 0:
		return e.cfg.Store.Outcome(ctx, job)
	case api.KindOf(goneErr) == api.NotFound, goneErr == nil && c.State != store.Creating:
		return e.cfg.Store.CreateOutcome(ctx, containerID)
	case goneErr != nil:
		return store.Outcome{}, false, goneErr
	}
	return store.Outcome{}, false, nil
}

// endedElsewhere returns the error of a request whose job was lost and replaced. It derives the result from the
// container that the other job left.
func endedElsewhere(c store.Container, gone bool, doing store.State) error {
	switch {
	case doing == store.Removing && gone, doing == store.Creating && !gone && c.State != store.Dead:
		return nil
	case gone:
		return api.Errorf(api.Unavailable, "the container could not be created, and is gone: the daemon's log has the reason")
	default:
		return api.Errorf(api.Unavailable, "%s", c.Error)
	}
}

// downPause is the delay before a waiting request asks a database again that was down.
const downPause = time.Second

// lookAgain returns a channel that fires when a waiting request should read the database again, because err reports
// that the database is down. For any other err it returns nil.
func (e *Engine) lookAgain(err error) <-chan time.Time {
	if err == nil || api.KindOf(err) != api.Unavailable {
		return nil
	}
	return e.cfg.Clock.After(downPause)
}

// untilEnded derives the context of the call for a run. The context ends when this daemon stops, and when any daemon
// removes the run's container. The caller must call end when the call is over.
func (e *Engine) untilEnded(ctx context.Context, run store.Run) (call context.Context, end func()) {
	call, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			changed := e.cfg.Store.Watch(run.ContainerID)
			now, err := e.cfg.Store.Run(call, run.ID)
			if api.KindOf(err) == api.NotFound || (err == nil && !now.Finished.IsZero()) {
				cancel(errRemoved)
				return
			}
			select {
			case <-changed:
			case <-e.stopping:
				cancel(errStopping)
				return
			case <-call.Done():
				return
			}
		}
	}()
	return call, func() {
		cancel(nil)
		<-done
	}
}
