package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/store"
)

// expectOperation compares the operations on workspace w with the one that is expected.
func expectOperation(t *testing.T, db *store.DB, what string, want store.Operation) {
	t.Helper()
	list, err := db.Operations(t.Context(), "w")
	succeed(t, err)
	if diff := cmp.Diff([]store.Operation{want}, list); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

func TestOperations(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		began := clock.Now()
		succeed(t, db.BeginOperation(t.Context(), "w", "home", "root@ci"))
		succeed(t, db.BeginOperation(t.Context(), "other", "home", "root@ci"))
		want := store.Operation{DaemonID: db.DaemonID(), Home: "home", Who: "root@ci", Started: began, Seen: began}
		expectOperation(t, db, "begun", want)
		clock.Advance(time.Minute)
		succeed(t, db.ContinueOperations(t.Context(), []string{"w", "x"}))
		want.Seen = clock.Now()
		expectOperation(t, db, "continued", want)
		clock.Advance(time.Minute)
		succeed(t, db.ContinueOperations(t.Context(), nil))
		expectOperation(t, db, "continued without work", want)
		succeed(t, db.BeginOperation(t.Context(), "w", "home", "root@ci"))
		want.Seen = clock.Now()
		expectOperation(t, db, "begun again", want)
		succeed(t, db.EndOperation(t.Context(), "w"))
		if left, err := db.Operations(t.Context(), "w"); len(left) > 0 || err != nil {
			t.Errorf("left: %+v, %v", left, err)
		}
	})
}

func TestMissingDaemons(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		began := clock.Now()
		succeed(t, db.BeginOperation(t.Context(), "w", "home", "root@ci"))
		want := store.Operation{DaemonID: db.DaemonID(), Home: "home", Who: "root@ci", Started: began, Seen: began}
		live := map[string]bool{db.DaemonID(): true}
		for _, step := range []struct {
			what string
			live map[string]bool
			// since is the expected minute of the mark, counted from the beginning; 0 means no mark.
			since time.Duration
		}{
			{"live", live, 0}, {"missing", nil, 2}, {"still missing", nil, 2}, {"live again", live, 0},
			{"missing again", nil, 5},
		} {
			clock.Advance(time.Minute)
			succeed(t, db.MarkMissingDaemons(t.Context(), step.live))
			want.MissingSince = time.Time{}
			if step.since > 0 {
				want.MissingSince = began.Add(step.since * time.Minute)
			}
			expectOperation(t, db, step.what, want)
		}
	})
}
