package store_test

import (
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// TestSQLiteThatCannotBeWritten holds each way in which a file cannot be written to a clear error, and to no loss when it can be again.
func TestSQLiteThatCannotBeWritten(t *testing.T) {
	cfg := sqlite.fresh(t)
	for _, row := range []struct {
		name, want string
		// hinder makes other unable to write; what it returns undoes that.
		hinder func(t *testing.T, db, other *store.DB) (undo func(t *testing.T))
	}{
		{"locked", "the daemon's database is locked by another process: end that, and try again", func(t *testing.T, db, other *store.DB) func(*testing.T) {
			exec(t, db, "PRAGMA busy_timeout = 0")
			tx, err := other.SQL().BeginTx(t.Context(), nil) // immediate
			if err != nil {
				t.Fatal(err)
			}
			return func(t *testing.T) {
				if err := tx.Rollback(); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"full", "the daemon's database cannot grow, because the disk is full", func(t *testing.T, db, _ *store.DB) func(*testing.T) {
			exec(t, db, "PRAGMA max_page_count = 1") // as many as there are
			return func(t *testing.T) { exec(t, db, "PRAGMA max_page_count = 1000000") }
		}},
		{"read-only", "the daemon's database cannot be written", func(t *testing.T, db, _ *store.DB) func(*testing.T) {
			exec(t, db, "PRAGMA query_only = 1")
			return func(t *testing.T) { exec(t, db, "PRAGMA query_only = 0") }
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var all [2]*store.DB
			for i := range all {
				db, err := store.Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				all[i] = db
				defer func() {
					if err := db.Close(); err != nil {
						t.Error(err)
					}
				}()
			}
			db, other := all[0], all[1]
			c := store.Container{ID: id(row.name[:1]), Name: "n" + row.name, FunctionApp: "app"}
			c.Config.Labels = map[string]string{"long": strings.Repeat("x", 1<<16)} // more than a page has left
			undo := row.hinder(t, db, other)
			err := db.CreateContainer(t.Context(), c, nothing)
			if api.KindOf(err) != api.Unavailable || !strings.HasPrefix(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
			undo(t)
			if _, err := db.Container(t.Context(), c.ID); api.KindOf(err) != api.NotFound {
				t.Errorf("what was refused is there: %v", err)
			}
			if err := db.CreateContainer(t.Context(), c, nothing); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func exec(t *testing.T, db *store.DB, statement string) {
	t.Helper()
	if _, err := db.SQL().ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
