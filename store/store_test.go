package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// clock is a time that moves only when told to.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time          { return c.now }
func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// database is one of those that the store works on.
type database struct {
	name string
	// fresh is the configuration of an empty one.
	fresh func(t *testing.T) store.Config
}

var (
	sqlite = database{"SQLite", func(t *testing.T) store.Config {
		return store.Config{Path: filepath.Join(t.TempDir(), "a b?.db")}
	}}
	postgres = database{"PostgreSQL", func(t *testing.T) store.Config { return store.Config{URL: pgtest.Schema(t)} }}
)

// both runs a test on each database.
func both(t *testing.T, test func(t *testing.T, in database)) {
	for _, in := range []database{sqlite, postgres} {
		t.Run(in.name, func(t *testing.T) { test(t, in) })
	}
}

// open opens an empty database.
func (in database) open(t *testing.T) (*store.DB, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	cfg := in.fresh(t)
	cfg.Now = c.Now
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, c
}

func nothing(context.Context, *sql.Tx) error { return nil }

// noRemoval is the removal after a run of containers that have no AutoRemove.
func noRemoval(string) store.InTx {
	return func(context.Context, *sql.Tx) error { return errors.New("a removal was enqueued") }
}

func id(c string) string { return strings.Repeat(c, 64) }

var testApp = store.App{ResourceID: "/subscriptions/s/sites/a", HostName: "a.azurewebsites.net", PlanSummary: "1 to add, 0 to change, 0 to destroy"}

// at brings a new container named after its id to a state, by the legal way.
func at(t *testing.T, db *store.DB, id string, state store.State) {
	t.Helper()
	run := store.Run{ID: "run-" + id, ContainerID: id, TraceID: "t", SpanID: "s"}
	ways := map[store.State][]func() error{
		store.Creating: {},
		store.Created:  {func() error { return db.Provisioned(t.Context(), id, testApp, store.Outcome{}) }},
		store.Running: {
			func() error { return db.Provisioned(t.Context(), id, testApp, store.Outcome{}) },
			func() error { return db.Start(t.Context(), run, nothing) },
		},
		store.Exited: {
			func() error { return db.Provisioned(t.Context(), id, testApp, store.Outcome{}) },
			func() error { return db.Start(t.Context(), run, nothing) },
			func() error { return db.Finish(t.Context(), run.ID, store.Result{}, nothing, noRemoval) },
		},
		store.Removing: {
			func() error { return db.Provisioned(t.Context(), id, testApp, store.Outcome{}) },
			func() error { return db.Remove(t.Context(), id, false, nothing) },
		},
		store.Dead: {func() error { return db.Fail(t.Context(), id, "quota", soon, store.Outcome{}) }},
	}
	if err := db.CreateContainer(t.Context(), store.Container{ID: id, Name: "n" + id[:4], FunctionApp: "app"}, nothing); err != nil {
		t.Fatal(err)
	}
	for _, step := range ways[state] {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestContainerSurvivesReopening(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg, c := in.fresh(t), &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 7, time.UTC)}
		cfg.Now = c.Now
		db, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		stop := 5
		want := store.Container{
			ID: id("a"), Name: "web", State: store.Creating, FunctionApp: "skls-1", Created: c.now,
			Config:     api.Config{Image: "i", Tty: true, User: "u", Env: []string{"A=${x}\n\"q\""}, Labels: map[string]string{"k": "v"}, StopTimeout: &stop},
			HostConfig: api.HostConfig{AutoRemove: true, Binds: []string{"/a:/b"}},
		}
		if err := db.CreateContainer(t.Context(), want, nothing); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if db, err = store.Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() }) // read only from here on
		got, err := db.Container(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Config, got.Config); diff != "" {
			t.Error(diff)
		}
		if !got.HostConfig.AutoRemove || !cmp.Equal(got.HostConfig.Binds, want.HostConfig.Binds) || !got.Created.Equal(want.Created) || got.State != want.State {
			t.Errorf("got %+v", got)
		}
		if cfg.Path == "" {
			return
		}
		info, err := os.Stat(cfg.Path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v: want 0600", info.Mode(), err)
		}
	})
}

