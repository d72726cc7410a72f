// Package store remembers containers, their runs and images in SQLite or PostgreSQL, and is the only place where a container's state may
// change: every legal change is one method, guarded by its SQL, and wakes those who wait for it, also those in other daemons on the same
// database. It must not know of Terraform, Azure, HTTP or what a job does; a method that starts work takes a function that inserts the
// job within the same transaction.
//
//	db, err := store.Open(ctx, store.Config{Path: "state.db"})
//	err = db.CreateContainer(ctx, c, func(ctx context.Context, tx *sql.Tx) error { return enqueue(ctx, tx, c.ID) })
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sockerless/backend-azf/internal/api"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// Config configures Open. URL goes before Path.
type Config struct {
	// Path of the SQLite database file. It is made with mode 0600 when it does not exist; its folder must exist.
	Path string
	// URL of a PostgreSQL database: postgres://user:password@host/database and parameters, as of libpq and pgxpool.
	URL string
	// Now is the clock, nil means time.Now.
	Now func() time.Time
}

// DB is an open store. Its methods are safe for concurrent use; each is one transaction. A database that cannot be reached is an
// Unavailable error.
type DB struct {
	sql     *sql.DB
	pool    *pgxpool.Pool // nil on SQLite
	dialect dialect
	now     func() time.Time
	waiters *broadcast
	replica int32
}

// dialect is where the two databases differ. SQL is else written so that both take it.
type dialect struct {
	// folder of the migrations.
	folder string
	// version reads and setVersion writes the number of the last migration that was run.
	version    func(ctx context.Context, q querier) (int, error)
	setVersion string
	// names and users aggregate the names and the containers of an image into JSON.
	names, users string
	// begin is run first in each transaction that changes something, so that one goes on at a time; "" is nothing.
	begin string
	// wake tells other daemons of a change, once it is committed; "" when there are none.
	wake string
	// down says why the database cannot be used at the moment, and may be later, and what to do; "" when the error means something else.
	down func(error) string
}

// querier is a transaction, a connection or the whole pool.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// InTx changes the job queue within the store's transaction: it inserts a job, or completes one.
type InTx func(ctx context.Context, tx *sql.Tx) error

// Open opens the database and brings its schema up to date, one daemon at a time. A schema newer than this program is refused. The caller
// closes it.
func Open(ctx context.Context, cfg Config) (db *DB, err error) {
	if cfg.URL != "" {
		db, err = openPostgres(ctx, cfg.URL)
	} else {
		db, err = openSQLite(cfg.Path)
	}
	if err != nil {
		return nil, err
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("name this daemon: %w", err), db.Close())
	}
	db.replica = int32(binary.BigEndian.Uint32(random[:]) >> 1)
	db.now, db.waiters = cfg.Now, newBroadcast()
	if db.now == nil {
		db.now = time.Now
	}
	if err := db.Exclusive(ctx, MigrationLock, db.migrate); err != nil {
		if known, ok := errors.AsType[*api.Error](err); ok && known.Err != nil {
			err = known.Err // whoever starts the daemon can mend the cause
		}
		return nil, errors.Join(fmt.Errorf("migrate database: %w", err), db.Close())
	}
	return db, nil
}

// Now is the store's clock.
func (db *DB) Now() time.Time { return db.now() }

// Close closes the database.
func (db *DB) Close() error {
	err := db.sql.Close()
	if db.pool != nil {
		db.pool.Close()
	}
	return err
}

// SQL is the connection pool, for a job queue that lives in the same database. It is closed by Close.
func (db *DB) SQL() *sql.DB { return db.sql }

// Pool is the same pool with what only PostgreSQL has, nil on SQLite. It is closed by Close.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// migrate must be called under MigrationLock.
func (db *DB) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/"+db.dialect.folder+"/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	version, err := db.dialect.version(ctx, db.sql)
	if err != nil {
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
		err = db.tx(ctx, func(tx *txn) error {
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return fmt.Errorf("run %s: %w", name, err)
			}
			_, err := tx.ExecContext(ctx, db.dialect.setVersion+strconv.Itoa(next))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// txn is a transaction with the keys of those whom it wakes when it is committed.
type txn struct {
	*sql.Tx
	woken []string
}

// wake notes that a container or image changes.
func (tx *txn) wake(key string) {
	if !slices.Contains(tx.woken, key) {
		tx.woken = append(tx.woken, key)
	}
}

// tx runs f in a transaction that is committed when f returns nil and rolled back otherwise.
func (db *DB) tx(ctx context.Context, f func(tx *txn) error) (err error) {
	defer db.explained(&err)
	begun, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	tx := &txn{Tx: begun}
	if err := db.inTx(ctx, tx, f); err != nil {
		if rollbackErr := tx.Rollback(); rollbackErr != nil && !errors.Is(rollbackErr, sql.ErrTxDone) {
			return errors.Join(err, fmt.Errorf("roll back: %w", rollbackErr))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	db.waiters.notify(tx.woken...)
	return nil
}

func (db *DB) inTx(ctx context.Context, tx *txn, f func(tx *txn) error) error {
	if db.dialect.begin != "" {
		if _, err := tx.ExecContext(ctx, db.dialect.begin); err != nil {
			return fmt.Errorf("begin transaction: %w", err)
		}
	}
	if err := f(tx); err != nil || db.dialect.wake == "" {
		return err
	}
	for _, key := range tx.woken {
		if _, err := tx.ExecContext(ctx, db.dialect.wake, key); err != nil {
			return fmt.Errorf("tell other daemons: %w", err)
		}
	}
	return nil
}

// downAfter is when a database that is down is worth asking again.
const downAfter = 5 * time.Second

// explained makes an error that means that the database is down one that says so.
func (db *DB) explained(err *error) {
	if *err == nil || api.KindOf(*err) != api.Internal {
		return
	}
	if reason := db.dialect.down(*err); reason != "" {
		*err = &api.Error{Kind: api.Unavailable, Message: "the daemon's database " + reason, Err: *err, RetryAfter: downAfter}
	}
}

func nanos(t time.Time) int64 { return t.UTC().UnixNano() }

func fromNanos(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}

// placeholders is "$4, $5, $6" for 3 values from 4 on.
func placeholders(from, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = "$" + strconv.Itoa(from+i)
	}
	return strings.Join(list, ", ")
}

// storable is text that both databases take: PostgreSQL refuses NUL and what is no UTF-8.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
