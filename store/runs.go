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

// Run is one invocation of a container's function app.
type Run struct {
	ID          string
	ContainerID string
	// TraceID (32 hex digits) and SpanID (16) make up the run's traceparent.
	TraceID  string
	SpanID   string
	Started  time.Time
	Sent     time.Time // zero until the function app is called: until then it is certain that nothing ran
	Finished time.Time // zero while it runs
	ExitCode int
	Error    string
	// Output is what the run's answer brought back; nil while it runs, and for answers that were lost.
	Output []api.LogLine
	// Truncated tells that lines are missing from Output.
	Truncated bool
}

// Result is how a run ended.
type Result struct {
	ExitCode int
	Error    string
	// Started, when set, is the handler's own time of start and replaces the time at which the run was recorded.
	Started   time.Time
	Output    []api.LogLine
	Truncated bool
}

// Start makes a container Running, records the run with Started from the clock, and inserts the job that makes the call.
// A running container is a NotModified error.
func (db *DB) Start(ctx context.Context, run Run, enqueue Enqueue) error {
	return db.tx(ctx, func(tx *sql.Tx) error {
		c, err := findContainer(ctx, tx, run.ContainerID)
		if err != nil {
			return err
		}
		if c.State == Running {
			return api.Errorf(api.NotModified, "container %s is already running", c.Name)
		}
		now := nanos(db.now())
		err = transition(ctx, tx, run.ContainerID, []State{Created, Exited}, Running,
			"error = '', exit_code = 0, started_at = ?, finished_at = NULL", now)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO runs (id, container_id, trace_id, span_id, started_at) VALUES (?, ?, ?, ?, ?)",
			run.ID, run.ContainerID, run.TraceID, run.SpanID, now)
		if err != nil {
			return fmt.Errorf("insert run: %w", err)
		}
		return enqueue(ctx, tx)
	})
}

// Sent records that the function app is about to be called for a run.
func (db *DB) Sent(ctx context.Context, runID string) error {
	return db.tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE runs SET sent_at = ? WHERE id = ? AND sent_at IS NULL", nanos(db.now()), runID); err != nil {
			return fmt.Errorf("record call of run %s: %w", runID, err)
		}
		return nil
	})
}

// Finish records how a run ended and makes its container Exited, unless that is being removed. A run that has ended already,
// or is forgotten, is left as it is.
func (db *DB) Finish(ctx context.Context, runID string, result Result) error {
	output, err := json.Marshal(result.Output)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	return db.tx(ctx, func(tx *sql.Tx) error {
		now := db.now()
		var started sql.NullInt64
		// A handler's clock that is ahead of ours must not make a run end before it started.
		if !result.Started.IsZero() && result.Started.Before(now) {
			started = sql.NullInt64{Int64: nanos(result.Started), Valid: true}
		}
		var containerID string
		err := tx.QueryRowContext(ctx, `UPDATE runs SET finished_at = ?, exit_code = ?, error = ?, output = ?, truncated = ?, started_at = coalesce(?, started_at)
			WHERE id = ? AND finished_at IS NULL RETURNING container_id`,
			nanos(now), result.ExitCode, result.Error, string(output), result.Truncated, started, runID).Scan(&containerID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("finish run %s: %w", runID, err)
		}
		_, err = tx.ExecContext(ctx, `UPDATE containers SET state = ?, finished_at = ?, exit_code = ?, error = ?, started_at = coalesce(?, started_at)
			WHERE id = ? AND state = ?`, Exited, nanos(now), result.ExitCode, result.Error, started, containerID, Running)
		if err != nil {
			return fmt.Errorf("finish container %s: %w", containerID, err)
		}
		return nil
	})
}

// Run finds a run by its id. None is a NotFound error.
func (db *DB) Run(ctx context.Context, id string) (Run, error) {
	run, ok, err := scanRun(db.sql.QueryRowContext(ctx, selectRun+"WHERE id = ?", id))
	if err == nil && !ok {
		err = api.Errorf(api.NotFound, "no such run: %s", id)
	}
	return run, err
}

// LastRun is the run that a container started last; ok is false when there was none.
func (db *DB) LastRun(ctx context.Context, containerID string) (run Run, ok bool, err error) {
	return scanRun(db.sql.QueryRowContext(ctx, selectRun+"WHERE container_id = ? ORDER BY started_at DESC LIMIT 1", containerID))
}

const selectRun = "SELECT id, container_id, trace_id, span_id, started_at, sent_at, finished_at, exit_code, error, output, truncated FROM runs "

func scanRun(row *sql.Row) (run Run, ok bool, err error) {
	var started, sent, finished sql.NullInt64
	var output string
	err = row.Scan(&run.ID, &run.ContainerID, &run.TraceID, &run.SpanID, &started, &sent, &finished, &run.ExitCode, &run.Error, &output, &run.Truncated)
	if errors.Is(err, sql.ErrNoRows) {
		return Run{}, false, nil
	}
	if err != nil {
		return Run{}, false, fmt.Errorf("read run: %w", err)
	}
	run.Started, run.Sent, run.Finished = fromNanos(started), fromNanos(sent), fromNanos(finished)
	if err := json.Unmarshal([]byte(output), &run.Output); err != nil {
		return Run{}, false, fmt.Errorf("decode output of run %s: %w", run.ID, err)
	}
	return run, true, nil
}
