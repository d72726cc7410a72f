// Package store remembers containers, their runs and images in SQLite, and is the only place where a container's state may change:
// every legal change is one method, guarded by its SQL. It must not know of Terraform, Azure, HTTP or what a job does; a
// method that starts work takes a function that inserts the job within the same transaction.
//
//	db, err := store.Open(ctx, store.Config{Path: "state.db"})
//	err = db.CreateContainer(ctx, c, func(ctx context.Context, tx *sql.Tx) error { return enqueue(ctx, tx, c.ID) })
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config configures Open.
type Config struct {
	// Path of the database file. It is made with mode 0600 when it does not exist; its folder must exist.
	Path string
	// Now is the clock, nil means time.Now.
	Now func() time.Time
}

// DB is an open store. Its methods are safe for concurrent use; each is one transaction.
type DB struct {
	sql *sql.DB
	now func() time.Time
}

// Enqueue inserts a job within the store's transaction.
type Enqueue func(ctx context.Context, tx *sql.Tx) error

// Open opens the database and brings its schema up to date. A schema newer than this program is refused. The caller closes it.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	// SQLite would make the file with the process's umask; it holds the containers' environments.
	f, err := os.OpenFile(cfg.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pragmas := url.Values{
		"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: cfg.Path, RawQuery: pragmas.Encode()}
	conn, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", cfg.Path, err)
	}
	// One writer is all that SQLite has; River on SQLite asks for one connection too.
	conn.SetMaxOpenConns(1)
	db := &DB{sql: conn, now: cfg.Now}
	if db.now == nil {
		db.now = time.Now
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate database %s: %w", cfg.Path, err), conn.Close())
	}
	return db, nil
}

// Now is the store's clock.
func (db *DB) Now() time.Time { return db.now() }

// Close closes the database.
func (db *DB) Close() error { return db.sql.Close() }

// SQL is the connection pool, for a job queue that lives in the same database. It is closed by Close.
func (db *DB) SQL() *sql.DB { return db.sql }

func (db *DB) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	var version int
	if err := db.sql.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(names) {
		return fmt.Errorf("its schema has version %d and this program knows %d: run the newer program that wrote it", version, len(names))
	}
	for i, name := range names[version:] {
		script, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		next := version + i + 1
		err = db.tx(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return fmt.Errorf("run %s: %w", name, err)
			}
			_, err := tx.ExecContext(ctx, "PRAGMA user_version = "+strconv.Itoa(next))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tx runs f in a transaction that is committed when f returns nil and rolled back otherwise.
func (db *DB) tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	if err := f(tx); err != nil {
		if rollbackErr := tx.Rollback(); rollbackErr != nil && !errors.Is(rollbackErr, sql.ErrTxDone) {
			return errors.Join(err, fmt.Errorf("roll back: %w", rollbackErr))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func nanos(t time.Time) int64 { return t.UTC().UnixNano() }

func fromNanos(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}

// placeholders is "?, ?, ?" for n values.
func placeholders(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
