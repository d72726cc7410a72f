package engine

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// insertContainer inserts a container that is being created, and its job. change changes the job in the same
// transaction, before a daemon can take it.
func (f *fixture) insertContainer(t *testing.T, change func(tx riverdriver.ExecutorTx, job int64) error) (id string) {
	t.Helper()
	id = hexID("a")
	c := store.Container{ID: id, Name: "web", Config: *request.Config, FunctionApp: "app"}
	f.insertPlaced(t, c, func(ctx context.Context, tx *sql.Tx) error {
		var job int64
		if err := f.enqueue(provisionArgs{ContainerID: id}, &job)(ctx, tx); err != nil {
			return err
		}
		return change(f.river.Driver().UnwrapExecutor(tx), job)
	})
	return id
}

// runningIn inserts a container whose job is in the state in which a daemon leaves it that dies during the work.
func runningIn(t *testing.T, f *fixture, daemon string) {
	t.Helper()
	f.insertContainer(t, func(tx riverdriver.ExecutorTx, job int64) error {
		now := time.Now()
		_, err := tx.JobUpdateFull(t.Context(), &riverdriver.JobUpdateFullParams{
			ID: job, StateDoUpdate: true, State: rivertype.JobStateRunning, AttemptDoUpdate: true, Attempt: 1,
			AttemptedAtDoUpdate: true, AttemptedAt: &now, AttemptedByDoUpdate: true, AttemptedBy: []string{daemon},
		})
		return err
	})
}

func TestAbandonedJobsAreTakenOver(t *testing.T) {
	for name, row := range map[string]struct {
		owner     int // this daemon, a daemon that is not live, a live daemon
		abandoned bool
	}{
		"of this daemon, which lost it": {0, true}, "of a dead daemon": {1, true}, "not of a live daemon": {2, false},
	} {
		t.Run(name, func(t *testing.T) {
			all, clock := daemons(t, pgtest.Database(t), 3)
			own, other := all[0], all[2]
			own.begin(t)
			other.begin(t)
			runningIn(t, own, all[row.owner].db.DaemonID())
			now := clock.Now()
			seen, err := own.takeOver(t.Context(), nil, now)
			if err != nil || (len(seen) == 1) != row.abandoned {
				t.Fatalf("at first: got %v, %v", seen, err)
			}
			seen, err = own.takeOver(t.Context(), seen, now.Add(defaultTakeOverAfter-time.Second))
			if err != nil || (len(seen) == 1) != row.abandoned {
				t.Fatalf("too early: got %v, %v", seen, err)
			}
			if seen, err = own.takeOver(t.Context(), seen, now.Add(defaultTakeOverAfter)); err != nil || len(seen) != 0 {
				t.Fatalf("in time: got %v, %v", seen, err)
			}
			if row.abandoned {
				own.until(t, "web", store.Created)
			} else if c, err := own.db.Container(t.Context(), "web"); err != nil || c.State != store.Creating {
				t.Errorf("got %v, %v; want it left alone", c.State, err)
			}
		})
	}
}

// TestDaemonsLookForAbandonedJobs expects a started daemon to take a job over by itself as time passes.
func TestDaemonsLookForAbandonedJobs(t *testing.T) {
	all, clock := daemons(t, pgtest.Database(t), 2)
	all[0].begin(t)
	runningIn(t, all[0], all[1].db.DaemonID())
	azuretest.Eventually(t, "the job is taken over", func() bool {
		clock.Advance(defaultTakeOverAfter / 3)
		c, err := all[0].db.Container(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		return c.State == store.Created
	})
}

// TestDatabaseGoneAndBack cuts a daemon off from its database while Terraform works for a client who waits.
func TestDatabaseGoneAndBack(t *testing.T) {
	server, url := pgtest.Own(t)
	all, clock := daemons(t, url, 1)
	f := all[0]
	f.begin(t)
	began, cut := make(chan struct{}), make(chan error, 1)
	f.workspaces.provision = func(ctx context.Context) error {
		f.workspaces.set(func() { f.workspaces.provision = nil }) // the second attempt succeeds
		close(began)
		<-ctx.Done() // as an interrupted terraform
		cut <- context.Cause(ctx)
		return ctx.Err()
	}
	created := make(chan error)
	go func() {
		_, err := f.ContainerCreate(t.Context(), "web", request)
		created <- err
	}()
	<-began
	if err := errors.Join(server.Stop(), clock.BlockUntilContext(t.Context(), 4)); err != nil { // tickers and cutOff
		t.Fatal(err)
	}
	clock.Advance(defaultTakeOverAfter * 2 / 3)
	if err := <-cut; !errors.Is(err, errCutOff) {
		t.Errorf("the operation ended with %v, want that the daemon was cut off", err)
	}
	_, err := f.ContainerCreate(t.Context(), "other", request)
	if api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "database") {
		t.Errorf("create meanwhile: got %v, want unavailable", err)
	}
	back := f.db.WatchAll()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	<-back
	azuretest.Eventually(t, "the client who waits has an answer", func() bool {
		clock.Advance(defaultTakeOverAfter / 3)
		select {
		case err := <-created:
			if err != nil {
				t.Errorf("the client who waited: %v", err)
			}
			return true
		default:
			return false
		}
	})
	c, err := f.db.Container(t.Context(), "web")
	if err != nil || c.State != store.Created || len(f.workspaces.removals) != 0 {
		t.Errorf("got %v, %v, destroyed %d times; want it created", c.State, err, len(f.workspaces.removals))
	}
}
