package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// defaultTakeOverAfter is longer than a daemon needs to come back to a database that was restarted.
const defaultTakeOverAfter = 15 * time.Second

// errCutOff ends the work of a daemon that the others take for dead by now.
var errCutOff = errors.New("the database was out of reach for so long that other daemons may have taken over")

// ownJobs are the jobs that this daemon works on.
type ownJobs struct {
	mu      sync.Mutex
	cancels map[int64]context.CancelCauseFunc
}

// own is around each job's work. While a daemon works on a job of Terraform, no other does, even if it takes this one for dead.
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
	if job.Queue != terraformQueue {
		return work(ctx) // a call that is made twice joins the same run
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

// attend keeps this daemon among those on its database until ctx ends. Before the others take over the jobs of one that has lost it, that one
// stops to work on them.
func (e *Engine) attend(ctx context.Context) {
	var cutOff *time.Timer
	e.cfg.Store.StayConnected(ctx, func(err error) {
		switch {
		case err == nil && cutOff != nil:
			cutOff.Stop()
			cutOff = nil
			e.cfg.Log.Info().Msg("the database is back")
		case err != nil && cutOff == nil:
			e.cfg.Log.Error().Err(err).Msg("the database cannot be reached")
			cutOff = time.AfterFunc(e.cfg.TakeOverAfter*2/3, func() { e.jobs.cancelAll(errCutOff) })
		}
	})
	if cutOff != nil {
		cutOff.Stop()
	}
}

// abandoned is a job that is seen running while nobody works on it.
type abandoned struct {
	attempt int
	since   time.Time
}

// takeOverJobs looks for what other daemons have left until ctx ends.
func (e *Engine) takeOverJobs(ctx context.Context) {
	ticker := time.NewTicker(e.cfg.TakeOverAfter / 3)
	defer ticker.Stop()
	seen := map[int64]abandoned{}
	for {
		now, err := e.takeOver(ctx, seen, time.Now())
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.Warn().Err(err).Msg("cannot look for abandoned jobs")
		}
		seen = now // after a failed look, nothing counts as abandoned so far
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// takeOver makes jobs available again that have been abandoned for TakeOverAfter: their daemon has died, or is this one and could not record
// their end. seen are those that were found last time; it returns those found now.
func (e *Engine) takeOver(ctx context.Context, seen map[int64]abandoned, now time.Time) (map[int64]abandoned, error) {
	found, err := e.river.JobList(ctx, river.NewJobListParams().States(rivertype.JobStateRunning).First(jobPage))
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	live, err := e.cfg.Store.LiveDaemons(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(e.cfg.Store.MarkMissingDaemons(ctx, live), e.cfg.Store.ContinueOperations(ctx, e.atWork.list())); err != nil {
		return nil, err
	}
	still := map[int64]abandoned{}
	for _, job := range found.Jobs {
		owner := ""
		if n := len(job.AttemptedBy); n > 0 {
			owner = job.AttemptedBy[n-1]
		}
		if live[owner] && (owner != e.cfg.Store.DaemonID() || e.jobs.has(job.ID)) {
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
			e.cfg.Log.Warn().Int64("job_id", job.ID).Str("kind", job.Kind).Str("daemon", owner).Msg("took over a job that nobody works on")
		}
	}
	return still, nil
}
