package engine

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/store"
)

// Queues. Invocations take long and must not delay Terraform operations.
const (
	terraformQueue  = "terraform"
	invocationQueue = "invocation"
	reconcileQueue  = "reconcile"
	// Jobs of containers may wait for those of service plans.
	planQueue = "service-plans"
)

// defaultQueuePoll is the interval at which the daemon looks at a queue that nothing wakes. Inserted jobs wake it. Jobs
// that become due later do not: those to retry, those that were put off, and those taken over from a dead daemon.
const defaultQueuePoll = 5 * time.Second

// keptOutcomes is the time for which the queue keeps completed jobs, and thus their outcomes.
const keptOutcomes = 24 * time.Hour

// maxJobRetry is the longest delay before retrying a job that returned an error. Such errors come from the database or
// the disk.
const maxJobRetry = time.Minute

// jobRetries doubles the delay before a retry, from a second on.
type jobRetries struct{}

// NextRetry implements river.ClientRetryPolicy.
func (jobRetries) NextRetry(job *rivertype.JobRow) time.Time {
	return time.Now().Add(min(time.Second<<min(len(job.Errors), 10), maxJobRetry))
}

// openQueue prepares the queue's tables in the store's database, and the client.
func (e *Engine) openQueue(ctx context.Context) error {
	// While the database is out of reach, the queue logs that many times a second.
	calm := e.cfg.Log.Level(zerolog.WarnLevel).Sample(&zerolog.BurstSampler{Burst: 10, Period: 10 * time.Second})
	logger := slog.New(zerolog.NewSlogHandler(calm))
	var driver riverdriver.Driver[*sql.Tx]
	if pool := e.cfg.Store.Pool(); pool != nil {
		driver = riverdatabasesql.NewWithPgxListener(e.cfg.Store.SQL(), pool)
	} else {
		e.listener = newListener()
		driver = sqliteDriver{riversqlite.New(e.cfg.Store.SQL()), e.listener}
	}
	err := e.cfg.Store.Exclusive(ctx, store.MigrationLock, func(ctx context.Context) error {
		return migrateQueue(ctx, driver, logger)
	})
	if err != nil {
		return fmt.Errorf("migrate job queue: %w", err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &provisionWorker{engine: e})
	river.AddWorker(workers, &invokeWorker{engine: e})
	river.AddWorker(workers, &destroyWorker{engine: e})
	river.AddWorker(workers, &createPlanWorker{engine: e})
	river.AddWorker(workers, &destroyPlanWorker{engine: e})
	river.AddWorker(workers, &reconcileWorker{engine: e})
	e.river, err = river.NewClient(driver, &river.Config{
		ID: e.cfg.Store.DaemonID(),
		Queues: map[string]river.QueueConfig{
			terraformQueue:  {MaxWorkers: e.cfg.Limits.TerraformRuns},
			planQueue:       {MaxWorkers: e.cfg.Limits.TerraformRuns},
			invocationQueue: {MaxWorkers: concurrentInvocations},
			reconcileQueue:  {MaxWorkers: 1},
		},
		Workers:           workers,
		Middleware:        []rivertype.Middleware{river.WorkerMiddlewareFunc(e.own)},
		Logger:            logger,
		RetryPolicy:       jobRetries{},
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: e.cfg.QueuePoll,
		JobTimeout:        -1, // Terraform and runs have their own limits
		// A job's age does not show whether a daemon still works on it. takeOver finds the abandoned jobs.
		RescueStuckJobsAfter: 365 * 24 * time.Hour,
		// A completed job has the outcome of the request, which reads it at once.
		CompletedJobRetentionPeriod: keptOutcomes,
		SoftStopTimeout:             max(e.cfg.ShutdownTimeout, time.Nanosecond), // 0 would mean to wait without a limit
	})
	if err != nil {
		return fmt.Errorf("prepare job queue: %w", err)
	}
	return nil
}

func migrateQueue(ctx context.Context, driver riverdriver.Driver[*sql.Tx], logger *slog.Logger) error {
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger})
	if err != nil {
		return err
	}
	existing, err := migrator.ExistingVersions(ctx)
	if err != nil {
		return err
	}
	known := migrator.AllVersions()
	if n := len(existing); n > 0 && existing[n-1].Version > known[len(known)-1].Version {
		return fmt.Errorf("its schema has version %d and this program knows %d: run the newer program that wrote it",
			existing[n-1].Version, known[len(known)-1].Version)
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}
