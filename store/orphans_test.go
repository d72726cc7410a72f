package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// comparing compares function apps or workspaces on a clock that only the test moves.
type comparing struct {
	db    *store.DB
	clock *clockwork.FakeClock
	store.Comparison
}

func apps(db *store.DB, clock *clockwork.FakeClock) *comparing {
	return &comparing{db, clock, store.Comparison{
		Kind: store.OrphanApp, There: 10, Complete: true, MaxStep: 10 * time.Minute,
	}}
}

// see records a comparison, after a time, that sees the orphans of containers. It returns what is known of these:
// sightings, time waited and hold.
func (c *comparing) see(t *testing.T, after time.Duration, ids ...string) string {
	t.Helper()
	c.clock.Advance(after)
	c.Seen = nil
	for _, id := range ids {
		c.Seen = append(c.Seen, store.Orphan{ContainerID: id, Name: "n", Place: "/place/of/" + id})
	}
	seen, err := c.db.Compared(t.Context(), c.Comparison)
	succeed(t, err)
	return shown(seen)
}

func shown(list []store.Orphan) string {
	var out []string
	for _, o := range list {
		text := fmt.Sprintf("%.1s %d %s %s", o.ContainerID, o.Sightings, o.Waited, o.Held)
		if !o.Confirmed.IsZero() {
			text += " confirmed"
		}
		out = append(out, strings.TrimSpace(text))
	}
	return strings.Join(out, ", ")
}

func all(t *testing.T, db *store.DB) string {
	t.Helper()
	list, err := db.Orphans(t.Context())
	succeed(t, err)
	return shown(list)
}

// removed has the database know the removals of containers.
func removed(t *testing.T, db *store.DB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		at(t, db, id, store.Creating)
		succeed(t, db.Delete(t.Context(), id, nothing))
	}
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOrphansWait(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		removed(t, db, id("a"))
		c := apps(db, clock)
		same(t, c.see(t, 0, id("a"), id("b")), "a 1 0s, b 1 0s unknown")
		same(t, c.see(t, 5*time.Minute, id("a"), id("b")), "a 2 5m0s, b 2 5m0s unknown")
		// A clock that jumps shortens no wait.
		same(t, c.see(t, 24*time.Hour, id("a")), "a 3 15m0s")
		same(t, c.see(t, -48*time.Hour, id("a")), "a 4 15m0s")
		same(t, c.see(t, time.Minute, id("a")), "a 5 16m0s")
		same(t, all(t, db), "a 5 16m0s")
		// What is gone, and comes again, waits again. An incomplete comparison forgets nothing.
		c.Complete = false
		same(t, c.see(t, time.Minute), "")
		same(t, all(t, db), "a 5 16m0s")
		c.Complete = true
		same(t, c.see(t, time.Minute), "")
		same(t, all(t, db), "")
		same(t, c.see(t, time.Minute, id("a")), "a 1 0s")
		list, err := db.Orphans(t.Context())
		succeed(t, err)
		succeed(t, db.Forget(t.Context(), list[0]))
		same(t, all(t, db), "")
	})
}

// TestUnknownOrphans: a database does not know the containers of another one, nor those that it has not had yet. It
// knows those whose rows somebody deleted by hand.
func TestUnknownOrphans(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		at(t, db, id("a"), store.Created)
		at(t, db, id("b"), store.Running)
		exec(t, db, "DELETE FROM containers WHERE id = '"+id("a")+"'")
		same(t, apps(db, clock).see(t, 0, id("a"), id("b"), id("c")), "a 1 0s, b 1 0s unknown, c 1 0s unknown")
	})
}

func TestRemovalsAreRememberedUpToANumber(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		removed(t, db, id("a"), id("b"))
		// As if many containers had been removed since.
		many := "UPDATE sqlite_sequence SET seq = 10001 WHERE name = 'removed_containers'"
		if db.Pool() != nil {
			many = "ALTER TABLE removed_containers ALTER COLUMN seq RESTART WITH 10002"
		}
		exec(t, db, many)
		removed(t, db, id("c"))
		same(t, apps(db, clock).see(t, 0, id("a"), id("b"), id("c")), "a 1 0s unknown, b 1 0s unknown, c 1 0s")
	})
}

// TestMostOrphans: several orphans that are most of what is there are held, and so are those that join them.
func TestMostOrphans(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		removed(t, db, id("a"), id("b"), id("c"))
		c := apps(db, clock)
		c.There = 1
		same(t, c.see(t, 0, id("a")), "a 1 0s")
		c.There = 4
		same(t, c.see(t, 0, id("a"), id("b")), "a 2 0s, b 1 0s")
		c.There = 3
		same(t, c.see(t, 0, id("a"), id("b"), id("d")), "a 3 0s most, b 2 0s most, d 1 0s unknown")
		c.There = 100
		same(t, c.see(t, 0, id("a"), id("b"), id("c")), "a 4 0s most, b 3 0s most, c 1 0s")
		c.There = 4
		same(t, c.see(t, 0, id("a"), id("b"), id("c")), "a 5 0s most, b 4 0s most, c 2 0s most")
	})
}

func TestConfirm(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		db := open(t, cfg)
		c := apps(db, clockwork.NewFakeClock())
		c.see(t, 0, id("a"), strings.Repeat("ab", 32), id("b"))
		for refs, kind := range map[string]api.Kind{
			"a": api.InvalidParameter, "c": api.NotFound, "": api.NotFound, "bb " + id("c"): api.NotFound, "B": api.NotFound,
		} {
			if _, err := db.Confirm(t.Context(), strings.Split(refs, " ")); api.KindOf(err) != kind {
				t.Errorf("%q: got %v", refs, err)
			}
		}
		same(t, all(t, db), "a 1 0s unknown, a 1 0s unknown, b 1 0s unknown")
		list, err := db.Confirm(t.Context(), []string{"aa", "bbb", id("b")})
		succeed(t, err)
		same(t, shown(list), "a 1 0s unknown confirmed, b 1 0s unknown confirmed")
		db = open(t, cfg) // as another daemon does
		confirmed, err := db.Orphans(t.Context())
		succeed(t, err)
		again, err := db.Confirm(t.Context(), []string{id("a")})
		succeed(t, err)
		if len(again) != 1 || !again[0].Confirmed.Equal(confirmed[0].Confirmed) {
			t.Errorf("got %+v, want the first confirmation", again)
		}
		// A confirmation goes with the container, from its app to its workspace and back.
		workspaces := apps(db, c.clock)
		workspaces.Kind, workspaces.Home = store.OrphanWorkspace, "home"
		if got := workspaces.see(t, 0, id("b"), id("c")); !strings.Contains(got, "b 2") ||
			!strings.Contains(got, "unknown confirmed, c 1 0s unknown") {
			t.Errorf("got %q", got)
		}
	})
}

// TestComparisonsDoNotMix: a comparison forgets nothing of another kind or state folder, unless no daemon looks for it
// any more.
func TestComparisonsDoNotMix(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		c := apps(db, clock)
		c.see(t, 0, id("a"))
		for home, container := range map[string]string{"one": id("b"), "two": id("c")} {
			w := apps(db, clock)
			w.Kind, w.Home = store.OrphanWorkspace, home
			w.see(t, 0, container)
		}
		same(t, all(t, db), "a 1 0s unknown, b 1 0s unknown, c 1 0s unknown")
		same(t, c.see(t, 8*24*time.Hour, id("a")), "a 2 10m0s unknown")
		same(t, all(t, db), "a 2 10m0s unknown")
	})
}
