package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// daemon opens a database as one of several daemons, and attends to it until leave is called or the test ends. reports gets what Attend reports.
func daemon(t *testing.T, url string) (db *store.DB, reports <-chan error, leave func()) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan error, 1000)
	var attending sync.WaitGroup
	attending.Go(func() { db.Attend(ctx, func(err error) { seen <- err }) })
	leave = sync.OnceFunc(func() {
		cancel()
		attending.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(leave)
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	return db, seen, leave
}

func TestDaemonsMigrateOneAtATime(t *testing.T) {
	url := pgtest.Database(t)
	var g errgroup.Group
	for range 5 {
		g.Go(func() error {
			db, err := store.Open(t.Context(), store.Config{URL: url})
			if err != nil {
				return err
			}
			return db.Close()
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestDaemonsWakeEachOther(t *testing.T) {
	url := pgtest.Database(t)
	one, _, _ := daemon(t, url)
	other, _, _ := daemon(t, url)
	at(t, one, id("a"), store.Created)
	mine, all := other.Watch(id("a")), other.WatchAll()
	if err := one.Rename(t.Context(), id("a"), "new"); err != nil {
		t.Fatal(err)
	}
	<-mine
	<-all
	if c, err := other.Container(t.Context(), "new"); err != nil || c.ID != id("a") {
		t.Errorf("got %v, %v", c.ID, err)
	}
}

func TestReplicas(t *testing.T) {
	url := pgtest.Database(t)
	one, _, _ := daemon(t, url)
	other, _, leave := daemon(t, url)
	live, err := one.Replicas(t.Context())
	if err != nil || !cmp.Equal(live, map[string]bool{one.Replica(): true, other.Replica(): true}) {
		t.Errorf("got %v, %v; want both", live, err)
	}
	leave()
	if live, err = one.Replicas(t.Context()); err != nil || !cmp.Equal(live, map[string]bool{one.Replica(): true}) {
		t.Errorf("got %v, %v; want one", live, err)
	}
}

// TestOneJobForEachChange lets several daemons ask for the same at the same time: the state lets one of them in.
func TestOneJobForEachChange(t *testing.T) {
	url := pgtest.Database(t)
	var daemons []*store.DB
	for range 3 {
		db, _, _ := daemon(t, url)
		daemons = append(daemons, db)
	}
	at(t, daemons[0], id("a"), store.Created)
	for name, change := range map[string]func(db *store.DB, n int, enqueue store.InTx) error{
		"create": func(db *store.DB, n int, enqueue store.InTx) error {
			return db.CreateContainer(t.Context(), store.Container{ID: id(fmt.Sprintf("%x", n)), Name: "same"}, enqueue)
		},
		"start": func(db *store.DB, n int, enqueue store.InTx) error {
			return db.Start(t.Context(), store.Run{ID: fmt.Sprint(n), ContainerID: id("a")}, enqueue)
		},
	} {
		var jobs atomic.Int32
		enqueue := func(context.Context, *sql.Tx) error { jobs.Add(1); return nil }
		var done sync.WaitGroup
		for n := range 9 {
			done.Go(func() {
				err := change(daemons[n%3], n, enqueue)
				if kind := api.KindOf(err); err != nil && kind != api.Conflict && kind != api.NotModified {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		done.Wait()
		if jobs.Load() != 1 {
			t.Errorf("%s: %d jobs, want 1", name, jobs.Load())
		}
	}
	if err := daemons[0].Remove(t.Context(), id("a"), true, nothing); err != nil {
		t.Fatal(err)
	}
	if err := daemons[1].Remove(t.Context(), id("a"), true, nothing); api.KindOf(err) != api.Conflict {
		t.Errorf("second removal: got %v, want a conflict", err)
	}
}

func TestExclusive(t *testing.T) {
	url := pgtest.Database(t)
	one, _, _ := daemon(t, url)
	other, _, _ := daemon(t, url)
	var inside atomic.Int32
	var g errgroup.Group
	for n := range 8 {
		db := []*store.DB{one, other}[n%2]
		g.Go(func() error {
			return db.Exclusive(t.Context(), "name", func(ctx context.Context) error {
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				_, err := db.Containers(ctx, 0)
				inside.Add(-1)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	// Not every lost connection is the database's.
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	if err := one.Exclusive(t.Context(), "name", func(context.Context) error { return refused }); !errors.Is(err, refused) || api.KindOf(err) != api.Internal {
		t.Errorf("got %v, want the function's error", err)
	}
}

func TestDatabaseGoneAndBack(t *testing.T) {
	server, url := pgtest.Own(t)
	db, reports, _ := daemon(t, url)
	at(t, db, id("a"), store.Created)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-reports; err == nil {
		t.Error("the loss of the database is not reported")
	}
	changed := db.Watch(id("a"))
	_, readErr := db.Container(t.Context(), id("a"))
	for what, err := range map[string]error{"read": readErr, "write": db.Rename(t.Context(), id("a"), "new")} {
		known, ok := errors.AsType[*api.Error](err)
		if !ok || known.Kind != api.Unavailable || known.RetryAfter == 0 || known.Err == nil || !strings.Contains(known.Message, "database") {
			t.Errorf("%s: got %v, want unavailable with a cause and when to try again", what, err)
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for err := range reports {
		if err == nil {
			break
		}
	}
	<-changed // everyone looks again
	if err := db.Rename(t.Context(), id("a"), "new"); err != nil {
		t.Error(err)
	}
	if live, err := db.Replicas(t.Context()); err != nil || !live[db.Replica()] || len(live) != 1 {
		t.Errorf("got %v, %v; want this one", live, err)
	}
}

func TestWhatPostgresDoesNotTake(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		for _, ref := range []string{"a\x00", "\xff"} {
			if _, err := db.Container(t.Context(), ref); api.KindOf(err) != api.NotFound {
				t.Errorf("%q: got %v, want not found", ref, err)
			}
		}
		at(t, db, id("a"), store.Running)
		result := store.Result{Error: "cut \xc3 off \x00", Output: []api.LogLine{{Stream: api.Stdout, Text: "nul \x00 and \xc3"}}}
		if err := db.Finish(t.Context(), "run-"+id("a"), result, nothing, noRemoval); err != nil {
			t.Fatal(err)
		}
		run, _, err := db.LastRun(t.Context(), id("a"))
		if err != nil || run.Error != "cut \uFFFD off \uFFFD" || run.Output[0].Text != "nul \x00 and \uFFFD" {
			t.Errorf("got %q, %+v, %v", run.Error, run.Output, err)
		}
	})
}

func TestOutcome(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		at(t, db, id("a"), store.Creating)
		if _, ok, err := db.Outcome(t.Context(), 1); ok || err != nil {
			t.Errorf("got %v, %v before the job has ended", ok, err)
		}
		want := store.Outcome{Job: 1, Correlations: []string{"x", "y"}, Err: &api.Error{
			Kind: api.Forbidden, Message: "no role", Err: errors.New("AuthorizationFailed"), RetryAfter: time.Minute, CorrelationID: "x", RequestID: "z",
		}}
		if err := db.Fail(t.Context(), id("a"), "no role", soon, want); err != nil {
			t.Fatal(err)
		}
		got, ok, err := db.Outcome(t.Context(), 1)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if got.Err.Err.Error() != "AuthorizationFailed" {
			t.Errorf("cause %v", got.Err.Err)
		}
		got.Err.Err = want.Err.Err
		if *got.Err != *want.Err || !cmp.Equal(got.Correlations, want.Correlations) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		// A change that is refused has no outcome.
		if err := db.Provisioned(t.Context(), id("a"), testApp, store.Outcome{Job: 2}); api.KindOf(err) != api.Conflict {
			t.Errorf("got %v, want a conflict", err)
		}
		clock.advance(25 * time.Hour)
		at(t, db, id("b"), store.Creating)
		if err := db.Provisioned(t.Context(), id("b"), testApp, store.Outcome{Job: 3}); err != nil {
			t.Fatal(err)
		}
		for job, kept := range map[int64]bool{1: false, 2: false, 3: true} {
			if _, ok, err := db.Outcome(t.Context(), job); ok != kept || err != nil {
				t.Errorf("job %d: got %v, %v; want %v", job, ok, err, kept)
			}
		}
	})
}

func TestNoDatabaseAtStart(t *testing.T) {
	_, err := store.Open(t.Context(), store.Config{URL: "postgres://u:hunter2@/db?host=" + t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "no such file") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want the reason without the password", err)
	}
}

func TestCheckURL(t *testing.T) {
	for _, url := range []string{"postgres://u:p@host/db", "postgresql:///db?host=/run/postgresql&pool_max_conns=3", "postgres://a,b:5433/db?sslmode=verify-full"} {
		if err := store.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"", "mysql://u:hunter2@host/db", "host=h password=hunter2", "postgres://u:hunter2@host:port/db", "postgres://u:hunter2@host/db?sslmode=perhaps", "postgres://u:hunter2@ho st/db"} {
		if err := store.CheckURL(url); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want a refusal without the password", url, err)
		}
	}
}
