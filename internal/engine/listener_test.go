package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// woken replaces an engine that does not run by one that looks for jobs once an hour. Only what wakes its queues starts
// a job.
func (f *fixture) woken(t *testing.T) *fixture {
	t.Helper()
	cfg := f.cfg
	cfg.QueuePoll = time.Hour
	var err error
	if f.Engine, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

// onSQLite returns a woken engine that is not started.
func onSQLite(t *testing.T) *fixture {
	t.Helper()
	f := setup(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.woken(t)
}

// onEachDatabase runs a test with woken engines that are not started.
func onEachDatabase(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, onSQLite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		all, _ := daemons(t, pgtest.Database(t), 1)
		test(t, all[0].woken(t))
	})
}

// TestCommitWakesTheQueue creates containers at the same time. Each has its own transaction.
func TestCommitWakesTheQueue(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, f *fixture) {
		f.begin(t)
		var g errgroup.Group
		for n := range 20 {
			g.Go(func() error {
				_, err := f.ContainerCreate(t.Context(), fmt.Sprintf("web%d", n), request)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		f.run(t, "web1")
		f.wait(t, "web1", "")
	})
}

// TestQueueWaitsForTheCommit commits a job after the queue was woken for it.
func TestQueueWaitsForTheCommit(t *testing.T) {
	f := onSQLite(t)
	f.begin(t)
	f.create(t, "first") // the queue has looked for jobs
	f.insertContainer(t, func(riverdriver.ExecutorTx, int64) error {
		pool := f.db.SQL()
		before := pool.Stats().WaitCount
		azuretest.Eventually(t, "the queue waits for the connection", func() bool {
			return pool.Stats().WaitCount > before
		})
		return nil
	})
	f.until(t, "web", store.Created)
}

func TestRollbackStartsNothing(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, f *fixture) {
		var provisioned atomic.Int32
		f.workspaces.provision = func(context.Context) error { provisioned.Add(1); return nil }
		f.begin(t)
		full := errors.New("the disk is full")
		c := store.Container{ID: hexID("a"), Name: "web", Config: *request.Config, FunctionApp: "app"}
		err := f.place(t.Context(), c, func(ctx context.Context, tx *sql.Tx) error {
			return errors.Join(f.enqueue(provisionArgs{ContainerID: c.ID}, new(int64))(ctx, tx), full)
		})
		if !errors.Is(err, full) {
			t.Fatalf("got %v", err)
		}
		f.create(t, "other")
		if n := provisioned.Load(); n != 1 {
			t.Errorf("provisioned %d containers, want 1", n)
		}
	})
}

// TestRollbackHidesNoJob inserts a job again right after its first insertion was rolled back.
func TestRollbackHidesNoJob(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, f *fixture) {
		f.begin(t)
		f.create(t, "first") // the queue has looked for jobs
		id := hexID("a")
		c := store.Container{ID: id, Name: "web", Config: *request.Config, FunctionApp: "app"}
		insert := f.enqueue(provisionArgs{ContainerID: id}, new(int64))
		err := f.place(t.Context(), c, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "SAVEPOINT first")
			err = errors.Join(err, insert(ctx, tx))
			_, rollback := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT first")
			return errors.Join(err, rollback, insert(ctx, tx))
		})
		if err != nil {
			t.Fatal(err)
		}
		f.until(t, "web", store.Created)
	})
}

func TestStartFindsJobs(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, f *fixture) {
		f.insertContainer(t, func(riverdriver.ExecutorTx, int64) error { return nil })
		f.begin(t)
		f.until(t, "web", store.Created)
	})
}

func TestReconcileWakesItsQueue(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, f *fixture) {
		f.begin(t)
		f.create(t, "first") // the queues have looked for jobs
		if err := f.enqueueCompareAzure(t.Context()); err != nil {
			t.Fatal(err)
		}
		azuretest.Eventually(t, "Azure is compared", func() bool {
			return f.onlyJob(t, "reconcile").State == rivertype.JobStateCompleted
		})
	})
}
