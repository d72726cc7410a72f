package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

// TestSQLiteThatCannotBeWritten expects, for each cause that makes a file unwritable, a clear error, and no loss after
// the cause is gone.
func TestSQLiteThatCannotBeWritten(t *testing.T) {
	cfg := sqlite.fresh(t)
	for _, row := range []struct {
		name, want string
		// hinder makes db unable to write. undo reverts that.
		hinder func(t *testing.T, db, other *store.DB) (undo func(t *testing.T))
	}{
		{
			"locked", "the daemon's database is locked by another process: end that, and try again",
			func(t *testing.T, db, other *store.DB) func(*testing.T) {
				exec(t, db, "PRAGMA busy_timeout = 0")
				tx, err := other.SQL().BeginTx(t.Context(), nil) // immediate
				succeed(t, err)
				return func(t *testing.T) { succeed(t, tx.Rollback()) }
			},
		},
		{
			"full", "the daemon's database cannot grow, because the disk is full",
			func(t *testing.T, db, _ *store.DB) func(*testing.T) {
				exec(t, db, "PRAGMA max_page_count = 1") // the present number of pages
				return func(t *testing.T) { exec(t, db, "PRAGMA max_page_count = 1000000") }
			},
		},
		{
			"read-only", "the daemon's database cannot be written",
			func(t *testing.T, db, _ *store.DB) func(*testing.T) {
				exec(t, db, "PRAGMA query_only = 1")
				return func(t *testing.T) { exec(t, db, "PRAGMA query_only = 0") }
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			db, other := open(t, cfg), open(t, cfg)
			c := store.Container{ID: id(row.name[:1]), Name: "n" + row.name, FunctionApp: "app"}
			c.Config.Labels = map[string]string{"long": strings.Repeat("x", 1<<16)} // more than is free in a page
			undo := row.hinder(t, db, other)
			err := db.CreateContainer(t.Context(), c)
			if api.KindOf(err) != api.Unavailable || !strings.HasPrefix(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
			undo(t)
			if _, err := db.Container(t.Context(), c.ID); api.KindOf(err) != api.NotFound {
				t.Errorf("the refused container is there: %v", err)
			}
			if err := db.CreateContainer(t.Context(), c); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestPragmas(t *testing.T) {
	db, _ := sqlite.open(t)
	for pragma, want := range map[string]string{
		"foreign_keys": "1", "journal_mode": "wal", "busy_timeout": "5000", "synchronous": "2", "secure_delete": "1",
	} {
		var got string
		err := db.SQL().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", pragma, got, err, want)
		}
	}
}

// TestCloseWaits: a copy of the file alone, as soon as Close returns, holds what a transaction wrote that ended late.
func TestCloseWaits(t *testing.T) {
	cfg := sqlite.fresh(t)
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.SQL().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("a", 64)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO removed_containers (id) VALUES (?)", want)
	succeed(t, err)
	waits := db.SQL().Stats().WaitCount
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	azuretest.Eventually(t, "Close that waits", func() bool { return db.SQL().Stats().WaitCount > waits })
	succeed(t, tx.Commit(), <-closed)
	content, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	copied := store.Config{Path: filepath.Join(t.TempDir(), "copy.db")}
	succeed(t, os.WriteFile(copied.Path, content, 0o600))
	var id string
	succeed(t, open(t, copied).SQL().QueryRowContext(t.Context(), "SELECT id FROM removed_containers").Scan(&id))
	if id != want {
		t.Errorf("the copy holds %q", id)
	}
}
