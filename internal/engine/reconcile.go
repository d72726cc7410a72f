package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Azure lists what is in Azure. It changes nothing.
type Azure interface {
	// FunctionApps lists the function apps of a resource group. The list may be some minutes old.
	FunctionApps(ctx context.Context, resourceGroup string) ([]workspace.Found, error)
	// ServicePlans lists the service plans of a resource group, as FunctionApps does.
	ServicePlans(ctx context.Context, resourceGroup string) ([]workspace.Found, error)
	// Find asks for one resource. found is false only when Azure answers that there is none.
	Find(ctx context.Context, id string) (r workspace.Found, found bool, err error)
	// ComponentWorkspace returns the resource id of the Log Analytics workspace of an Application Insights component,
	// empty when the component has none. found is false only when Azure answers that there is no such component.
	ComponentWorkspace(ctx context.Context, group, name string) (workspaceID string, found bool, err error)
	// ServicePlan asks for one service plan. found is false only when Azure answers that there is none.
	ServicePlan(ctx context.Context, id string) (p ServicePlan, found bool, err error)
}

// ServicePlan is what Azure knows of a service plan.
type ServicePlan struct {
	SKU   string
	Linux bool
	// Workers is the number of instances. With PerSiteScaling each app says on how many of them it runs.
	Workers        int
	PerSiteScaling bool
}

const (
	// defaultReconcileInterval is the interval between comparisons of rows, jobs, workspaces and Azure.
	defaultReconcileInterval = 5 * time.Minute
	// maxRetryAfter is the longest delay between two attempts to remove a container.
	maxRetryAfter = time.Hour
	// jobPage is the number of jobs in one query, the largest that the queue allows.
	jobPage = 10_000
)

// retryAfter doubles from 5 minutes to an hour.
func retryAfter(failures int) time.Duration {
	return min(5*time.Minute<<min(max(failures, 1)-1, 10), maxRetryAfter)
}

type reconcileArgs struct{}

func (reconcileArgs) Kind() string { return "reconcile" }

// unfinished are the states of a job whose work is not done.
var unfinished = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning,
	rivertype.JobStateScheduled,
}

// reconcileRegularly compares at once, then at each interval and when somebody asks, until ctx ends.
func (e *Engine) reconcileRegularly(ctx context.Context) {
	ticker := e.cfg.Clock.NewTicker(e.cfg.ReconcileInterval)
	defer ticker.Stop()
	// Start has compared the jobs.
	for compare := e.compareOutside; ; compare = e.reconcile {
		if err := compare(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Log.Error().Err(err).Stringer("retry_in", e.cfg.ReconcileInterval).Msg("reconcile failed in part")
		}
		select {
		case <-ticker.Chan():
		case <-e.compareNow:
		case <-ctx.Done():
			return
		}
	}
}

// reconcile compares what only this daemon sees, and inserts a job with which one of the daemons compares the rest. A
// part that fails does not stop the others.
func (e *Engine) reconcile(ctx context.Context) error {
	ctx = api.ByDaemon(ctx, "reconcile")
	return errors.Join(e.closeOperations(ctx), e.compareJobs(ctx), e.compareOutside(ctx))
}

// compareOutside is the part of reconcile that concerns more than the database.
func (e *Engine) compareOutside(ctx context.Context) error {
	return errors.Join(e.tidyWorkspaces(ctx), e.tidyServicePlans(ctx), e.enqueueCompareAzure(ctx))
}

// compareJobs compares rows and jobs, and retries the removals that are due.
func (e *Engine) compareJobs(ctx context.Context) error {
	// It is enough that one daemon at a time does so.
	return e.cfg.Store.Exclusive(ctx, "compare jobs", func(ctx context.Context) error {
		return errors.Join(e.requeue(ctx), e.retryRemovals(ctx), e.giveUpUnanswered(ctx))
	})
}

// enqueueCompareAzure inserts the job that compares Azure, unless there is one.
func (e *Engine) enqueueCompareAzure(ctx context.Context) error {
	_, err := e.insert(ctx, reconcileArgs{}, river.InsertOpts{
		Queue: reconcileQueue, MaxAttempts: maxAttempts, UniqueOpts: river.UniqueOpts{ByQueue: true, ByState: unfinished},
	})
	return err
}

// requeue inserts the missing jobs: one for each container that is being created or removed, and one for each run under
// way.
func (e *Engine) requeue(ctx context.Context) error {
	// Rows before jobs: for a job that ends in between, requeue inserts another one, which finds nothing to do.
	missing, err := e.wantedJobs(ctx)
	if err != nil {
		return err
	}
	err = e.unfinishedJobs(ctx, func(name string, job *rivertype.JobRow) error {
		delete(missing, name)
		return e.pullForward(ctx, job)
	})
	if err != nil {
		return err
	}
	for name, args := range missing {
		inserted, err := e.insert(ctx, args, insertOpts(args))
		if err != nil {
			return err
		}
		if inserted {
			e.cfg.Log.Warn().Str("job", name).Msg("inserted a job that was missing")
		}
	}
	return nil
}

