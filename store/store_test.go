package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// database is one of the databases that the store supports.
type database struct {
	name string
	// folder is its folder in migrations, and the beginning of the names of its dumps in testdata.
	folder string
	// fresh returns the configuration of an empty database.
	fresh func(t *testing.T) store.Config
}

var (
	sqlite = database{"SQLite", "sqlite", func(t *testing.T) store.Config {
		return store.Config{Path: filepath.Join(t.TempDir(), "a b?.db")}
	}}
	postgres = database{"PostgreSQL", "postgres", func(t *testing.T) store.Config {
		return store.Config{URL: pgtest.Schema(t)}
	}}
)

// both runs a test on each database. Under -short it leaves out PostgreSQL.
func both(t *testing.T, test func(t *testing.T, in database)) {
	t.Run(sqlite.name, func(t *testing.T) { test(t, sqlite) })
	t.Run(postgres.name, func(t *testing.T) {
		azuretest.Needs(t, postgres.name)
		test(t, postgres)
	})
}

// open opens an empty database, with a clock that only the test moves.
func (in database) open(t *testing.T) (*store.DB, *clockwork.FakeClock) {
	t.Helper()
	clock := azuretest.NewClock()
	cfg := in.fresh(t)
	cfg.Now = clock.Now
	return open(t, cfg), clock
}

// open opens a database and closes it at the end of the test.
func open(t *testing.T, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// succeed ends the test when one of the errors is not nil.
func succeed(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// exec runs a statement past the store's methods.
func exec(t *testing.T, db *store.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.SQL().ExecContext(t.Context(), statement, args...)
	succeed(t, err)
}

func nothing(context.Context, *sql.Tx) error { return nil }

// noRemoval is the removal after a run of containers that have no AutoRemove.
func noRemoval(string) store.InTx {
	return func(context.Context, *sql.Tx) error { return errors.New("a removal was enqueued") }
}

// retryMinutes is a retry policy.
func retryMinutes(failures int) time.Duration { return time.Duration(failures) * time.Minute }

func id(c string) string { return strings.Repeat(c, 64) }

var testApp = store.App{
	ResourceID: "/subscriptions/s/sites/a", HostName: "a.azurewebsites.net",
	PlanSummary: "1 to add, 0 to change, 0 to destroy",
}

// at brings a new container, named after its id, to a state through legal changes.
func at(t *testing.T, db *store.DB, id string, state store.State) {
	t.Helper()
	run := store.Run{ID: "run-" + id, ContainerID: id, TraceID: "t", SpanID: "s"}
	provisioned := func() error { return db.Provisioned(t.Context(), id, testApp, nothing) }
	started := func() error { return db.Start(t.Context(), run, nothing) }
	changes := map[store.State][]func() error{
		store.Creating: {},
		store.Created:  {provisioned},
		store.Running:  {provisioned, started},
		store.Exited: {provisioned, started, func() error {
			return db.Finish(t.Context(), run.ID, store.Result{}, nothing, noRemoval)
		}},
		store.Removing: {provisioned, func() error { return db.Remove(t.Context(), id, false, nothing) }},
		store.Dead:     {func() error { return db.Fail(t.Context(), id, "quota", retryMinutes, nothing) }},
	}
	c := store.Container{ID: id, Name: "n" + id[:4], FunctionApp: "app"}
	succeed(t, db.CreateContainer(t.Context(), c))
	for _, change := range changes[state] {
		succeed(t, change())
	}
}
