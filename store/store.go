// Package store keeps containers, their runs and images in SQLite or PostgreSQL. It is the only place where a
// container's state may change: every legal change is one method, guarded by its SQL. A change wakes everyone who
// waits for it, in all daemons on the same database. The package must not know of Terraform, Azure, HTTP or the work
// of a job. A method that starts work takes a function that inserts the job within the same transaction; a method
// that records the end of work takes one that completes the job.
//
// The package lies in the root because the design fixes it there. Only invoker/protocol is a Go API promised to others.
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
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// Config configures Open. Path is ignored when URL is set.
type Config struct {
	// Path of the SQLite database file. Open creates the file, with mode 0600, when it does not exist. Its folder must
	// exist.
	Path string
	// URL of a PostgreSQL database: postgres://user:password@host/database, with the parameters of libpq and pgxpool.
	URL string
	// Now is the clock. nil means time.Now.
	Now func() time.Time
	// Daemon describes this daemon in audit records. Its ID is set by Open.
	Daemon audit.Daemon
}

// DB is an open store. Its methods are safe for concurrent use. Each is one transaction. Each returns an Unavailable
// error when the database cannot be reached.
type DB struct {
	sql     *sql.DB
	pool    *pgxpool.Pool // nil on SQLite
	dialect dialect
	now     func() time.Time
	waiters *broadcast
	daemon  int32
	auditor audit.Daemon
	// policies is the digest of the policies in force, nil before there are any.
	policies atomic.Pointer[string]
	// pools is the rule by which containers are placed, nil before there is one.
	pools atomic.Pointer[Pool]

	closing sync.Once
	closed  error // of Close
}

// dialect holds the differences between the two databases. Both take all other SQL.
type dialect struct {
	// folder is the folder of the migrations.
	folder string
	// version reads, and setVersion writes, the number of the last applied migration.
	version    func(ctx context.Context, q querier) (int, error)
	setVersion string
	// names and users aggregate the names and the containers of an image into JSON.
	names, users string
	// begin is the first statement of each transaction that changes something. It serializes these transactions. ""
	// means that the database does so by itself.
	begin string
	// wake notifies other daemons of a change when the transaction is committed. "" means that there are no others.
	wake string
	// drain is the statement of Drain. "" means that there is none.
	drain string
	// down explains an error that means that the database cannot be used at the moment, and names the remedy. It
	// returns "" for all other errors.
	down func(error) string
}

// querier is a transaction, a connection or the whole pool.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// InTx changes the job queue within the store's transaction: it inserts a job or completes one.
type InTx func(ctx context.Context, tx *sql.Tx) error

// Open opens the database and brings its schema up to date, one daemon at a time. It refuses a schema that is newer
// than this program. The caller closes the DB.
func Open(ctx context.Context, cfg Config) (db *DB, err error) {
	if cfg.URL != "" {
		db, err = openPostgres(ctx, cfg.URL, false)
	} else {
		db, err = openSQLite(cfg.Path)
	}
	if err != nil {
		return nil, err
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("name this daemon: %w", err), db.close())
	}
	db.daemon = int32(binary.BigEndian.Uint32(random[:]) >> 1)
	db.now, db.waiters, db.auditor = cfg.Now, newBroadcast(), cfg.Daemon
	if db.now == nil {
		db.now = time.Now
	}
	if err := db.Exclusive(ctx, MigrationLock, db.migrate); err != nil {
		if known, ok := errors.AsType[*api.Error](err); ok && known.Err != nil {
			err = known.Err // whoever starts the daemon can fix the cause
		}
		return nil, errors.Join(fmt.Errorf("migrate database: %w", err), db.close())
	}
	return db, nil
}

// Now returns the time of the store's clock.
func (db *DB) Now() time.Time { return db.now() }

// closeTimeout is the longest time for which Close waits for a connection that is in use.
const closeTimeout = 10 * time.Second

// Close closes the database. It waits for a transaction that a cancelled context is still rolling back. When it
// returns, the file of a SQLite database is whole without its log, and may be copied. Closing again does nothing.
func (db *DB) Close() error {
	db.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		db.closed = errors.Join(db.Drain(ctx), db.close())
	})
	return db.closed
}

