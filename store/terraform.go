package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// TerraformRun is a daemon's work on a Terraform workspace whose state is in a remote backend. It is there while the work goes on, and stays
// when it ends in a way that may leave the state's lock behind.
type TerraformRun struct {
	Replica string // see DB.Replica
	// Home is the daemon's state folder, which one daemon has at a time. Who is what Terraform calls the daemon's user and machine.
	Home, Who string
	// The daemon worked from Started to Seen, and a little longer if it was killed.
	Started, Seen time.Time
	// Lost is when the daemon was missed among the Replicas, zero while it is there.
	Lost time.Time
}

// BeginTerraform records that this daemon begins to work on a workspace, or does so again.
func (db *DB) BeginTerraform(ctx context.Context, workspace, home, who string) error {
	return db.tx(ctx, func(tx *txn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO terraform_runs (workspace, replica, home, who, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, $5)
			ON CONFLICT (workspace, replica) DO UPDATE SET seen_at = excluded.seen_at`, workspace, db.Replica(), home, who, nanos(db.now()))
		if err != nil {
			return fmt.Errorf("record terraform run: %w", err)
		}
		return nil
	})
}

// SeeTerraform records that this daemon goes on to work on workspaces.
func (db *DB) SeeTerraform(ctx context.Context, workspaces []string) error {
	if len(workspaces) == 0 {
		return nil
	}
	return db.tx(ctx, func(tx *txn) error {
		args := []any{nanos(db.now()), db.Replica()}
		for _, workspace := range workspaces {
			args = append(args, workspace)
		}
		_, err := tx.ExecContext(ctx, "UPDATE terraform_runs SET seen_at = $1 WHERE replica = $2 AND workspace IN ("+placeholders(3, len(workspaces))+")", args...)
		if err != nil {
			return fmt.Errorf("record terraform runs: %w", err)
		}
		return nil
	})
}

// EndTerraform records that a run on a workspace has succeeded: the lock was free for it, and is free again, so no earlier run has left it.
func (db *DB) EndTerraform(ctx context.Context, workspace string) error {
	return db.tx(ctx, func(tx *txn) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM terraform_runs WHERE workspace = $1", workspace); err != nil {
			return fmt.Errorf("forget terraform runs: %w", err)
		}
		return nil
	})
}

// TerraformRuns lists who may have left the lock of a workspace's state behind.
func (db *DB) TerraformRuns(ctx context.Context, workspace string) (list []TerraformRun, err error) {
	defer db.explained(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT replica, home, who, started_at, seen_at, lost_at FROM terraform_runs WHERE workspace = $1 ORDER BY started_at", workspace)
	if err != nil {
		return nil, fmt.Errorf("list terraform runs: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r TerraformRun
		var started, seen, lost sql.NullInt64
		if err := rows.Scan(&r.Replica, &r.Home, &r.Who, &started, &seen, &lost); err != nil {
			return nil, fmt.Errorf("read terraform run: %w", err)
		}
		r.Started, r.Seen, r.Lost = fromNanos(started), fromNanos(seen), fromNanos(lost)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list terraform runs: %w", err)
	}
	return list, nil
}

// MissReplicas records which of the daemons that worked on workspaces are not among live ones, since when, and which are there again.
func (db *DB) MissReplicas(ctx context.Context, live map[string]bool) (err error) {
	missing, err := db.replicasWithRuns(ctx)
	if err != nil {
		return err
	}
	for replica, missed := range missing {
		if missed != live[replica] {
			continue
		}
		lost := sql.NullInt64{Int64: nanos(db.now()), Valid: !missed}
		err := db.tx(ctx, func(tx *txn) error {
			_, err := tx.ExecContext(ctx, "UPDATE terraform_runs SET lost_at = $1 WHERE replica = $2", lost, replica)
			return err
		})
		if err != nil {
			return fmt.Errorf("record loss of daemon %s: %w", replica, err)
		}
	}
	return nil
}

// replicasWithRuns tells of the daemons that worked on workspaces whether they are recorded as missed.
func (db *DB) replicasWithRuns(ctx context.Context) (missed map[string]bool, err error) {
	defer db.explained(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT DISTINCT replica, lost_at IS NOT NULL FROM terraform_runs")
	if err != nil {
		return nil, fmt.Errorf("list daemons with terraform runs: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	missed = map[string]bool{}
	for rows.Next() {
		var replica string
		var is bool
		if err := rows.Scan(&replica, &is); err != nil {
			return nil, fmt.Errorf("list daemons with terraform runs: %w", err)
		}
		missed[replica] = is
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list daemons with terraform runs: %w", err)
	}
	return missed, nil
}