func TestFindContainer(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		for _, c := range []store.Container{
			{ID: "aa" + strings.Repeat("0", 62), Name: "web"}, {ID: "ab" + strings.Repeat("0", 62), Name: "aa0"}, {ID: strings.Repeat("c", 64), Name: "%"},
		} {
			if err := db.CreateContainer(t.Context(), c, nothing); err != nil {
				t.Fatal(err)
			}
		}
		for _, row := range []struct {
			ref, name string
			kind      api.Kind
		}{
			{ref: "aa" + strings.Repeat("0", 62), name: "web"},
			{ref: "web", name: "web"},
			{ref: "/web", name: "web"},
			{ref: "ab", name: "aa0"},
			{ref: "aa0", name: "aa0"}, // a name goes before a prefix
			{ref: "c", name: "%"},
			{ref: "a", kind: api.InvalidParameter},
			{ref: "d", kind: api.NotFound},
			{ref: "", kind: api.NotFound},
			{ref: "w", kind: api.NotFound},
			{ref: "_", kind: api.NotFound},
		} {
			c, err := db.Container(t.Context(), row.ref)
			if row.name == "" {
				if err == nil || api.KindOf(err) != row.kind {
					t.Errorf("%q: got %q, %v; want kind %d", row.ref, c.Name, err, row.kind)
				}
			} else if err != nil || c.Name != row.name {
				t.Errorf("%q: got %q, %v; want %q", row.ref, c.Name, err, row.name)
			}
		}
	})
}

// TestTransitions tries every change from every state.
func TestTransitions(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		states := []store.State{store.Creating, store.Created, store.Running, store.Exited, store.Removing, store.Dead}
		for _, change := range []struct {
			name  string
			do    func(ctx context.Context, db *store.DB, id string) error
			legal map[store.State]store.State // "" means the row is gone
			kinds map[store.State]api.Kind    // where not Conflict
		}{
			{
				name: "provisioned",
				do: func(ctx context.Context, db *store.DB, id string) error {
					return db.Provisioned(ctx, id, testApp, store.Outcome{})
				},
				legal: map[store.State]store.State{store.Creating: store.Created},
			},
			{
				name: "start",
				do: func(ctx context.Context, db *store.DB, id string) error {
					return db.Start(ctx, store.Run{ID: "second", ContainerID: id}, nothing)
				},
				legal: map[store.State]store.State{store.Created: store.Running, store.Exited: store.Running},
				kinds: map[store.State]api.Kind{store.Running: api.NotModified},
			},
			{
				name:  "remove",
				do:    func(ctx context.Context, db *store.DB, id string) error { return db.Remove(ctx, id, false, nothing) },
				legal: map[store.State]store.State{store.Created: store.Removing, store.Exited: store.Removing, store.Dead: store.Removing},
			},
			{
				name:  "forced remove",
				do:    func(ctx context.Context, db *store.DB, id string) error { return db.Remove(ctx, id, true, nothing) },
				legal: map[store.State]store.State{store.Created: store.Removing, store.Exited: store.Removing, store.Dead: store.Removing, store.Running: store.Removing},
			},
			{
				name: "fail",
				do: func(ctx context.Context, db *store.DB, id string) error {
					return db.Fail(ctx, id, "why", soon, store.Outcome{})
				},
				legal: map[store.State]store.State{store.Creating: store.Dead, store.Removing: store.Dead},
			},
			{
				name:  "delete",
				do:    func(ctx context.Context, db *store.DB, id string) error { return db.Delete(ctx, id, store.Outcome{}) },
				legal: map[store.State]store.State{store.Creating: "", store.Removing: ""},
			},
		} {
			for _, from := range states {
				t.Run(change.name+" from "+string(from), func(t *testing.T) {
					db, _ := in.open(t)
					at(t, db, id("a"), from)
					err := change.do(t.Context(), db, id("a"))
					want, legal := change.legal[from]
					if !legal {
						kind := api.Conflict
						if k, ok := change.kinds[from]; ok {
							kind = k
						}
						if err == nil || api.KindOf(err) != kind {
							t.Errorf("got %v, want kind %d", err, kind)
						}
						want = from
					} else if err != nil {
						t.Fatal(err)
					}
					c, err := db.Container(t.Context(), id("a"))
					if want == "" {
						if api.KindOf(err) != api.NotFound {
							t.Errorf("got %v, %v; want it gone", c.State, err)
						}
					} else if err != nil || c.State != want {
						t.Errorf("got %v, %v; want %v", c.State, err, want)
					}
				})
			}
		}
	})
}

