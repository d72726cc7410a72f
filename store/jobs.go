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

// All SQL on River's tables is in this file. A test names the version of River's schema and the columns that it relies
// on.

// Outcome reports how a job ended, for the requests that wait for it in any daemon on the same database. The job queue
// records it as the job's output, in its JSON form.
type Outcome struct {
	// Err is nil when the job succeeded. Its cause is stored as text.
	Err *api.Error
	// Correlations are the correlation ids of the job's Azure calls.
	Correlations []string
}

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

// MarshalJSON implements json.Marshaler. PostgreSQL takes the result as jsonb: it contains no NUL.
func (o Outcome) MarshalJSON() ([]byte, error) {
	row := outcomeJSON{Correlations: o.Correlations}
	if o.Err != nil {
		row.Failed, row.Kind, row.Message, row.RetryAfter = true, o.Err.Kind, storable(o.Err.Message), o.Err.RetryAfter
		row.CorrelationID, row.RequestID = storable(o.Err.CorrelationID), storable(o.Err.RequestID)
		if o.Err.Err != nil {
			row.Cause = storable(o.Err.Err.Error())
		}
	}
	return json.Marshal(row)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Outcome) UnmarshalJSON(content []byte) error {
	var row outcomeJSON
	if err := json.Unmarshal(content, &row); err != nil {
		return err
	}
	*o = Outcome{Correlations: row.Correlations}
	if !row.Failed {
		return nil
	}
	o.Err = &api.Error{
		Kind: row.Kind, Message: row.Message, RetryAfter: row.RetryAfter,
		CorrelationID: row.CorrelationID, RequestID: row.RequestID,
	}
	if row.Cause != "" {
		o.Err.Err = errors.New(row.Cause)
	}
	return nil
}

// Outcome returns the outcome of a completed job. ok is false for a job that has not ended, was completed without an
// outcome, or is unknown: the queue forgets completed jobs after a while.
func (db *DB) Outcome(ctx context.Context, job int64) (o Outcome, ok bool, err error) {
	defer db.explain(&err)
	var output sql.NullString
	const query = "SELECT metadata ->> 'output' FROM river_job WHERE id = $1 AND state = 'completed'"
	err = db.sql.QueryRowContext(ctx, query, job).Scan(&output)
	if errors.Is(err, sql.ErrNoRows) {
		return Outcome{}, false, nil
	}
	if err != nil {
		return Outcome{}, false, fmt.Errorf("find outcome of job %d: %w", job, err)
	}
	if !output.Valid {
		return Outcome{}, false, nil
	}
	if err := json.Unmarshal([]byte(output.String), &o); err != nil {
		return Outcome{}, false, fmt.Errorf("decode outcome of job %d: %w", job, err)
	}
	return o, true, nil
}

// CreateOutcome is Outcome of the job that created, or could not create, the function app of a container.
func (db *DB) CreateOutcome(ctx context.Context, containerID string) (o Outcome, ok bool, err error) {
	defer db.explain(&err)
	var job int64
	err = db.sql.QueryRowContext(ctx, `SELECT id FROM river_job
		WHERE kind = 'provision' AND state = 'completed' AND args ->> 'container_id' = $1 ORDER BY id DESC LIMIT 1`,
		containerID).Scan(&job)
	if errors.Is(err, sql.ErrNoRows) {
		return Outcome{}, false, nil
	}
	if err != nil {
		return Outcome{}, false, fmt.Errorf("find the job of container %s: %w", containerID, err)
	}
	return db.Outcome(ctx, job)
}

// Due reads the container of a job that works on containers in the given state. due is false when the container is in
// another state or gone. Then Due completes the job in the transaction that finds this out: whoever brings the
// container into that state afterwards inserts a new job.
func (db *DB) Due(ctx context.Context, id string, state State, complete InTx) (c Container, due bool, err error) {
	if c, err = db.Container(ctx, id); err == nil && c.State == state {
		return c, true, nil
	}
	err = db.tx(ctx, func(tx *txn) error {
		// This change locks the row, so that nobody brings the container into the state meanwhile.
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

// ReleaseJobs makes all jobs available that are running, or wait to be retried, and returns their number. Only the
// single daemon of a SQLite database may call it, before it starts its queue: then a running job belongs to a daemon
// that died.
func (db *DB) ReleaseJobs(ctx context.Context) (n int64, err error) {
	return db.releaseJobs(ctx, `UPDATE river_job SET state = 'available', scheduled_at = CURRENT_TIMESTAMP
		WHERE state IN ('running', 'retryable')`)
}

// ReleaseJob makes a job available whose given attempt is running in a daemon that does not work on it. released is
// false when the job is in another state or at another attempt by now.
func (db *DB) ReleaseJob(ctx context.Context, job int64, attempt int) (released bool, err error) {
	n, err := db.releaseJobs(ctx, `UPDATE river_job SET state = 'available'
		WHERE id = $1 AND state = 'running' AND attempt = $2`, job, attempt)
	return n > 0, err
}

func (db *DB) releaseJobs(ctx context.Context, update string, args ...any) (n int64, err error) {
	defer db.explain(&err)
	res, err := db.sql.ExecContext(ctx, update, args...)
	if err != nil {
		return 0, fmt.Errorf("release jobs: %w", err)
	}
	return res.RowsAffected()
}
