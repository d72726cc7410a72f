package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"modernc.org/sqlite" // registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func openSQLite(path string) (*DB, error) {
	// SQLite would create the file with the process's umask. The file holds the containers' environments.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return sqliteDB(path, url.Values{
		"_pragma": {"busy_timeout(5000)", "foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)",
			"secure_delete(1)", // rows hold environments
		},
		"_txlock": {"immediate"},
	})
}

// sqliteDB opens a file that exists.
func sqliteDB(path string, options url.Values) (*DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: options.Encode()}
	conn, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// SQLite has one writer. River on SQLite requires one connection too.
	conn.SetMaxOpenConns(1)
	return &DB{sql: conn, dialect: dialect{
		folder: "sqlite",
		version: func(ctx context.Context, q querier) (version int, err error) {
			return version, q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
		},
		setVersion: "PRAGMA user_version = ",
		names:      "json_group_array(name ORDER BY name)",
		users:      "json_group_array(json_object('ContainerID', id, 'State', state) ORDER BY created_at, id)",
		drain:      "PRAGMA wal_checkpoint(TRUNCATE)",
		down:       sqliteDown,
	}}, nil
}

// sqliteDown explains errors of the file and its disk. The low byte of a code is the primary result code
// (https://sqlite.org/rescode.html).
func sqliteDown(err error) string {
	failed, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return ""
	}
	switch failed.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "is locked by another process: end that, and try again"
	case sqlite3.SQLITE_FULL:
		return "cannot grow, because the disk is full: " +
			"free space in the state folder (workspaces/archive may be deleted), and try again"
	case sqlite3.SQLITE_READONLY:
		return "cannot be written: make the state folder and the files in it writable for the daemon, and try again"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return "cannot be read or written, because its disk fails: check the disk, and try again"
	}
	return ""
}