// wantedJobs returns the jobs that the rows require, by kind and id.
func (e *Engine) wantedJobs(ctx context.Context) (map[string]river.JobArgs, error) {
	containers, err := e.cfg.Store.Containers(ctx, 0, store.Creating, store.Removing)
	if err != nil {
		return nil, err
	}
	plans, err := e.cfg.Store.ServicePlans(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := e.cfg.Store.RunningRuns(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]river.JobArgs{}
	ready := map[string]bool{}
	for _, p := range plans {
		ready[p.ID] = p.State == store.PlanReady || p.State == store.PlanRetired
		switch p.State {
		case store.PlanCreating:
			wanted["create-service-plan "+p.ID] = createPlanArgs{ServicePlan: p.ID}
		case store.PlanRemoving:
			wanted["destroy-service-plan "+p.ID] = destroyPlanArgs{ServicePlan: p.ID}
		}
	}
	for _, c := range containers {
		switch {
		case c.State == store.Removing:
			wanted["destroy "+c.ID] = destroyArgs{ContainerID: c.ID}
		case ready[c.ServicePlan] || c.PlaceError != nil:
			wanted["provision "+c.ID] = provisionArgs{ContainerID: c.ID}
		}
	}
	for _, id := range runs {
		wanted["invoke "+id] = invokeArgs{RunID: id}
	}
	return wanted, nil
}

// unfinishedJobs calls f for each unfinished job, with the job's kind and id, until f returns an error.
func (e *Engine) unfinishedJobs(ctx context.Context, f func(name string, job *rivertype.JobRow) error) error {
	params := river.NewJobListParams().States(unfinished...).First(jobPage)
	for {
		page, err := e.river.JobList(ctx, params)
		if err != nil {
			return fmt.Errorf("list jobs: %w", err)
		}
		for _, job := range page.Jobs {
			var args struct {
				ContainerID string `json:"container_id"`
				RunID       string `json:"run_id"`
				ServicePlan string `json:"service_plan"`
			}
			if err := json.Unmarshal(job.EncodedArgs, &args); err != nil {
				return fmt.Errorf("read job %d: %w", job.ID, err)
			}
			if err := f(job.Kind+" "+args.ContainerID+args.RunID+args.ServicePlan, job); err != nil {
				return err
			}
		}
		if len(page.Jobs) < jobPage {
			return nil
		}
		params = params.After(page.LastCursor)
	}
}

// pullForward makes a job available that is due too late. No delay is that long, so the clock was set back after the
// job was scheduled.
func (e *Engine) pullForward(ctx context.Context, job *rivertype.JobRow) error {
	if job.State == rivertype.JobStateRunning || time.Until(job.ScheduledAt) <= 2*maxJobRetry {
		return nil
	}
	if _, err := e.river.JobRetry(ctx, job.ID); err != nil {
		return fmt.Errorf("pull job %d forward: %w", job.ID, err)
	}
	e.cfg.Log.Warn().Int64("job_id", job.ID).Time("due", job.ScheduledAt).
		Msg("the clock was set back: pulled a job forward")
	return nil
}

// retryRemovals starts the removals of dead containers that are due.
func (e *Engine) retryRemovals(ctx context.Context) error {
	due, err := e.cfg.Store.DueRemovals(ctx, 2*maxRetryAfter)
	if err != nil {
		return err
	}
	for _, id := range due {
		err := e.cfg.Store.Remove(ctx, id, false, e.enqueueDestroy(id))
		// NotFound and Conflict mean that another daemon or a client was faster.
		if kind := api.KindOf(err); err != nil && kind != api.NotFound && kind != api.Conflict {
			return err
		}
		e.cfg.Log.Info().Str("container_id", id).Msg("retrying a removal")
	}
	return nil
}

// giveUpUnanswered deals with the creates whose clients left without the answer because their daemon died, and with
// those of this daemon whose end it could not record.
func (e *Engine) giveUpUnanswered(ctx context.Context) error {
	list, err := e.cfg.Store.Unanswered(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	live, err := e.cfg.Store.LiveDaemons(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		_, waits := e.creating.Load(c.ID)
		if !live[c.Claim] || c.Claim == e.cfg.Store.DaemonID() && !waits {
			err = errors.Join(err, e.cfg.Store.Lose(ctx, c.ID, e.enqueueDestroy(c.ID)))
		}
	}
	return err
}

// gone reports whether there is no container with this id.
func (e *Engine) gone(ctx context.Context, id string) (bool, error) {
	_, err := e.cfg.Store.Container(ctx, id)
	if api.KindOf(err) == api.NotFound {
		return true, nil
	}
	return false, err
}

type reconcileWorker struct {
	river.WorkerDefaults[reconcileArgs]
	engine *Engine
}

// Work compares Azure with the containers. The next job retries what fails.
func (w *reconcileWorker) Work(ctx context.Context, _ *river.Job[reconcileArgs]) error {
	err := errors.Join(w.engine.compareAzure(ctx), w.engine.compareServicePlans(ctx))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		w.engine.cfg.Log.Error().Err(err).Stringer("retry_in", w.engine.cfg.ReconcileInterval).
			Msg("comparing Azure with the containers failed in part")
	}
	return nil
}