func TestChangeOfNothing(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		for name, err := range map[string]error{
			"provisioned": db.Provisioned(t.Context(), id("a"), testApp, store.Outcome{}),
			"start":       db.Start(t.Context(), store.Run{ID: "r", ContainerID: id("a")}, nothing),
			"remove":      db.Remove(t.Context(), id("a"), true, nothing),
			"fail":        db.Fail(t.Context(), id("a"), "why", soon, store.Outcome{}),
			"delete":      db.Delete(t.Context(), id("a"), store.Outcome{}),
		} {
			if api.KindOf(err) != api.NotFound {
				t.Errorf("%s: got %v, want not found", name, err)
			}
		}
	})
}

// TestChangeAndEndOfItsJobAreOne has the queue refuse to complete the job that makes a change.
func TestChangeAndEndOfItsJobAreOne(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		refused := errors.New("no such job")
		refuse := func(context.Context, *sql.Tx) error { return refused }
		outcome := store.Outcome{Job: 1, Complete: refuse}
		for name, row := range map[string]struct {
			state store.State
			do    func(ctx context.Context, db *store.DB, id string) error
		}{
			"provisioned": {store.Creating, func(ctx context.Context, db *store.DB, id string) error {
				return db.Provisioned(ctx, id, testApp, outcome)
			}},
			"fail": {store.Removing, func(ctx context.Context, db *store.DB, id string) error {
				return db.Fail(ctx, id, "why", soon, outcome)
			}},
			"delete": {store.Removing, func(ctx context.Context, db *store.DB, id string) error { return db.Delete(ctx, id, outcome) }},
			"finish": {store.Running, func(ctx context.Context, db *store.DB, id string) error {
				return db.Finish(ctx, "run-"+id, store.Result{}, refuse, noRemoval)
			}},
		} {
			t.Run(name, func(t *testing.T) {
				db, _ := in.open(t)
				at(t, db, id("a"), row.state)
				if err := row.do(t.Context(), db, id("a")); !errors.Is(err, refused) {
					t.Errorf("got %v", err)
				}
				if c, err := db.Container(t.Context(), id("a")); err != nil || c.State != row.state {
					t.Errorf("got %v, %v; want no change", c.State, err)
				}
				if _, ok, err := db.Outcome(t.Context(), 1); ok || err != nil {
					t.Errorf("there is an outcome, %v", err)
				}
			})
		}
	})
}

func TestChangesThatFailLeaveTheirJob(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Exited)
		outcome := store.Outcome{Job: 1, Complete: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE containers SET host_name = 'completed'")
			return err
		}}
		for name, err := range map[string]error{
			"provisioned": db.Provisioned(t.Context(), id("a"), testApp, outcome),
			"fail":        db.Fail(t.Context(), id("a"), "why", soon, outcome),
			"delete":      db.Delete(t.Context(), id("a"), outcome),
		} {
			if api.KindOf(err) != api.Conflict {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if c, err := db.Container(t.Context(), id("a")); err != nil || c.HostName == "completed" {
			t.Errorf("got %q, %v; want the queue as it was", c.HostName, err)
		}
	})
}

func TestDue(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Removing)
		at(t, db, id("b"), store.Dead)
		refused := errors.New("no such job")
		for name, want := range map[string]bool{id("a"): true, id("b"): false, id("c"): false} {
			completed := false
			c, due, err := db.Due(t.Context(), name, store.Removing, func(context.Context, *sql.Tx) error {
				completed = true
				return nil
			})
			if err != nil || due != want || completed == want || due && c.ID != name {
				t.Errorf("%.1s: got %v, %v, completed %v; want %v", name, due, err, completed, want)
			}
			_, due, err = db.Due(t.Context(), name, store.Removing, func(context.Context, *sql.Tx) error { return refused })
			if due != want || errors.Is(err, refused) == want {
				t.Errorf("%.1s: got %v, %v", name, due, err)
			}
		}
	})
}

