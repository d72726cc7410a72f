package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// story returns the events of EventsAfter, each in a few words.
func story(t *testing.T, db *store.DB, seq int64, since time.Time) string {
	t.Helper()
	list, err := db.EventsAfter(t.Context(), seq, since, 100)
	succeed(t, err)
	var words []string
	for _, e := range list {
		word := e.Actor.ID[:1] + " " + string(e.Action)
		for _, name := range []string{"exitCode", "oldName", "execDuration"} {
			if value, ok := e.Actor.Attributes[name]; ok {
				word += " " + value
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// live takes container a through its whole life, with seven events, one every two seconds from began on.
func live(t *testing.T, in database) (*store.DB, time.Time) {
	t.Helper()
	db, clock := in.open(t)
	c := store.Container{ID: id("a"), Name: "web"}
	c.Config.Image, c.Config.Labels = "alpine", map[string]string{"k": "v"}
	succeed(t, db.CreateContainer(t.Context(), c))
	if got := story(t, db, 0, time.Time{}); got != "" {
		t.Errorf("before its app is created: %s", got)
	}
	began := clock.Now()
	for _, step := range []func() error{
		func() error { return db.Provisioned(t.Context(), c.ID, testApp, nothing) },
		func() error { return db.Start(t.Context(), store.Run{ID: "r1", ContainerID: c.ID}, nothing) },
		func() error { return db.Finish(t.Context(), "r1", store.Result{ExitCode: 3}, nothing, noRemoval) },
		func() error { return db.Rename(t.Context(), c.ID, "new") },
		func() error { return db.Start(t.Context(), store.Run{ID: "r2", ContainerID: c.ID}, nothing) },
		func() error { return db.Remove(t.Context(), c.ID, true, nothing) },
		func() error { return db.Delete(t.Context(), c.ID, nothing) },
	} {
		clock.Advance(2 * time.Second)
		succeed(t, step())
	}
	return db, began
}

func TestEvents(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, began := live(t, in)
		want := "a create, a start, a die 3 2, a rename /web, a start, a die 137 2, a destroy"
		if got := story(t, db, 0, time.Time{}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := story(t, db, 5, time.Time{}); got != "a die 137 2, a destroy" {
			t.Errorf("after the fifth: %s", got)
		}
		if got := story(t, db, 0, began.Add(12*time.Second)); got != "a die 137 2, a destroy" {
			t.Errorf("of the last seconds: %s", got)
		}
		list, err := db.EventsAfter(t.Context(), 0, time.Time{}, 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		first := list[0]
		if first.Type != api.ContainerEvent || first.TimeNano != began.Add(2*time.Second).UnixNano() ||
			first.Time != first.TimeNano/1e9 || first.Scope != "local" ||
			first.Actor.Attributes["image"] != "alpine" || first.Actor.Attributes["name"] != "web" ||
			first.Actor.Attributes["k"] != "v" {
			t.Errorf("got %+v", first)
		}
		if seq, err := db.LastEvent(t.Context()); err != nil || seq != 7 {
			t.Errorf("got %d, %v", seq, err)
		}
	})
}

// TestLastExit expects the end of a run to be known after its container.
func TestLastExit(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := live(t, in)
		if code, ok, err := db.LastExit(t.Context(), id("a")); err != nil || !ok || code != 137 {
			t.Errorf("got %d, %v, %v", code, ok, err)
		}
		if _, ok, err := db.LastExit(t.Context(), id("b")); err != nil || ok {
			t.Errorf("of a container that never was: %v, %v", ok, err)
		}
	})
}

func TestAFailedCreateIsNoEvent(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Creating)
		succeed(t, db.Delete(t.Context(), id("a"), nothing))
		if got := story(t, db, 0, time.Time{}); got != "" {
			t.Errorf("got %s", got)
		}
	})
}

func TestOldEventsAreForgotten(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Created) // event 1
		// As if many events had come since.
		many := "UPDATE sqlite_sequence SET seq = 10000 WHERE name = 'events'"
		if db.Pool() != nil {
			many = "ALTER TABLE events ALTER COLUMN seq RESTART WITH 10001"
		}
		exec(t, db, many)
		for n := range 2 {
			succeed(t, db.Rename(t.Context(), id("a"), fmt.Sprintf("name%d", n)))
		}
		if got := story(t, db, 0, time.Time{}); got != "a rename /naaaa, a rename /name0" {
			t.Errorf("got %s", got)
		}
	})
}
