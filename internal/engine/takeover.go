package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Daemons on one PostgreSQL database take over the jobs of a daemon that died. A daemon that has only lost its
// connection looks the same from outside, so it stops its own work before the others start on it:
//
//	time since the loss    what happens
//	0                      the database releases the daemon's lock, so that it is no longer among the live daemons
//	2/3 TakeOverAfter      the daemon interrupts the work on its own jobs, unless it has reconnected
//	TakeOverAfter          another daemon makes the jobs available, and any daemon may work on them
//
// While an interrupted Terraform still runs, the lock of its job keeps other daemons from starting the same job.

// defaultTakeOverAfter is longer than a daemon needs to reconnect to a database that was restarted.
const defaultTakeOverAfter = 15 * time.Second

// errCutOff ends the work of a daemon that the others may consider dead by now.
var errCutOff = errors.New("the database was out of reach for so long that other daemons may have taken over")

// ownJobs holds the jobs on which this daemon works.
type ownJobs struct {
	mu      sync.Mutex
	cancels map[int64]context.CancelCauseFunc
}

// own wraps the work of each job. It registers the job among those of this daemon. It also locks a Terraform job, so
// that no other daemon works on the job even when the others consider this daemon dead.
func (e *Engine) own(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.jobs.mu.Lock()
	e.jobs.cancels[job.ID] = cancel
	e.jobs.mu.Unlock()
	defer func() {
		e.jobs.mu.Lock()
		defer e.jobs.mu.Unlock()
		delete(e.jobs.cancels, job.ID)
	}()
	if job.Queue == invocationQueue || job.Queue == reconcileQueue {
		return work(ctx) // two daemons that call the function app for one run join the same execution
	}
	return e.cfg.Store.Exclusive(ctx, "job "+strconv.FormatInt(job.ID, 10), work)
}

func (o *ownJobs) has(id int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.cancels[id]
	return ok
}

func (o *ownJobs) cancelAll(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, cancel := range o.cancels {
		cancel(cause)
	}
}

// stayConnected keeps this daemon among the live ones until ctx ends. When the daemon has been without its database for
// two thirds of TakeOverAfter, stayConnected interrupts the work on the daemon's jobs.
func (e *Engine) stayConnected(ctx context.Context) {
	var cutOff clockwork.Timer
	e.cfg.Store.StayConnected(ctx, func(err error) {
		switch {
		case err == nil && cutOff != nil:
			cutOff.Stop()
			cutOff = nil
			e.cfg.Log.Info().Msg("the database is back")
		case err != nil && cutOff == nil:
			e.cfg.Log.Error().Err(err).Msg("the database cannot be reached")
			cutOff = e.cfg.Clock.AfterFunc(e.cfg.TakeOverAfter*2/3, func() { e.jobs.cancelAll(errCutOff) })
		}
	})
	if cutOff != nil {
		cutOff.Stop()
	}
}

// abandoned is a running job on which no daemon works. since is the time at which it was first found.
type abandoned struct {
	attempt int
	since   time.Time
}

// takeOverJobs takes over abandoned jobs until ctx ends. It looks for them three times within TakeOverAfter.
func (e *Engine) takeOverJobs(ctx context.Context) {
	ticker := e.cfg.Clock.NewTicker(e.cfg.TakeOverAfter / 3)
	defer ticker.Stop()
	seen := map[int64]abandoned{}
	for {
		now, err := e.takeOver(ctx, seen, e.cfg.Clock.Now())
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.Warn().Err(err).Msg("cannot look for abandoned jobs")
		}
		seen = now // after an error this is empty, and the wait for abandoned jobs starts again
		select {
		case <-ticker.Chan():
		case <-ctx.Done():
			return
		}
	}
}

// takeOver makes the jobs available that have been abandoned for TakeOverAfter. seen holds the abandoned jobs of the
// last call. takeOver returns those that remain abandoned. A running job is judged by the daemon that started it:
//
//	daemon                                    the job is
//	another live daemon                       left alone
//	this daemon, which works on the job       left alone
//	this daemon, which does not work on it    abandoned: the daemon could not record the job's end
//	a daemon that is not live                 abandoned
//
// takeOver also records which daemons with operations are missing, and which operations of this daemon still run.
func (e *Engine) takeOver(ctx context.Context, seen map[int64]abandoned, now time.Time) (map[int64]abandoned, error) {
	found, err := e.river.JobList(ctx, river.NewJobListParams().States(rivertype.JobStateRunning).First(jobPage))
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	live, err := e.cfg.Store.LiveDaemons(ctx)
	if err != nil {
		return nil, err
	}
	marked := e.cfg.Store.MarkMissingDaemons(ctx, live)
	if err := errors.Join(marked, e.cfg.Store.ContinueOperations(ctx, e.atWork.list())); err != nil {
		return nil, err
	}
	still := map[int64]abandoned{}
	for _, job := range found.Jobs {
		daemon := ""
		if n := len(job.AttemptedBy); n > 0 {
			daemon = job.AttemptedBy[n-1]
		}
		if live[daemon] && (daemon != e.cfg.Store.DaemonID() || e.jobs.has(job.ID)) {
			continue
		}
		a, ok := seen[job.ID]
		if !ok || a.attempt != job.Attempt {
			a = abandoned{job.Attempt, now}
		}
		if now.Sub(a.since) < e.cfg.TakeOverAfter {
			still[job.ID] = a
			continue
		}
		released, err := e.cfg.Store.ReleaseJob(ctx, job.ID, job.Attempt)
		if err != nil {
			return still, fmt.Errorf("take over job %d: %w", job.ID, err)
		}
		if released {
			e.cfg.Log.Warn().Int64("job_id", job.ID).Str("kind", job.Kind).Str("daemon", daemon).
				Msg("took over a job that no daemon works on")
		}
	}
	return still, nil
}
