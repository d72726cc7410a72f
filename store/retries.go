package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/audit"
)

// Fail makes a container Dead with the reason for which its function app could be neither created nor destroyed, and
// completes the job that found it. retryAfter returns the delay before retrying a removal that failed n times.
func (db *DB) Fail(ctx context.Context, id, reason string, retryAfter func(n int) time.Duration, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		tx.record(audit.Record{
			Action: audit.ActionFailed, Container: audited(c),
			Outcome: &audit.Outcome{State: audit.OutcomeFailed, Error: reason},
		})
		failures := c.Failures + 1
		return transition(ctx, tx, id, []State{Creating, Removing}, Dead, "error = $3, failures = $4, retry_at = $5",
			storable(reason), failures, nanos(db.now().Add(retryAfter(failures))))
	})
}

// DueRemovals lists the ids of the Dead containers whose removal is due again, the longest due first. A retry that is
// more than horizon away is due as well: no delay is that long, so the clock was set back.
func (db *DB) DueRemovals(ctx context.Context, horizon time.Duration) (ids []string, err error) {
	now := db.now()
	return db.list(ctx, `SELECT id FROM containers WHERE state = $1 AND (coalesce(retry_at, 0) <= $2 OR retry_at > $3)
		ORDER BY coalesce(retry_at, 0), id`, Dead, nanos(now), nanos(now.Add(horizon)))
}

// list runs a query for one column of strings.
func (db *DB) list(ctx context.Context, query string, args ...any) (out []string, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	return out, nil
}
