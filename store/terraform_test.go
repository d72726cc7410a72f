package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/store"
)

func TestTerraformRuns(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		began := clock.now
		if err := db.BeginTerraform(t.Context(), "w", "home", "root@ci"); err != nil {
			t.Fatal(err)
		}
		if err := db.BeginTerraform(t.Context(), "other", "home", "root@ci"); err != nil {
			t.Fatal(err)
		}
		runs := func() []store.TerraformRun {
			t.Helper()
			list, err := db.TerraformRuns(t.Context(), "w")
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		want := store.TerraformRun{Replica: db.Replica(), Home: "home", Who: "root@ci", Started: began, Seen: began}
		check := func(what string) {
			t.Helper()
			if diff := cmp.Diff([]store.TerraformRun{want}, runs()); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		check("begun")
		clock.advance(time.Minute)
		if err := db.SeeTerraform(t.Context(), []string{"w", "x"}); err != nil {
			t.Fatal(err)
		}
		want.Seen = clock.now
		check("goes on")
		clock.advance(time.Minute)
		if err := db.SeeTerraform(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		check("goes on without work")
		if err := db.BeginTerraform(t.Context(), "w", "home", "root@ci"); err != nil {
			t.Fatal(err)
		}
		want.Seen = clock.now
		check("begun again")
		here := map[string]bool{db.Replica(): true}
		for _, step := range []struct {
			what string
			live map[string]bool
			lost func() time.Time
		}{
			{"it is there", here, func() time.Time { return time.Time{} }},
			{"it is missed", nil, clock.Now},
			{"it is still missed", nil, func() time.Time { return clock.now.Add(-time.Minute) }},
			{"it is there again", here, func() time.Time { return time.Time{} }},
		} {
			clock.advance(time.Minute)
			if err := db.MissReplicas(t.Context(), step.live); err != nil {
				t.Fatal(err)
			}
			want.Lost = step.lost()
			check(step.what)
		}
		if err := db.EndTerraform(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		if left := runs(); len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
	})
}
