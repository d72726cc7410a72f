package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/store"
)

func TestFailedRemovalsAreDueAgain(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		due := func(want ...string) {
			t.Helper()
			if got, err := db.DueRemovals(t.Context(), time.Hour); err != nil || !slices.Equal(got, want) {
				t.Errorf("at %s: got %v, %v; want %v", clock.Now(), got, err, want)
			}
		}
		at(t, db, id("a"), store.Dead)
		at(t, db, id("b"), store.Exited)
		due()
		clock.Advance(time.Minute)
		due(id("a"))
		// The removal fails once more, and the next retry is later.
		succeed(t, db.Remove(t.Context(), id("a"), false, nothing))
		due()
		succeed(t, db.Fail(t.Context(), id("a"), "why", retryMinutes, nothing))
		now, err := db.Container(t.Context(), id("a"))
		if err != nil || now.Failures != 2 || !now.RetryAt.Equal(clock.Now().Add(2*time.Minute)) {
			t.Errorf("got %d failures and %s, %v", now.Failures, now.RetryAt, err)
		}
		clock.Advance(time.Minute)
		due()
		// The clock is set back by a day.
		clock.Advance(-24 * time.Hour)
		due(id("a"))
	})
}
