package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

func openSQLite(path string) (*DB, error) {
	// SQLite would make the file with the process's umask; it holds the containers' environments.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
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
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: pragmas.Encode()}
	conn, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	// One writer is all that SQLite has; River on SQLite asks for one connection too.
	conn.SetMaxOpenConns(1)
	return &DB{sql: conn, dialect: dialect{
		folder: "sqlite",
		version: func(ctx context.Context, q querier) (version int, err error) {
			return version, q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
		},
		setVersion: "PRAGMA user_version = ",
		names:      "json_group_array(name ORDER BY name)",
		users:      "json_group_array(json_object('ContainerID', id, 'State', state) ORDER BY created_at, id)",
		down:       func(error) bool { return false },
	}}, nil
}
