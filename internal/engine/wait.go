package engine

import (
	"context"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// await waits for a job of a container to end, wherever it runs, for the client's departure or the daemon's stop.
func (e *Engine) await(ctx context.Context, containerID string, job int64) error {
	for stopped := false; ; {
		changed := e.cfg.Store.Watch(containerID)
		outcome, ok, err := e.cfg.Store.Outcome(ctx, job)
		again := lookAgain(err)
		switch {
		case ok:
			api.Correlated(ctx, outcome.Correlations...)
			if outcome.Err != nil {
				return outcome.Err
			}
			return nil
		case err != nil && again == nil:
			return err
		case stopped:
			return stopError("the daemon is stopping; what was asked for is done when it is started again")
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.interrupted:
			stopped = true // the job may have ended as its last act
		}
	}
}

// downPause is how long a request that waits leaves alone a database that is down.
const downPause = time.Second

// lookAgain gives a channel that tells when to look again after a failed look: a request that waits outlasts a database that is down. It is
// nil when err is none of that.
func lookAgain(err error) <-chan time.Time {
	if err == nil || api.KindOf(err) != api.Unavailable {
		return nil
	}
	return time.After(downPause)
}

// untilEnded derives the context of the call that is made for a run: it ends when the daemon stops, and when the run is ended by the removal
// of its container, in whichever daemon. end must be called when the call is over.
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
