package store_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

func TestContainerSurvivesReopening(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg, clock := in.fresh(t), azuretest.NewClock()
		clock.Advance(7)
		cfg.Now = clock.Now
		db, err := store.Open(t.Context(), cfg)
		succeed(t, err)
		stop := 5
		want := store.Container{
			ID: id("a"), Name: "web", State: store.Creating, FunctionApp: "skls-1", Created: clock.Now(),
			Config: api.Config{
				Image: "i", Tty: true, User: "u", Env: []string{"A=${x}\n\"q\""}, Labels: map[string]string{"k": "v"},
				StopTimeout: &stop,
			},
			HostConfig: api.HostConfig{AutoRemove: true, Binds: []string{"/a:/b"}},
		}
		succeed(t, db.CreateContainer(t.Context(), want), db.Close())
		db = open(t, cfg)
		got, err := db.Container(t.Context(), "web")
		succeed(t, err)
		if diff := cmp.Diff(want.Config, got.Config); diff != "" {
			t.Error(diff)
		}
		if !got.HostConfig.AutoRemove || !cmp.Equal(got.HostConfig.Binds, want.HostConfig.Binds) ||
			!got.Created.Equal(want.Created) || got.State != want.State {
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
			{ID: "aa" + strings.Repeat("0", 62), Name: "web"},
			{ID: "ab" + strings.Repeat("0", 62), Name: "aa0"},
			{ID: strings.Repeat("c", 64), Name: "%"},
		} {
			succeed(t, db.CreateContainer(t.Context(), c))
		}
		for ref, name := range map[string]string{
			"aa" + strings.Repeat("0", 62): "web", "web": "web", "/web": "web", "ab": "aa0", "c": "%",
			"aa0": "aa0", // a name goes before a prefix
		} {
			if c, err := db.Container(t.Context(), ref); err != nil || c.Name != name {
				t.Errorf("%q: got %q, %v; want %q", ref, c.Name, err, name)
			}
		}
		for ref, kind := range map[string]api.Kind{
			"a": api.InvalidParameter, "d": api.NotFound, "": api.NotFound, "w": api.NotFound, "_": api.NotFound,
		} {
			if c, err := db.Container(t.Context(), ref); err == nil || api.KindOf(err) != kind {
				t.Errorf("%q: got %q, %v; want kind %d", ref, c.Name, err, kind)
			}
		}
	})
}

// change is a change of a container. legal maps the states that the change accepts to the states that it leads to,
// where "" means that the row is gone. kinds holds the kinds of the refusals that are not Conflict.
type change struct {
	do    func(ctx context.Context, db *store.DB, id string) error
	legal map[store.State]store.State
	kinds map[store.State]api.Kind
}

var changes = map[string]change{
	"provisioned": {
		do: func(ctx context.Context, db *store.DB, id string) error {
			return db.Provisioned(ctx, id, testApp, nothing)
		},
		legal: map[store.State]store.State{store.Creating: store.Created},
	},
	"start": {
		do: func(ctx context.Context, db *store.DB, id string) error {
			return db.Start(ctx, store.Run{ID: "second", ContainerID: id}, nothing)
		},
		legal: map[store.State]store.State{store.Created: store.Running, store.Exited: store.Running},
		kinds: map[store.State]api.Kind{store.Running: api.NotModified},
	},
	"remove": {
		do: func(ctx context.Context, db *store.DB, id string) error { return db.Remove(ctx, id, false, nothing) },
		legal: map[store.State]store.State{
			store.Created: store.Removing, store.Exited: store.Removing, store.Dead: store.Removing,
		},
	},
	"forced remove": {
		do: func(ctx context.Context, db *store.DB, id string) error { return db.Remove(ctx, id, true, nothing) },
		legal: map[store.State]store.State{
			store.Created: store.Removing, store.Exited: store.Removing, store.Dead: store.Removing,
			store.Running: store.Removing,
		},
	},
	"fail": {
		do: func(ctx context.Context, db *store.DB, id string) error {
			return db.Fail(ctx, id, "why", retryMinutes, nothing)
		},
		legal: map[store.State]store.State{store.Creating: store.Dead, store.Removing: store.Dead},
	},
	"delete": {
		do:    func(ctx context.Context, db *store.DB, id string) error { return db.Delete(ctx, id, nothing) },
		legal: map[store.State]store.State{store.Creating: "", store.Removing: ""},
	},
}

