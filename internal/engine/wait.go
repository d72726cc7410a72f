package engine

import (
	"context"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// await waits for a job of a container in state doing to end, wherever it runs, for the client's departure or the daemon's stop.
func (e *Engine) await(ctx context.Context, containerID string, doing store.State, job int64) error {
	for stopped := false; ; {
		changed := e.cfg.Store.Watch(containerID)
		c, goneErr := e.cfg.Store.Container(ctx, containerID)
		// After the container: when its state tells of the end, the outcome is there.
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
		case err == nil && (api.KindOf(goneErr) == api.NotFound || goneErr == nil && c.State != doing):
			return endedElsewhere(c, goneErr != nil, doing)
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

// endedElsewhere is how something ended that another job did than the one which was waited for: that one was lost, and is replaced.
func endedElsewhere(c store.Container, gone bool, doing store.State) error {
	switch {
	case doing == store.Removing && gone, doing == store.Creating && !gone && c.State != store.Dead:
		return nil
	case gone:
		return api.Errorf(api.Unavailable, "the container could not be created, and is gone: the daemon's log tells why")
	default:
		return api.Errorf(api.Unavailable, "%s", c.Error)
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
