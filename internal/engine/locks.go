package engine

import (
	"context"
	"errors"
	"fmt"
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
	// deadAfter is for how long a daemon must have been missed until its Terraform runs are known to be dead: one that is only cut off from
	// the database interrupts them within seconds, and kills them after minutes.
	deadAfter = 2*workspace.InterruptWait + time.Minute
	// lockPause is for how long a job is put off.
	lockPause = 15 * time.Second
	// lockClock is how much a lock may be older than the run that took it, by the same machine's clock.
	lockClock = 5 * time.Second
)

// perhapsDead is the error of a lock whose owner has been missed, but not for long enough.
type perhapsDead struct{ err error }

func (e *perhapsDead) Error() string { return e.err.Error() }
func (e *perhapsDead) Unwrap() error { return e.err }

// snoozed is the error with which a job of Terraform is put off that met such a lock, or a database that is down; nil for any other error.
func snoozed(err error) error {
	_, locked := errors.AsType[*perhapsDead](err)
	// Of what these jobs call, only the store knows kinds.
	if locked || api.KindOf(err) == api.Unavailable {
		return river.JobSnooze(lockPause)
	}
	return nil
}

// terraform runs f, which works on one workspace. In a remote backend, a lock outlives the run that was killed: it is removed when its owner is
// a run of ours that is known to be dead, and f is repeated.
func (e *Engine) terraform(ctx context.Context, id string, f func() error) error {
	if !e.cfg.RemoteState {
		return f() // the kernel frees the lock
	}
	earlier, err := e.cfg.Store.Operations(ctx, id)
	if err != nil {
		return err
	}
	if err := e.cfg.Store.BeginOperation(ctx, id, e.cfg.Home, workspace.Who()); err != nil {
		return err
	}
	defer e.atWork.begin(id)()
	err = f()
	if lock, ok := workspace.LockOf(err); ok && ctx.Err() == nil {
		dead, ownerErr := e.ownerIsDead(ctx, earlier, lock)
		if ownerErr != nil {
			return fmt.Errorf("%w: %w", ownerErr, err)
		}
		if dead {
			if unlockErr := e.cfg.Workspaces.Unlock(ctx, id, lock); unlockErr != nil {
				return errors.Join(err, unlockErr)
			}
			e.cfg.Log.Warn().Str("workspace", id).Str("lock_id", lock.ID).Str("who", lock.Who).Time("created", lock.Created).Msg("removed the lock of a dead Terraform run")
			err = f()
		}
	}
	if err != nil {
		return err
	}
	return e.cfg.Store.EndOperation(ctx, id)
}

// atWork are the workspaces that this daemon works on.
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

// ownerIsDead tells whether a lock was taken by one of earlier runs of daemons, and that is dead. A lock of anybody else, and one of a daemon
// that lives, is none of these. Its error is a perhapsDead one while that is not known.
func (e *Engine) ownerIsDead(ctx context.Context, earlier []store.Operation, lock workspace.Lock) (dead bool, err error) {
	live, err := e.cfg.Store.LiveDaemons(ctx)
	if err != nil {
		return false, err
	}
	var perhaps bool
	for _, run := range earlier {
		if run.Who != lock.Who || lock.Created.Before(run.Started.Add(-lockClock)) || lock.Created.After(run.Seen.Add(e.cfg.TakeOverAfter)) {
			continue
		}
		switch {
		case run.DaemonID == e.cfg.Store.DaemonID():
			dead = true // the work is ours now, so what we ran before has ended
		case live[run.DaemonID]:
			return false, nil
		case run.Home == e.cfg.Home:
			dead = true // we have its state folder now
		case !run.MissingSince.IsZero() && e.cfg.Store.Now().Sub(run.MissingSince) >= deadAfter:
			dead = true
		default:
			perhaps = true
		}
	}
	if perhaps {
		return false, &perhapsDead{errors.New("the owner of the lock is missed, and not known to be dead yet")}
	}
	return dead, nil
}