func TestCallsAreSent(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Running)
		for _, sent := range []bool{true, false, true} {
			err := db.Sent(t.Context(), "run-"+id("a"), sent)
			if run, findErr := db.Run(t.Context(), "run-"+id("a")); err != nil || findErr != nil || run.Sent.IsZero() == sent {
				t.Errorf("got %v, %v, %v; want sent %v", run.Sent, err, findErr, sent)
			}
		}
	})
}

func TestRowAndJobAreOne(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		refused := errors.New("queue is full")
		enqueue := func(ctx context.Context, tx *sql.Tx) error {
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM containers WHERE id = $1", id("a")).Scan(&n); err != nil || n != 1 {
				t.Errorf("the job's transaction sees %d rows, %v; want the container's", n, err)
			}
			return refused
		}
		if err := db.CreateContainer(t.Context(), store.Container{ID: id("a"), Name: "a"}, enqueue); !errors.Is(err, refused) {
			t.Errorf("got %v, want the queue's error", err)
		}
		if _, err := db.Container(t.Context(), "a"); api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, want no container without its job", err)
		}
	})
}

func TestNameInUse(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Created)
		err := db.CreateContainer(t.Context(), store.Container{ID: id("b"), Name: "naaaa"}, nothing)
		if api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), id("a")) {
			t.Errorf("got %v, want a conflict that names the holder", err)
		}
	})
}

func TestRun(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		at(t, db, id("a"), store.Created)
		run := store.Run{ID: "r1", ContainerID: id("a"), TraceID: "trace", SpanID: "span"}
		if err := db.Start(t.Context(), run, nothing); err != nil {
			t.Fatal(err)
		}
		started := clock.now
		clock.advance(time.Minute)
		output := []api.LogLine{
			{Time: started, Stream: api.Stdout, Text: "hi", Seq: 1},
			{Time: started, Stream: api.Stderr, Text: "3 lines", Seq: 4, Omitted: &api.OmittedLines{Stdout: 1, Stderr: 2}},
		}
		result := store.Result{ExitCode: 3, Error: "why", Started: started.Add(time.Second), Output: output, Truncated: true}
		if err := db.Finish(t.Context(), "r1", result, nothing, noRemoval); err != nil {
			t.Fatal(err)
		}
		// A second end of the same run changes nothing, and an end of a run that is forgotten is no error.
		for _, runID := range []string{"r1", "unknown"} {
			if err := db.Finish(t.Context(), runID, store.Result{ExitCode: 9}, nothing, noRemoval); err != nil {
				t.Errorf("finish %s: %v", runID, err)
			}
		}
		got, ok, err := db.LastRun(t.Context(), id("a"))
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		want := store.Run{
			ID: "r1", ContainerID: id("a"), TraceID: "trace", SpanID: "span", Started: result.Started, Finished: clock.now,
			ExitCode: 3, Error: "why", Output: output, Truncated: true,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		c, err := db.Container(t.Context(), id("a"))
		if err != nil || c.State != store.Exited || c.ExitCode != 3 || c.Error != "why" || !c.Started.Equal(result.Started) || !c.Finished.Equal(clock.now) {
			t.Errorf("got %+v, %v", c, err)
		}
		// The next run starts afresh.
		clock.advance(time.Minute)
		if err := db.Start(t.Context(), store.Run{ID: "r2", ContainerID: id("a")}, nothing); err != nil {
			t.Fatal(err)
		}
		if c, err = db.Container(t.Context(), id("a")); err != nil || c.ExitCode != 0 || c.Error != "" || !c.Finished.IsZero() {
			t.Errorf("got %+v, %v; want no trace of the first run", c, err)
		}
		if last, _, err := db.LastRun(t.Context(), id("a")); err != nil || last.ID != "r2" || last.Output != nil {
			t.Errorf("got %+v, %v; want r2", last, err)
		}
		if ids, err := db.RunIDs(t.Context(), id("a")); err != nil || !slices.Equal(ids, []string{"r1", "r2"}) {
			t.Errorf("got runs %q, %v", ids, err)
		}
		// Lines that were stored before they had numbers.
		if _, err := db.SQL().ExecContext(t.Context(), `UPDATE runs SET output = '[{"Time":"2026-11-23T12:00:00Z","Stream":"stdout","Text":"old"}]' WHERE id = 'r1'`); err != nil {
			t.Fatal(err)
		}
		old := []api.LogLine{{Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Stream: api.Stdout, Text: "old"}}
		if run, err := db.Run(t.Context(), "r1"); err != nil || !cmp.Equal(run.Output, old) {
			t.Errorf("got %+v, %v", run, err)
		}
	})
}