// TestTransitions tries every change from every state.
func TestTransitions(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		states := []store.State{
			store.Creating, store.Created, store.Running, store.Exited, store.Removing, store.Dead,
		}
		for name, c := range changes {
			for _, from := range states {
				t.Run(name+" from "+string(from), func(t *testing.T) {
					db, _ := in.open(t)
					at(t, db, id("a"), from)
					c.check(t, db, id("a"), from)
				})
			}
		}
	})
}

// check makes the change to a container in state from.
func (c change) check(t *testing.T, db *store.DB, id string, from store.State) {
	t.Helper()
	err := c.do(t.Context(), db, id)
	want, legal := c.legal[from]
	if legal {
		succeed(t, err)
	} else {
		kind := api.Conflict
		if k, ok := c.kinds[from]; ok {
			kind = k
		}
		if err == nil || api.KindOf(err) != kind {
			t.Errorf("got %v, want kind %d", err, kind)
		}
		want = from
	}
	now, err := db.Container(t.Context(), id)
	if want == "" {
		if api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, %v; want it gone", now.State, err)
		}
	} else if err != nil || now.State != want {
		t.Errorf("got %v, %v; want %v", now.State, err, want)
	}
}

func TestChangeOfNothing(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		for name, c := range changes {
			if err := c.do(t.Context(), db, id("a")); api.KindOf(err) != api.NotFound {
				t.Errorf("%s: got %v, want not found", name, err)
			}
		}
	})
}

func TestNameInUse(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Created)
		err := db.CreateContainer(t.Context(), store.Container{ID: id("b"), Name: "naaaa"})
		if api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), id("a")) {
			t.Errorf("got %v, want a conflict that names the holder", err)
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
		succeed(t, db.Rename(t.Context(), id("a"), "new"))
		if c, err := db.Container(t.Context(), "new"); err != nil || c.ID != id("a") {
			t.Errorf("got %v, %v", c.ID, err)
		}
		if err := db.Rename(t.Context(), id("c"), "other"); api.KindOf(err) != api.NotFound {
			t.Errorf("got %v, want not found", err)
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
			clock.Advance(time.Second)
		}
		for _, row := range []struct {
			limit  int
			states []store.State
			want   string
		}{
			{0, nil, "cba"},
			{2, nil, "cb"},
			{0, []store.State{store.Running}, "ca"},
			{1, []store.State{store.Running, store.Exited}, "c"},
			{0, []store.State{store.Dead}, ""},
		} {
			list, err := db.Containers(t.Context(), row.limit, row.states...)
			succeed(t, err)
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

func TestStringsThatPostgresRefuses(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		for _, ref := range []string{"a\x00", "\xff"} {
			if _, err := db.Container(t.Context(), ref); api.KindOf(err) != api.NotFound {
				t.Errorf("%q: got %v, want not found", ref, err)
			}
		}
		at(t, db, id("a"), store.Running)
		result := store.Result{
			Error: "cut \xc3 off \x00", Output: []api.LogLine{{Stream: api.Stdout, Text: "nul \x00 and \xc3"}},
		}
		succeed(t, db.Finish(t.Context(), "run-"+id("a"), result, nothing, noRemoval))
		run, _, err := db.LastRun(t.Context(), id("a"))
		if err != nil || run.Error != "cut \uFFFD off \uFFFD" || run.Output[0].Text != "nul \x00 and \uFFFD" {
			t.Errorf("got %q, %+v, %v", run.Error, run.Output, err)
		}
	})
}
