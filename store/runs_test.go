package store_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func TestCallsAreSent(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Running)
		for _, sent := range []bool{true, false, true} {
			err := db.Sent(t.Context(), "run-"+id("a"), sent)
			run, findErr := db.Run(t.Context(), "run-"+id("a"))
			if err != nil || findErr != nil || run.Sent.IsZero() == sent {
				t.Errorf("got %v, %v, %v; want sent %v", run.Sent, err, findErr, sent)
			}
		}
	})
}

// finishedRun creates container a, starts its run r1 and ends the run a minute later. It returns the expected row.
func finishedRun(t *testing.T, db *store.DB, advance func(time.Duration)) (want store.Run) {
	t.Helper()
	at(t, db, id("a"), store.Created)
	want = store.Run{ID: "r1", ContainerID: id("a"), TraceID: "trace", SpanID: "span"}
	succeed(t, db.Start(t.Context(), want, nothing))
	started := db.Now()
	advance(time.Minute)
	want.Started, want.Finished = started.Add(time.Second), db.Now()
	want.ExitCode, want.Error, want.Truncated = 3, "why", true
	want.Output = []api.LogLine{
		{Time: started, Stream: api.Stdout, Text: "hi", Seq: 1},
		{Time: started, Stream: api.Stderr, Text: "3 lines", Seq: 4, Omitted: &api.OmittedLines{Stdout: 1, Stderr: 2}},
	}
	result := store.Result{ExitCode: 3, Error: "why", Started: want.Started, Output: want.Output, Truncated: true}
	succeed(t, db.Finish(t.Context(), "r1", result, nothing, noRemoval))
	return want
}

func TestEndOfARun(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		want := finishedRun(t, db, clock.Advance)
		// A second end of the same run changes nothing. The end of a forgotten run is not an error.
		for _, runID := range []string{"r1", "unknown"} {
			if err := db.Finish(t.Context(), runID, store.Result{ExitCode: 9}, nothing, noRemoval); err != nil {
				t.Errorf("finish %s: %v", runID, err)
			}
		}
		got, ok, err := db.LastRun(t.Context(), id("a"))
		if diff := cmp.Diff(want, got); diff != "" || err != nil || !ok {
			t.Error(diff, ok, err)
		}
		c, err := db.Container(t.Context(), id("a"))
		if err != nil || c.State != store.Exited || c.ExitCode != 3 || c.Error != "why" ||
			!c.Started.Equal(want.Started) || !c.Finished.Equal(want.Finished) {
			t.Errorf("got %+v, %v", c, err)
		}
	})
}

func TestNextRunStartsAfresh(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		finishedRun(t, db, clock.Advance)
		clock.Advance(time.Minute)
		succeed(t, db.Start(t.Context(), store.Run{ID: "r2", ContainerID: id("a")}, nothing))
		c, err := db.Container(t.Context(), id("a"))
		if err != nil || c.ExitCode != 0 || c.Error != "" || !c.Finished.IsZero() {
			t.Errorf("got %+v, %v; want no trace of the first run", c, err)
		}
		if last, _, err := db.LastRun(t.Context(), id("a")); err != nil || last.ID != "r2" || last.Output != nil {
			t.Errorf("got %+v, %v; want r2", last, err)
		}
		if ids, err := db.RunIDs(t.Context(), id("a")); err != nil || !slices.Equal(ids, []string{"r1", "r2"}) {
			t.Errorf("got runs %q, %v", ids, err)
		}
	})
}

// TestLinesWithoutNumbers reads lines that were stored before they had numbers.
func TestLinesWithoutNumbers(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		finishedRun(t, db, clock.Advance)
		const stored = `[{"Time":"2026-11-23T12:00:00Z","Stream":"stdout","Text":"old"}]`
		exec(t, db, "UPDATE runs SET output = '"+stored+"' WHERE id = 'r1'")
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
		succeed(t, db.Remove(t.Context(), id("a"), true, nothing))
		// The invocation that is cut off reports its end later.
		succeed(t, db.Finish(t.Context(), "run-"+id("a"), store.Result{ExitCode: 3}, nothing, noRemoval))
		c, err := db.Container(t.Context(), id("a"))
		if err != nil || c.State != store.Removing || c.ExitCode != 137 {
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
		succeed(t, db.CreateContainer(t.Context(), c))
		succeed(t, db.Provisioned(t.Context(), c.ID, testApp, nothing))
		succeed(t, db.Start(t.Context(), store.Run{ID: "r", ContainerID: c.ID}, nothing))
		full := errors.New("queue is full")
		err := db.Finish(t.Context(), "r", store.Result{ExitCode: 2}, nothing, func(string) store.InTx {
			return func(context.Context, *sql.Tx) error { return full }
		})
		got, findErr := db.Container(t.Context(), c.ID)
		if !errors.Is(err, full) || findErr != nil || got.State != store.Running {
			t.Fatalf("got %v, %v, %v; want the run not ended without the removal's job", err, got.State, findErr)
		}
		removed := ""
		err = db.Finish(t.Context(), "r", store.Result{ExitCode: 2}, nothing, func(id string) store.InTx {
			removed = id
			return nothing
		})
		got, findErr = db.Container(t.Context(), c.ID)
		if err != nil || findErr != nil || removed != c.ID || got.State != store.Removing || got.ExitCode != 2 {
			t.Errorf("got %v, %v, %v, removal of %q", err, got, findErr, removed)
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
			succeed(t, db.Start(t.Context(), store.Run{ID: run, ContainerID: id("a")}, nothing))
			succeed(t, db.Finish(t.Context(), run, store.Result{ExitCode: n}, nothing, noRemoval))
			// The clock stands still, so that only the order of insertion distinguishes the runs.
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

func TestRunningRuns(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db := open(t, in.fresh(t))
		at(t, db, id("a"), store.Running)
		at(t, db, id("b"), store.Exited)
		got, err := db.RunningRuns(t.Context())
		run, _, lastErr := db.LastRun(t.Context(), id("a"))
		if err != nil || lastErr != nil || !slices.Equal(got, []string{run.ID}) {
			t.Errorf("got %v, %v, %v; want %s", got, err, lastErr, run.ID)
		}
	})
}