func TestForcedRemovalEndsTheRun(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Running)
		if err := db.Remove(t.Context(), id("a"), true, nothing); err != nil {
			t.Fatal(err)
		}
		// The invocation that is cut off reports its end later.
		if err := db.Finish(t.Context(), "run-"+id("a"), store.Result{ExitCode: 3}, nothing, noRemoval); err != nil {
			t.Fatal(err)
		}
		if c, err := db.Container(t.Context(), id("a")); err != nil || c.State != store.Removing || c.ExitCode != 137 {
			t.Errorf("got %v %d, %v; want removing, 137", c.State, c.ExitCode, err)
		}
		if run, ok, err := db.FinishedRun(t.Context(), id("a"), 0); err != nil || !ok || run.ExitCode != 137 {
			t.Errorf("got %+v, %v, %v; want its run ended with 137", run, ok, err)
		}
	})
}

func TestAutoRemove(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		c := store.Container{ID: id("a"), Name: "a", HostConfig: api.HostConfig{AutoRemove: true}}
		if err := db.CreateContainer(t.Context(), c, nothing); err != nil {
			t.Fatal(err)
		}
		if err := db.Provisioned(t.Context(), c.ID, testApp, store.Outcome{}); err != nil {
			t.Fatal(err)
		}
		if err := db.Start(t.Context(), store.Run{ID: "r", ContainerID: c.ID}, nothing); err != nil {
			t.Fatal(err)
		}
		full := errors.New("queue is full")
		err := db.Finish(t.Context(), "r", store.Result{ExitCode: 2}, nothing, func(string) store.InTx {
			return func(context.Context, *sql.Tx) error { return full }
		})
		if got, findErr := db.Container(t.Context(), c.ID); !errors.Is(err, full) || findErr != nil || got.State != store.Running {
			t.Fatalf("got %v, %v, %v; want the run not ended without the removal's job", err, got.State, findErr)
		}
		removed := ""
		err = db.Finish(t.Context(), "r", store.Result{ExitCode: 2}, nothing, func(id string) store.InTx {
			removed = id
			return nothing
		})
		if got, findErr := db.Container(t.Context(), c.ID); err != nil || findErr != nil || removed != c.ID || got.State != store.Removing || got.ExitCode != 2 {
			t.Errorf("got %v, %v, %v, removal of %q", err, got, findErr, removed)
		}
	})
}

func TestRename(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Exited)
		at(t, db, id("b"), store.Created)
		for name, want := range map[string]api.Kind{"nbbbb": api.Conflict, "naaaa": api.InvalidParameter} {
			if err := db.Rename(t.Context(), id("a"), name); err == nil || api.KindOf(err) != want {
				t.Errorf("to %s: got %v, want kind %d", name, err, want)
			}
		}
		if err := db.Rename(t.Context(), id("a"), "new"); err != nil {
			t.Fatal(err)
		}
		if c, err := db.Container(t.Context(), "new"); err != nil || c.ID != id("a") {
			t.Errorf("got %v, %v", c.ID, err)
		}
		if err := db.Rename(t.Context(), id("c"), "other"); api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, want not found", err)
		}
	})
}

