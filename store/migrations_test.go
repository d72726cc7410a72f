package store_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// load runs a dump of a database in testdata on an empty database.
func load(t *testing.T, cfg store.Config, name string) {
	t.Helper()
	dump, err := os.ReadFile("testdata/" + name)
	succeed(t, err)
	if cfg.URL != "" {
		conn, err := pgx.Connect(t.Context(), cfg.URL)
		succeed(t, err)
		_, err = conn.Exec(t.Context(), string(dump))
		succeed(t, err, conn.Close(t.Context()))
		return
	}
	db, err := sql.Open("sqlite", cfg.Path)
	succeed(t, err)
	_, err = db.ExecContext(t.Context(), string(dump))
	succeed(t, err, db.Close())
}

// TestMigration opens databases of older versions. The dumps contain a running, an exited, a dead and a removed
// container, an image, and the operations of a daemon that is missing since one of them.
func TestMigration(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		if in.name == sqlite.name {
			cfg.Path = strings.ReplaceAll(cfg.Path, "?", "")
		}
		load(t, cfg, in.folder+"-7.sql")
		db := open(t, cfg)
		at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		list, err := db.Containers(t.Context(), 0)
		succeed(t, err)
		states := map[string]store.State{}
		for _, c := range list {
			states[c.Name] = c.State
		}
		want := map[string]store.State{"nc": store.Running, "nbbbb": store.Exited, "ndddd": store.Dead}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("containers: %s", diff)
		}
		expect(t, db, "aa alpine:latest alpine@11 <c running")
		if got := story(t, db, 3, time.Time{}); got != "b create, b start, b die 0 0" {
			t.Errorf("events: %s", got)
		}
		one := store.Operation{
			DaemonID: "azf-00000001", Home: "/var/lib/one", Who: "root@ci",
			Started: at.Add(time.Second), Seen: at.Add(time.Second), MissingSince: at.Add(61 * time.Second),
		}
		two := one
		two.Seen, two.MissingSince = at.Add(61*time.Second), time.Time{}
		for workspace, want := range map[string]store.Operation{"foundation": one, id("b"): two} {
			got, err := db.Operations(t.Context(), workspace)
			if diff := cmp.Diff([]store.Operation{want}, got); diff != "" || err != nil {
				t.Errorf("operations on %.10s: %s, %v", workspace, diff, err)
			}
		}
		if _, err := db.SQL().ExecContext(t.Context(), "SELECT * FROM outcomes"); err == nil {
			t.Error("the table of outcomes is still there")
		}
		// The database goes on as a new one does.
		succeed(t, db.Remove(t.Context(), id("d"), false, nothing), db.Delete(t.Context(), id("d"), nothing))
		succeed(t, db.BeginOperation(t.Context(), "foundation", "home", "root@ci"))
		succeed(t, db.EndOperation(t.Context(), "foundation"))
		// It knows which containers were removed before and since.
		same(t, apps(db, azuretest.NewClock()).see(t, 0, id("a"), id("d"), id("e")), "a 1 0s unknown, d 1 0s, e 1 0s")
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		db, err := store.Open(t.Context(), cfg)
		succeed(t, err)
		newer := "PRAGMA user_version = 99"
		if db.Pool() != nil {
			newer = "UPDATE schema_version SET version = 99"
		}
		exec(t, db, newer)
		succeed(t, db.Close())
		if _, err = store.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "99") {
			t.Errorf("got %v, want a refusal that names version 99", err)
		}
	})
}

