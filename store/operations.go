package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Operation is a daemon's Terraform operation on a workspace whose state is in a remote backend. Its row exists while
// the operation runs. The row stays after an operation that may have left the state's lock behind.
type Operation struct {
	DaemonID string // see DB.DaemonID
	// Home is the daemon's state folder, which at most one daemon uses at a time.
	Home string
	// Who names the daemon's user and machine, in the form of Terraform's locks.
	Who string
	// Started and Seen bound the time in which the daemon is known to have worked. A killed daemon has worked a little
	// longer.
	Started, Seen time.Time
	// MissingSince is the time at which the daemon was first missing among the live ones, zero while it is live.
	MissingSince time.Time
}

// BeginOperation records that this daemon begins to work on a workspace, or continues a row of its own.
func (db *DB) BeginOperation(ctx context.Context, workspace, home, who string) error {
	return db.tx(ctx, func(tx *txn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO operations (workspace, daemon_id, home, who, started_at, seen_at)
			VALUES ($1, $2, $3, $4, $5, $5)
			ON CONFLICT (workspace, daemon_id) DO UPDATE SET seen_at = excluded.seen_at`,
			workspace, db.DaemonID(), home, who, nanos(db.now()))
		if err != nil {
			return fmt.Errorf("record operation: %w", err)
		}
		return nil
	})
}

// ContinueOperations records that this daemon still works on the workspaces.
func (db *DB) ContinueOperations(ctx context.Context, workspaces []string) error {
	if len(workspaces) == 0 {
		return nil
	}
	return db.tx(ctx, func(tx *txn) error {
		args := []any{nanos(db.now()), db.DaemonID()}
		for _, workspace := range workspaces {
			args = append(args, workspace)
		}
		_, err := tx.ExecContext(ctx, "UPDATE operations SET seen_at = $1 WHERE daemon_id = $2 AND workspace IN ("+
			placeholders(3, len(workspaces))+")", args...)
		if err != nil {
			return fmt.Errorf("record operations: %w", err)
		}
		return nil
	})
}

// EndOperation forgets all operations on a workspace after one that succeeded: it took the lock and released it, so no
// earlier operation has left one.
func (db *DB) EndOperation(ctx context.Context, workspace string) error {
	return db.tx(ctx, func(tx *txn) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM operations WHERE workspace = $1", workspace); err != nil {
			return fmt.Errorf("forget operations: %w", err)
		}
		return nil
	})
}

// Operations lists the operations that may have left the lock of a workspace's state behind, the oldest first.
func (db *DB) Operations(ctx context.Context, workspace string) (list []Operation, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, `SELECT daemon_id, home, who, started_at, seen_at, missing_since FROM operations
		WHERE workspace = $1 ORDER BY started_at`, workspace)
	if err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var o Operation
		var started, seen, missing sql.NullInt64
		if err := rows.Scan(&o.DaemonID, &o.Home, &o.Who, &started, &seen, &missing); err != nil {
			return nil, fmt.Errorf("read operation: %w", err)
		}
		o.Started, o.Seen, o.MissingSince = fromNanos(started), fromNanos(seen), fromNanos(missing)
		list = append(list, o)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list operations: %w", err)
	}
	return list, nil
}

// MarkMissingDaemons compares the daemons that have operations with the live ones. It records the time at which a
// daemon is first missing, and removes that mark from a daemon that is back.
func (db *DB) MarkMissingDaemons(ctx context.Context, live map[string]bool) (err error) {
	marks, err := db.daemonsWithOperations(ctx)
	if err != nil {
		return err
	}
	for daemon, marked := range marks {
		if marked != live[daemon] {
			continue
		}
		since := sql.NullInt64{Int64: nanos(db.now()), Valid: !marked}
		err := db.tx(ctx, func(tx *txn) error {
			_, err := tx.ExecContext(ctx, "UPDATE operations SET missing_since = $1 WHERE daemon_id = $2", since, daemon)
			return err
		})
		if err != nil {
			return fmt.Errorf("mark daemon %s as missing: %w", daemon, err)
		}
	}
	return nil
}

// daemonsWithOperations returns the ids of the daemons that have operations, and for each whether it is marked as
// missing.
func (db *DB) daemonsWithOperations(ctx context.Context) (marks map[string]bool, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT DISTINCT daemon_id, missing_since IS NOT NULL FROM operations")
	if err != nil {
		return nil, fmt.Errorf("list daemons with operations: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	marks = map[string]bool{}
	for rows.Next() {
		var daemon string
		var marked bool
		if err := rows.Scan(&daemon, &marked); err != nil {
			return nil, fmt.Errorf("list daemons with operations: %w", err)
		}
		marks[daemon] = marked
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list daemons with operations: %w", err)
	}
	return marks, nil
}