func TestRunsEndInOrder(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Created)
		for n, run := range []string{"r0", "r1", "r2"} {
			if _, ok, err := db.FinishedRun(t.Context(), id("a"), n); err != nil || ok {
				t.Errorf("run %d is known before its end: %v", n, err)
			}
			if err := db.Start(t.Context(), store.Run{ID: run, ContainerID: id("a")}, nothing); err != nil {
				t.Fatal(err)
			}
			if err := db.Finish(t.Context(), run, store.Result{ExitCode: n}, nothing, noRemoval); err != nil {
				t.Fatal(err)
			}
			// The clock stands still, so only the order of their insertion tells the runs apart.
			got, ok, err := db.FinishedRun(t.Context(), id("a"), n)
			if err != nil || !ok || got.ID != run {
				t.Errorf("run %d: got %+v, %v, %v", n, got, ok, err)
			}
			if last, _, err := db.LastRun(t.Context(), id("a")); err != nil || last.ID != run {
				t.Errorf("last run: got %s, %v; want %s", last.ID, err, run)
			}
		}
		if n, err := db.FinishedRuns(t.Context(), id("a")); err != nil || n != 3 {
			t.Errorf("got %d, %v; want 3", n, err)
		}
	})
}

func TestList(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		for _, c := range []struct {
			id    string
			state store.State
		}{{"a", store.Running}, {"b", store.Exited}, {"c", store.Running}} {
			at(t, db, id(c.id), c.state)
			clock.advance(time.Second)
		}
		for _, row := range []struct {
			limit  int
			states []store.State
			want   string
		}{
			{0, nil, "cba"}, {2, nil, "cb"}, {0, []store.State{store.Running}, "ca"}, {1, []store.State{store.Running, store.Exited}, "c"}, {0, []store.State{store.Dead}, ""},
		} {
			list, err := db.Containers(t.Context(), row.limit, row.states...)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, c := range list {
				got += c.ID[:1]
			}
			if got != row.want {
				t.Errorf("limit %d, states %v: got %q, want %q", row.limit, row.states, got, row.want)
			}
		}
	})
}

func TestPragmas(t *testing.T) {
	db, _ := sqlite.open(t)
	for pragma, want := range map[string]string{"foreign_keys": "1", "journal_mode": "wal", "busy_timeout": "5000", "synchronous": "2"} {
		var got string
		if err := db.SQL().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", pragma, got, err, want)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		db, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		newer := "PRAGMA user_version = 99"
		if db.Pool() != nil {
			newer = "UPDATE schema_version SET version = 99"
		}
		if _, err := db.SQL().ExecContext(t.Context(), newer); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err = store.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "99") {
			t.Errorf("got %v, want a refusal that names version 99", err)
		}
	})
}

// TestChecks writes what no method would write, past the methods.
func TestChecks(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Creating)
		at(t, db, id("b"), store.Running)
		for name, statement := range map[string]string{
			"created without app":       "UPDATE containers SET state = 'created' WHERE id = '" + id("a") + "'",
			"unknown state":             "UPDATE containers SET state = 'paused'",
			"exited without end":        "UPDATE containers SET state = 'exited' WHERE id = '" + id("b") + "'",
			"dead without error":        "UPDATE containers SET state = 'dead'",
			"config is no JSON":         "UPDATE containers SET config = '{'",
			"second run under way":      "INSERT INTO runs (id, container_id, trace_id, span_id, started_at) VALUES ('x', '" + id("b") + "', 't', 's', 1)",
			"run of unknown container":  "INSERT INTO runs (id, container_id, trace_id, span_id, started_at) VALUES ('x', 'nobody', 't', 's', 1)",
			"id of the wrong length":    "UPDATE containers SET id = 'a'",
			"container without a name":  "UPDATE containers SET name = ''",
			"two containers, one name":  "UPDATE containers SET name = 'same'",
			"output is no JSON":         "UPDATE runs SET output = 'x'",
			"event of an unknown type":  "UPDATE events SET type = 'plugin'",
			"attributes are no JSON":    "UPDATE events SET attributes = '{'",
			"truncated is no yes or no": "UPDATE runs SET truncated = 2",
		} {
			if _, err := db.SQL().ExecContext(t.Context(), statement); err == nil {
				t.Errorf("%s: the database took it", name)
			}
		}
	})
}

// soon is a retry policy.
func soon(failures int) time.Duration { return time.Duration(failures) * time.Minute }
