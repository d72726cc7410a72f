package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// Classes of PostgreSQL's advisory locks, which the whole database shares.
const (
	lockClass   = 0x617a66 // locks with a name
	daemonClass = 0x617a67 // the lock that marks a daemon as live
)

// changes is the channel on which daemons notify each other of committed changes, by container or image id.
const changes = "sockerless_azf_changes"

// maxConns bounds the connections of one daemon. pool_max_conns in the URL overrides it.
const maxConns = 15

// CheckURL returns an error for a URL that is not a valid PostgreSQL URL. It does not connect. The error does not
// contain the URL's password.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

func parseURL(url string) (*pgxpool.Config, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, errors.New("use a URL such as postgres://user:password@host/database")
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		if parse, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
			parse.ConnString = "the URL"
		}
		return nil, err
	}
	return cfg, nil
}

func openPostgres(ctx context.Context, url string, readOnly bool) (*DB, error) {
	cfg, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if !strings.Contains(url, "pool_max_conns=") {
		cfg.MaxConns = maxConns
	}
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "sockerless-backend-azf"
	}
	if readOnly {
		params["default_transaction_read_only"] = "on"
	}
	// One transaction runs at a time. A daemon that is stuck in its transaction must not stop the others.
	params["idle_in_transaction_session_timeout"] = "10000"
	// The database notices within half a minute that this machine is gone. Unix sockets ignore these settings.
	params["tcp_keepalives_idle"], params["tcp_keepalives_interval"], params["tcp_keepalives_count"] = "10", "5", "3"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &DB{sql: stdlib.OpenDBFromPool(pool), pool: pool, dialect: dialect{
		folder:     "postgres",
		version:    postgresVersion,
		setVersion: "CREATE TABLE IF NOT EXISTS schema_version AS SELECT 0 AS version; UPDATE schema_version SET version = ",
		names:      "coalesce(json_agg(name ORDER BY name), '[]')",
		users: "coalesce(json_agg(json_build_object('ContainerID', id, 'State', state) ORDER BY created_at, id), " +
			"'[]')",
		begin: fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, 0)", lockClass),
		wake:  "SELECT pg_notify('" + changes + "', $1)",
		down: func(err error) string {
			if postgresDown(err) {
				return "cannot be reached: try again when it is back"
			}
			return ""
		},
	}}, nil
}

// postgresVersion reads the version. It is 0 when there is no table that holds it.
func postgresVersion(ctx context.Context, q querier) (version int, err error) {
	var exists bool
	if err := q.QueryRowContext(ctx, "SELECT to_regclass('schema_version') IS NOT NULL").Scan(&exists); err != nil {
		return 0, err
	}
	if !exists {
		return 0, nil
	}
	return version, q.QueryRowContext(ctx, "SELECT version FROM schema_version").Scan(&version)
}

// postgresDown reports whether an error means that a connection was lost, or refused for a while: by a shutdown, a
// start, a failover to or from a standby, or for lack of connections.
func postgresDown(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch refused.Code[:2] {
		case "08", "53", "57", "58":
			return true
		}
		return refused.Code == "25006" || refused.Code == "25P03" || refused.Code == "55P03"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || pgconn.SafeToRetry(err)
}

// MigrationLock is the name under which Exclusive runs migrations.
const MigrationLock = "migration"

// Exclusive runs f while no other daemon on the same database runs a function under the same name. It blocks until the
// name is free. A daemon that dies frees its names.
func (db *DB) Exclusive(ctx context.Context, name string, f func(context.Context) error) error {
	if db.pool == nil {
		return f(ctx) // a SQLite database has one daemon
	}
	unlock, err := db.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return f(ctx)
}

func (db *DB) lock(ctx context.Context, name string) (unlock func(), err error) {
	defer db.explain(&err)
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// Closing the connection unlocks. A connection that cannot be closed is gone, and its lock is too.
	held := conn.Hijack()
	unlock = func() { _ = held.Close(context.WithoutCancel(ctx)) }
	// Key 0 belongs to transactions.
	if _, err := held.Exec(ctx, "SELECT pg_advisory_lock($1, hashtext($2) | 1)", lockClass, name); err != nil {
		unlock()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return unlock, nil
}
