package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/store"
)

func TestFailedRemovalsAreDueAgain(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg, c := in.fresh(t), &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
		cfg.Now = c.Now
		db, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		due := func(want ...string) {
			t.Helper()
			if got, err := db.DueRemovals(t.Context(), time.Hour); err != nil || !slices.Equal(got, want) {
				t.Errorf("at %s: got %v, %v; want %v", c.now, got, err, want)
			}
		}
		at(t, db, id("a"), store.Dead)
		at(t, db, id("b"), store.Exited)
		due()
		c.advance(time.Minute)
		due(id("a"))
		// It fails once more, and waits for longer.
		if err := db.Remove(t.Context(), id("a"), false, nothing); err != nil {
			t.Fatal(err)
		}
		due()
		if err := db.Fail(t.Context(), id("a"), "why", soon, store.Outcome{}); err != nil {
			t.Fatal(err)
		}
		now, err := db.Container(t.Context(), id("a"))
		if err != nil || now.Failures != 2 || !now.RetryAt.Equal(c.now.Add(2*time.Minute)) {
			t.Errorf("got %d failures and %s, %v", now.Failures, now.RetryAt, err)
		}
		c.advance(time.Minute)
		due()
		// The clock is set back by a day.
		c.advance(-24 * time.Hour)
		due(id("a"))
	})
}

func TestRunningRuns(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, err := store.Open(t.Context(), in.fresh(t))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}()
		at(t, db, id("a"), store.Running)
		at(t, db, id("b"), store.Exited)
		got, err := db.RunningRuns(t.Context())
		run, _, lastErr := db.LastRun(t.Context(), id("a"))
		if err != nil || lastErr != nil || !slices.Equal(got, []string{run.ID}) {
			t.Errorf("got %v, %v, %v; want %s", got, err, lastErr, run.ID)
		}
	})
}
