package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// Outcome is how a job ended, for the requests that wait for it in any daemon on the same database. It is recorded with the change that
// the job has made.
type Outcome struct {
	// Job is the job's id in the queue. With 0 nothing is recorded.
	Job int64
	// Err is nil when the job has done its work. Of its cause the text remains.
	Err *api.Error
	// Correlations are the correlation ids of the job's Azure calls.
	Correlations []string
	// Complete marks the job as completed in the queue; nil leaves that to the queue. It is not stored.
	Complete InTx
}

// keptOutcomes is how long outcomes are kept: requests read them at once.
const keptOutcomes = 24 * time.Hour

// outcomeJSON is an outcome as it is stored.
type outcomeJSON struct {
	Failed        bool          `json:"failed,omitempty"`
	Kind          api.Kind      `json:"kind,omitempty"`
	Message       string        `json:"message,omitempty"`
	Cause         string        `json:"cause,omitempty"`
	RetryAfter    time.Duration `json:"retry_after,omitempty"`
	CorrelationID string        `json:"correlation_id,omitempty"`
	RequestID     string        `json:"request_id,omitempty"`
	Correlations  []string      `json:"correlations,omitempty"`
}

// settle completes a job and records its outcome, in the transaction of the change.
func (db *DB) settle(ctx context.Context, tx *txn, o Outcome) error {
	if o.Complete != nil {
		if err := o.Complete(ctx, tx.Tx); err != nil {
			return err
		}
	}
	if o.Job == 0 {
		return nil
	}
	row := outcomeJSON{Correlations: o.Correlations}
	if o.Err != nil {
		row.Failed, row.Kind, row.Message, row.RetryAfter = true, o.Err.Kind, o.Err.Message, o.Err.RetryAfter
		row.CorrelationID, row.RequestID = o.Err.CorrelationID, o.Err.RequestID
		if o.Err.Err != nil {
			row.Cause = o.Err.Err.Error()
		}
	}
	content, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encode outcome: %w", err)
	}
	now := db.now()
	_, err = tx.ExecContext(ctx, "INSERT INTO outcomes (job, at, outcome) VALUES ($1, $2, $3) ON CONFLICT (job) DO UPDATE SET at = excluded.at, outcome = excluded.outcome",
		o.Job, nanos(now), string(content))
	if err != nil {
		return fmt.Errorf("record outcome: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM outcomes WHERE at < $1", nanos(now.Add(-keptOutcomes))); err != nil {
		return fmt.Errorf("forget old outcomes: %w", err)
	}
	return nil
}

// Due reads the container of a job that is about containers in the given state. If it is not in that state, or gone, due is false, and the
// job is completed in the same transaction: whoever brings the container into that state afterwards inserts a new job.
func (db *DB) Due(ctx context.Context, id string, state State, complete InTx) (c Container, due bool, err error) {
	if c, err = db.Container(ctx, id); err == nil && c.State == state {
		return c, true, nil
	}
	err = db.tx(ctx, func(tx *txn) error {
		// A change that locks the row: nobody else brings it into the state meanwhile.
		if _, err := tx.ExecContext(ctx, "UPDATE containers SET state = state WHERE id = $1", id); err != nil {
			return fmt.Errorf("lock container %s: %w", id, err)
		}
		c, err = findContainer(ctx, tx, id)
		if due = err == nil && c.State == state; due || err != nil && api.KindOf(err) != api.NotFound {
			return err
		}
		return complete(ctx, tx.Tx)
	})
	return c, due, err
}

// Outcome is how a job ended; ok is false when it has not ended yet.
func (db *DB) Outcome(ctx context.Context, job int64) (o Outcome, ok bool, err error) {
	defer db.explained(&err)
	var content string
	err = db.sql.QueryRowContext(ctx, "SELECT outcome FROM outcomes WHERE job = $1", job).Scan(&content)
	if errors.Is(err, sql.ErrNoRows) {
		return Outcome{}, false, nil
	}
	if err != nil {
		return Outcome{}, false, fmt.Errorf("find outcome of job %d: %w", job, err)
	}
	var row outcomeJSON
	if err := json.Unmarshal([]byte(content), &row); err != nil {
		return Outcome{}, false, fmt.Errorf("decode outcome of job %d: %w", job, err)
	}
	o = Outcome{Job: job, Correlations: row.Correlations}
	if row.Failed {
		o.Err = &api.Error{Kind: row.Kind, Message: row.Message, RetryAfter: row.RetryAfter, CorrelationID: row.CorrelationID, RequestID: row.RequestID}
		if row.Cause != "" {
			o.Err.Err = errors.New(row.Cause)
		}
	}
	return o, true, nil
}
