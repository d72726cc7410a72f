package daemon_test

import (
	"database/sql"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// eager makes a daemon destroy orphans as soon as it may.
func eager(cfg *daemon.Config) {
	cfg.GC, cfg.GCGrace, cfg.ReconcileInterval = config.GCDelete, time.Nanosecond, time.Second
}

// TestOrphans creates containers, deletes the rows of two and the workspace of one, and has the next daemons find the
// orphans.
func TestOrphans(t *testing.T) {
	gc := config.GCReport
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		eager(cfg)
		cfg.GC = gc
	})
	lost, left := p.create(t, "lost", api.Config{}), p.create(t, "left", api.Config{})
	kept := p.create(t, "kept", api.Config{})
	p.stop()
	db, err := sql.Open("sqlite", filepath.Join(p.stateDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "DELETE FROM containers WHERE name <> 'kept'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	workspaces := filepath.Join(p.stateDir(), "workspaces")
	if err := os.RemoveAll(filepath.Join(workspaces, "containers", lost)); err != nil {
		t.Fatal(err)
	}

	p.start()
	var info api.Info
	azuretest.Eventually(t, "report", func() bool {
		p.must(t, http.MethodGet, "/info", nil, &info)
		return strings.Contains(strings.Join(info.Warnings, "\n"), "2 orphans in Azure")
	})
	for _, want := range []string{
		"function app skls-" + lost[:20], "workspace " + filepath.Join(workspaces, "containers", left), "Set gc to delete",
	} {
		if !strings.Contains(info.Warnings[0], want) {
			t.Errorf("got %q, want %q in it", info.Warnings, want)
		}
	}
	if len(p.sim.Sites()) != 3 {
		t.Errorf("function apps are %v, want all three left alone", p.sim.Sites())
	}

	p.stop()
	gc = config.GCDelete
	p.start()
	azuretest.Eventually(t, "removal", func() bool { return len(p.sim.Sites()) == 1 })
	if sites := p.sim.Sites(); sites[0] != "skls-"+kept[:20] {
		t.Errorf("function apps are %v, want the container's", sites)
	}
	azuretest.Eventually(t, "archive", func() bool {
		p.must(t, http.MethodGet, "/info", nil, &info)
		for _, id := range []string{lost, left} {
			destroys, err := filepath.Glob(filepath.Join(workspaces, "archive", id, "operations/*-destroy/operation.json"))
			if err != nil || len(destroys) == 0 {
				return false
			}
		}
		return len(info.Warnings) == 0
	})
	p.stop()
	for _, c := range p.sim.Calls() {
		if c.Service == "arm" && c.Method == http.MethodDelete &&
			!strings.Contains(c.UserAgent, "terraform-provider-azurerm") {
			t.Errorf("%s %s came from %q", c.Method, c.Path, c.UserAgent)
		}
	}
}

// orphans waits until a daemon has compared often enough to destroy what it may, and returns the orphans that it holds.
func (p *playground) orphans(t *testing.T, n int) (held []api.Orphan) {
	t.Helper()
	azuretest.Eventually(t, "comparisons", func() bool {
		var list []api.Orphan
		p.must(t, http.MethodGet, "/gc", nil, &list)
		held = nil
		for _, o := range list {
			if o.State == api.OrphanHeld && o.LastSeen.Sub(o.FirstSeen) > 2*time.Second {
				held = append(held, o)
			}
		}
		return len(held) == n
	})
	return held
}

// TestLongLostDatabase loses the database of a daemon that destroys orphans, and the workspace of one container.
// Nothing is destroyed before it is confirmed.
func TestLongLostDatabase(t *testing.T) {
	change := eager
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { change(cfg) })
	a, b := p.create(t, "first", api.Config{}), p.create(t, "second", api.Config{})
	c := p.create(t, "third", api.Config{})
	p.stop()
	state, err := filepath.Glob(filepath.Join(p.stateDir(), "state.db*"))
	if err != nil || len(state) == 0 {
		t.Fatal(state, err)
	}
	for _, path := range append(state, filepath.Join(p.stateDir(), "workspaces", "containers", a)) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	for _, o := range p.orphans(t, 3) {
		if o.ID == a && (o.Name != "first" || o.Kind != "function app") || o.ID != a && o.Kind != "workspace" {
			t.Errorf("got %+v", o)
		}
	}
	var info api.Info
	p.must(t, http.MethodGet, "/info", nil, &info)
	if sites := p.sim.Sites(); len(sites) != 3 || !strings.Contains(strings.Join(info.Warnings, "\n"), "gc confirm") {
		t.Errorf("function apps are %v, warnings %q", sites, info.Warnings)
	}
	p.must(t, http.MethodPost, "/gc/confirm", api.ConfirmRequest{IDs: []string{"skls-" + a[:20], b[:12]}}, nil)
	azuretest.Eventually(t, "removal", func() bool { return slices.Equal(p.sim.Sites(), []string{"skls-" + c[:20]}) })
	p.orphans(t, 1)
	p.stop()
	change = func(*daemon.Config) {} // only reports, every five minutes
	p.start()
	p.must(t, http.MethodPost, "/gc/confirm", api.ConfirmRequest{IDs: []string{c}}, nil)
	azuretest.Eventually(t, "removal", func() bool { return len(p.sim.Sites()) == 0 })
}

// TestLongRestoredDatabase restores a backup from before a container.
func TestLongRestoredDatabase(t *testing.T) {
	p := newPlaygroundWith(t, eager)
	p.create(t, "before", api.Config{})
	p.stop()
	path := filepath.Join(p.stateDir(), "state.db")
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	since := p.create(t, "since", api.Config{})
	p.stop()
	// SQLite's log, when there is one, is that of the newer database.
	for _, log := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + log); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	if held := p.orphans(t, 1); held[0].ID != since || len(p.sim.Sites()) != 2 {
		t.Errorf("holds %+v, function apps are %v", held, p.sim.Sites())
	}
}

// TestLongTwoDatabasesOfOneOwner: two daemons with the same tags leave each other's function apps alone.
func TestLongTwoDatabasesOfOneOwner(t *testing.T) {
	p := newPlaygroundWith(t, eager)
	q := &playground{sim: p.sim, tools: p.tools, image: p.image, dir: filepath.Join(p.dir, "second")}
	q.socket = filepath.Join(q.dir, "s")
	q.Client = client.New("unix", q.socket)
	if err := os.Mkdir(q.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg, err := simulated(t.Context(), q.sim.Access(), q.sim.Transport(), q.dir, q.socket)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tools, cfg.Log = q.tools, zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	eager(&cfg)
	one := p.create(t, "web", api.Config{})
	q.serve(t, cfg)
	t.Cleanup(func() { q.stop() })
	two := q.create(t, "web", api.Config{})
	if held := p.orphans(t, 1); held[0].ID != two {
		t.Errorf("the first daemon holds %+v", held)
	}
	if held := q.orphans(t, 1); held[0].ID != one {
		t.Errorf("the second daemon holds %+v", held)
	}
	for _, daemon := range []*playground{p, q} {
		daemon.must(t, http.MethodDelete, "/containers/web", nil, nil)
	}
	if left := p.sim.Sites(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