func (db *DB) close() error {
	err := db.sql.Close()
	if db.pool != nil {
		db.pool.Close()
	}
	return err
}

// Drain waits for the one connection that SQLite has, writes its log into the file, and empties the log, which holds
// rows that were removed. On PostgreSQL it does nothing. sql.DB.Close alone would not do: it closes a connection in use
// later, when the file may already be another one, and a connection whose last context was cancelled may still be
// interrupted, so that SQLite would leave the log beside the file.
func (db *DB) Drain(ctx context.Context) (err error) {
	if db.dialect.drain == "" {
		return nil
	}
	defer db.explain(&err)
	if _, err := db.sql.ExecContext(ctx, db.dialect.drain); err != nil {
		return fmt.Errorf("empty the database's log: %w", err)
	}
	return nil
}

// SQL returns the connection pool, for a job queue in the same database. Close closes the pool.
func (db *DB) SQL() *sql.DB { return db.sql }

// Pool returns the same pool in the form that only PostgreSQL has, nil on SQLite. Close closes it.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// schema returns the names of all migrations and how many of them the database has. A schema that is newer than this
// program is an error.
func (db *DB) schema(ctx context.Context) (names []string, version int, err error) {
	if names, err = fs.Glob(migrations, "migrations/"+db.dialect.folder+"/*.sql"); err != nil {
		return nil, 0, err
	}
	slices.Sort(names)
	if version, err = db.dialect.version(ctx, db.sql); err != nil {
		return nil, 0, err
	}
	if version > len(names) {
		return nil, 0, fmt.Errorf("its schema has version %d and this program knows %d: run the newer program that wrote it",
			version, len(names))
	}
	return names, version, nil
}

// migrate applies the missing migrations. The caller holds MigrationLock.
func (db *DB) migrate(ctx context.Context) error {
	names, version, err := db.schema(ctx)
	if err != nil {
		return err
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

// txn is a transaction, with the keys whose watchers wake when it is committed, and its audit records.
type txn struct {
	*sql.Tx
	woken   []string
	records []audit.Record
	last    int64 // the number of the last record that was written
}

// wake adds a container or image that changes.
func (tx *txn) wake(key string) {
	if !slices.Contains(tx.woken, key) {
		tx.woken = append(tx.woken, key)
	}
}

// tx runs f in a transaction. It commits when f returns nil and rolls back otherwise.
func (db *DB) tx(ctx context.Context, f func(tx *txn) error) (err error) {
	defer db.explain(&err)
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
	if err := f(tx); err != nil {
		return err
	}
	if err := db.appendRecords(ctx, tx); err != nil {
		return db.unrecorded(err)
	}
	if db.dialect.wake == "" {
		return nil
	}
	for _, key := range tx.woken {
		if _, err := tx.ExecContext(ctx, db.dialect.wake, key); err != nil {
			return fmt.Errorf("notify other daemons: %w", err)
		}
	}
	return nil
}

// unrecorded returns the error of a change that does not happen, because its audit record cannot be written.
func (db *DB) unrecorded(err error) error {
	db.explain(&err)
	if api.KindOf(err) == api.Unavailable {
		return err
	}
	return &api.Error{
		Kind: api.Unavailable, Err: err, RetryAfter: retryWhenDown,
		Message: "the audit trail cannot be written, so nothing was changed: " + err.Error(),
	}
}

// retryWhenDown is the delay after which a request to a database that is down is worth a retry.
const retryWhenDown = 5 * time.Second

// explain replaces an error that means that the database is down by an Unavailable one with the reason.
func (db *DB) explain(err *error) {
	if *err == nil || api.KindOf(*err) != api.Internal {
		return
	}
	if reason := db.dialect.down(*err); reason != "" {
		*err = &api.Error{
			Kind: api.Unavailable, Message: "the daemon's database " + reason, Err: *err, RetryAfter: retryWhenDown,
		}
	}
}

func nanos(t time.Time) int64 { return t.UTC().UnixNano() }

func fromNanos(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}

// placeholders returns "$4, $5, $6" for from 4 and n 3.
func placeholders(from, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = "$" + strconv.Itoa(from+i)
	}
	return strings.Join(list, ", ")
}

// storable replaces the characters that PostgreSQL refuses: NUL and invalid UTF-8.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