// TestReadersNeedTheSchema: what cannot be read in an older or newer database is refused with what to do.
func TestReadersNeedTheSchema(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		if in.name == sqlite.name {
			cfg.Path = strings.ReplaceAll(cfg.Path, "?", "")
			succeed(t, os.WriteFile(cfg.Path, nil, 0o600))
		}
		const remedy = "start a daemon of this release once, which migrates it"
		for _, version := range []string{"0", "7"} {
			if version == "7" {
				load(t, cfg, in.folder+"-7.sql")
			}
			_, err := store.OpenReader(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "version "+version+" ") || !strings.Contains(err.Error(), remedy) {
				t.Errorf("version %s: got %v", version, err)
			}
		}
		db := open(t, cfg)
		set := "PRAGMA user_version = "
		if db.Pool() != nil {
			set = "UPDATE schema_version SET version = "
		}
		reader, err := store.OpenReader(t.Context(), cfg)
		succeed(t, err, reader.CheckSchema(t.Context()))
		for version, want := range map[string]string{"13": remedy, "99": "run the newer program that wrote it"} {
			exec(t, db, set+version)
			err := reader.CheckSchema(t.Context())
			if err == nil || !strings.Contains(err.Error(), "version "+version) || !strings.Contains(err.Error(), want) {
				t.Errorf("version %s: got %v", version, err)
			}
		}
		succeed(t, reader.Close())
	})
}

func TestDaemonsMigrateOneAtATime(t *testing.T) {
	azuretest.Needs(t, postgres.name)
	url := pgtest.Database(t)
	var g errgroup.Group
	for range 5 {
		g.Go(func() error {
			db, err := store.Open(t.Context(), store.Config{URL: url})
			if err != nil {
				return err
			}
			return db.Close()
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestChecks writes, past the methods, what no method writes.
func TestChecks(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Creating)
		at(t, db, id("b"), store.Running)
		orphanRow := "('" + id("o") + "', 'workspace', 'home', '', '/path', 1, 1, 0, "
		orphan := "INSERT INTO orphans (container_id, kind, home, name, place, first_seen, last_seen, waited, " +
			"sightings, held, confirmed_at) VALUES " + orphanRow
		exec(t, db, strings.ReplaceAll(orphan+"1, '', NULL)", id("o"), id("p")))
		const insertRun = "INSERT INTO runs (id, container_id, trace_id, span_id, started_at) VALUES "
		for name, statement := range map[string]string{
			"created without app":      "UPDATE containers SET state = 'created' WHERE id = '" + id("a") + "'",
			"unknown state":            "UPDATE containers SET state = 'paused'",
			"exited without end":       "UPDATE containers SET state = 'exited' WHERE id = '" + id("b") + "'",
			"dead without error":       "UPDATE containers SET state = 'dead'",
			"config is not JSON":       "UPDATE containers SET config = '{'",
			"second run under way":     insertRun + "('x', '" + id("b") + "', 't', 's', 1)",
			"run of unknown container": insertRun + "('x', 'nobody', 't', 's', 1)",
			"id of the wrong length":   "UPDATE containers SET id = 'a'",
			"container without a name": "UPDATE containers SET name = ''",
			"two containers, one name": "UPDATE containers SET name = 'same'",
			"output is not JSON":       "UPDATE runs SET output = 'x'",
			"event of an unknown type": "UPDATE events SET type = 'plugin'",
			"attributes are not JSON":  "UPDATE events SET attributes = '{'",
			"two views of an orphan":   orphan + "1, '', NULL), " + orphanRow + "1, '', NULL)",
			"orphan seen by nobody":    orphan + "0, '', NULL)",
			"orphan held for nothing":  orphan + "1, 'x', NULL)",
			"orphan of unknown kind":   strings.Replace(orphan, "workspace", "plan", 1) + "1, '', NULL)",
			"app in a state folder":    strings.Replace(orphan, "workspace", "function app", 1) + "1, '', NULL)",
			"truncated is not boolean": "UPDATE runs SET truncated = 2",
			"derived image by its tag": "INSERT INTO derived_images (ref, bytes, created_at, last_used_at) VALUES " +
				"('a:1', 1, 1, 1)",
		} {
			if _, err := db.SQL().ExecContext(t.Context(), statement); err == nil {
				t.Errorf("%s: the database accepts it", name)
			}
		}
	})
}
