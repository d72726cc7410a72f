package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

const (
	// deadAfter is the time after which the Terraform processes of a missing daemon are known to be dead. A daemon that
	// is only cut off from the database interrupts its processes within seconds, and kills them after minutes.
	deadAfter = 2*workspace.InterruptWait + time.Minute
	// snoozeTime is the delay before a job that was put off runs again.
	snoozeTime = 15 * time.Second
	// lockClockSkew is the time by which a lock may be older than the operation that took it, by the clock of the same
	// machine.
	lockClockSkew = 5 * time.Second
)

// holderUnknownError reports a lock whose holder is missing, but not for long enough to be known to be dead.
type holderUnknownError struct{ err error }

func (e *holderUnknownError) Error() string { return e.err.Error() }
func (e *holderUnknownError) Unwrap() error { return e.err }

// finalError ends a create, and does not put it off, whatever its kind is: the image could not be wrapped, because its
// registry does not answer, or the service plan for the container could not be created.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// snoozed returns the error that puts off a Terraform job because of err: a lock whose holder is unknown, or a database
// that is down. It returns nil for any other error.
func snoozed(err error) error {
	_, locked := errors.AsType[*holderUnknownError](err)
	_, final := errors.AsType[*finalError](err)
	// Among the callees of these jobs, only the store returns errors with a kind, and what a finalError holds.
	if locked || api.KindOf(err) == api.Unavailable && !final {
		return river.JobSnooze(snoozeTime)
	}
	return nil
}

// operate runs f, an operation on one workspace. In a remote backend the state's lock outlives a killed operation: f
// gets a function that reports whether the holder of a lock is dead, and the workspace then removes the lock. With a
// local state the function is nil, because the kernel frees the lock of a dead process.
func (e *Engine) operate(ctx context.Context, id string, f func(dead workspace.DeadHolder) error) error {
	if !e.cfg.RemoteState {
		return f(nil)
	}
	earlier, err := e.cfg.Store.Operations(ctx, id)
	if err != nil {
		return err
	}
	if err := e.cfg.Store.BeginOperation(ctx, id, e.cfg.Home, workspace.Who()); err != nil {
		return err
	}
	defer e.atWork.begin(id)()
	err = f(func(ctx context.Context, lock workspace.Lock) (bool, error) {
		return e.holderIsDead(ctx, earlier, lock)
	})
	if err != nil {
		return err
	}
	return e.cfg.Store.EndOperation(ctx, id)
}

// operateOn is operate for a service plan, and for an app on it. It waits until the limits allow another Terraform run.
func (e *Engine) operateOn(
	ctx context.Context, plan, id string, f func(dead workspace.DeadHolder) error,
) error {
	select {
	case e.runs <- struct{}{}:
		defer func() { <-e.runs }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return e.operate(onServicePlan(ctx, plan), id, f)
}

// atWork holds the workspaces on which this daemon works.
type atWork struct {
	mu  sync.Mutex
	ids map[string]bool
}

// begin adds a workspace until end is called.
func (a *atWork) begin(id string) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[id] = true
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.ids, id)
	}
}

func (a *atWork) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.ids))
}

// holderIsDead reports whether a lock was left by a dead operation of a daemon. earlier are the recorded operations on
// the workspace. An operation may hold the lock when user, machine and time match. holderIsDead returns, by the daemon
// of that operation:
//
//	daemon                                           dead     err
//	no operation matches: the lock is a person's     false    nil
//	a live daemon                                    false    nil
//	this daemon, which has ended the operation       true     nil
//	a missing daemon with this daemon's state folder true     nil
//	a daemon missing for deadAfter                   true     nil
//	a daemon missing for a shorter time              false    a holderUnknownError
//
// When several operations match, a live daemon goes first, then a daemon missing for a shorter time.
func (e *Engine) holderIsDead(
	ctx context.Context, earlier []store.Operation, lock workspace.Lock,
) (dead bool, err error) {
	live, err := e.cfg.Store.LiveDaemons(ctx)
	if err != nil {
		return false, err
	}
	var unknown bool
	for _, operation := range earlier {
		if operation.Who != lock.Who || lock.Created.Before(operation.Started.Add(-lockClockSkew)) ||
			lock.Created.After(operation.Seen.Add(e.cfg.TakeOverAfter)) {
			continue
		}
		missing := operation.MissingSince
		switch {
		case operation.DaemonID == e.cfg.Store.DaemonID():
			dead = true // this job has the workspace now, so its earlier operation has ended
		case live[operation.DaemonID]:
			return false, nil
		case operation.Home == e.cfg.Home:
			dead = true // at most one daemon uses a state folder
		case !missing.IsZero() && e.cfg.Store.Now().Sub(missing) >= deadAfter:
			dead = true
		default:
			unknown = true
		}
	}
	if unknown {
		return false, &holderUnknownError{errors.New("the holder of the lock is missing, and not known to be dead yet")}
	}
	return dead, nil
}
