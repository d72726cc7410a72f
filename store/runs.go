package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// Run is one invocation of a container's function app.
type Run struct {
	ID          string
	ContainerID string
	// TraceID (32 hex digits) and SpanID (16) make up the run's traceparent.
	TraceID  string
	SpanID   string
	Started  time.Time
	Sent     time.Time // zero until the function app is called: until then nothing ran
	Finished time.Time // zero while the run goes on
	ExitCode int
	Error    string
	// Output holds the lines in the run's answer. It is nil while the run goes on, when the answer was lost, and when the
	// answer contained no output.
	Output []api.LogLine
	// Truncated reports whether lines are missing from Output.
	Truncated bool
	// Origin says who has asked for the run; its zero value means that an earlier release recorded it.
	Origin api.Origin
}

// Result describes the end of a run.
type Result struct {
	ExitCode int
	Error    string
	// Started, when set, is the handler's own time of start. It replaces the time at which the run was recorded.
	Started   time.Time
	Output    []api.LogLine
	Truncated bool
	// Handler reports that azf-handler has answered.
	Handler bool
}

// Start makes a container Running, records the run with Started from the clock, and inserts the job that makes the
// call. A running container is a NotModified error.
func (db *DB) Start(ctx context.Context, run Run, enqueue InTx) error {
	origin, err := encodeOrigin(run.Origin)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *txn) error {
		c, err := findContainer(ctx, tx, run.ContainerID)
		if err != nil {
			return err
		}
		if c.State == Running {
			return AlreadyRunning(c)
		}
		now := nanos(db.now())
		err = transition(ctx, tx, run.ContainerID, []State{Created, Exited}, Running,
			"error = '', exit_code = 0, started_at = $3, finished_at = NULL, stop_asked = FALSE", now)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO runs (id, container_id, trace_id, span_id, started_at, origin)
			VALUES ($1, $2, $3, $4, $5, $6)`, run.ID, run.ContainerID, run.TraceID, run.SpanID, now, string(origin))
		if err != nil {
			return fmt.Errorf("insert run: %w", err)
		}
		tx.record(audit.Record{
			Action: audit.ActionRunStarted, Container: audited(c), Run: &audit.Run{ID: run.ID, TraceID: run.TraceID},
		})
		if err := db.containerEvent(ctx, tx, c, api.EventStart, nil); err != nil {
			return err
		}
		return enqueue(ctx, tx.Tx)
	})
}

// AlreadyRunning is the error of a start of a running container.
func AlreadyRunning(c Container) *api.Error {
	return api.Errorf(api.NotModified, "container %s is already running", c.Name)
}

// Sent records that the function app is about to be called for a run. With sent false it records that the call has
// started nothing.
func (db *DB) Sent(ctx context.Context, runID string, sent bool) error {
	at := sql.NullInt64{Int64: nanos(db.now()), Valid: sent}
	return db.tx(ctx, func(tx *txn) error {
		_, err := tx.ExecContext(ctx, "UPDATE runs SET sent_at = $1 WHERE id = $2 AND finished_at IS NULL", at, runID)
		if err != nil {
			return fmt.Errorf("record call of run %s: %w", runID, err)
		}
		return nil
	})
}

// Finish records the end of a run, completes the job of the run, and makes its container Exited. A container with
// AutoRemove becomes Removing, and Finish inserts the job that enqueueRemoval returns. A run that has ended already, or
// is forgotten, stays as it is.
func (db *DB) Finish(
	ctx context.Context, runID string, result Result, complete InTx, enqueueRemoval func(containerID string) InTx,
) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		c, err := db.endRun(ctx, tx, runID, result)
		if err != nil || c == nil || !c.HostConfig.AutoRemove || c.State != Exited {
			return err
		}
		if err := transition(ctx, tx, c.ID, []State{Exited}, Removing, "error = ''"); err != nil {
			return err
		}
		tx.recordContainer(audit.ActionRequest, "remove", *c)
		return enqueueRemoval(c.ID)(ctx, tx.Tx)
	})
}

// endRun records the end of a run in the run and in its container. It returns the changed container, or nil for a run
// that has ended already or is forgotten.
func (db *DB) endRun(ctx context.Context, tx *txn, runID string, result Result) (*Container, error) {
	output, err := json.Marshal(result.Output)
	if err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	now := db.now()
	result.Error = storable(result.Error)
	var started sql.NullInt64
	// A run must not end before it started, even when the handler's clock is ahead of ours.
	if !result.Started.IsZero() && result.Started.Before(now) {
		started = sql.NullInt64{Int64: nanos(result.Started), Valid: true}
	}
	var containerID string
	err = tx.QueryRowContext(ctx, `UPDATE runs
		SET finished_at = $1, exit_code = $2, error = $3, output = $4, truncated = $5, started_at = coalesce($6, started_at)
		WHERE id = $7 AND finished_at IS NULL RETURNING container_id, started_at`,
		nanos(now), result.ExitCode, result.Error, string(output), result.Truncated, started, runID,
	).Scan(&containerID, &started)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finish run %s: %w", runID, err)
	}
	_, err = tx.ExecContext(ctx, `UPDATE containers SET state = CASE state WHEN $1 THEN $2 ELSE state END,
		finished_at = $3, exit_code = $4, error = $5, started_at = $6, has_handler = (has_handler OR $7) WHERE id = $8`,
		Running, Exited, nanos(now), result.ExitCode, result.Error, started, result.Handler, containerID)
	if err != nil {
		return nil, fmt.Errorf("finish container %s: %w", containerID, err)
	}
	c, err := findContainer(ctx, tx, containerID)
	if err != nil {
		return nil, err
	}
	ended := audit.Record{
		Action: audit.ActionRunEnded, Container: audited(c), Run: &audit.Run{ID: runID, ExitCode: &result.ExitCode},
		Outcome: &audit.Outcome{
			State: audit.OutcomeSucceeded, Milliseconds: now.Sub(fromNanos(started)).Milliseconds(), Error: result.Error,
		},
	}
	if result.Error != "" || result.ExitCode != 0 {
		ended.Outcome.State = audit.OutcomeFailed
	}
	tx.record(ended)
	return &c, db.containerEvent(ctx, tx, c, api.EventDie, map[string]string{
		exitCodeAttribute: strconv.Itoa(result.ExitCode),
		"execDuration":    strconv.FormatInt(int64(now.Sub(fromNanos(started))/time.Second), 10),
	})
}

// runningRun returns the id of the run of a Running container.
func runningRun(ctx context.Context, tx *txn, containerID string) (id string, err error) {
	const query = "SELECT id FROM runs WHERE container_id = $1 AND finished_at IS NULL"
	if err := tx.QueryRowContext(ctx, query, containerID).Scan(&id); err != nil {
		return "", fmt.Errorf("find running run of %s: %w", containerID, err)
	}
	return id, nil
}

// RunningRuns lists the ids of the runs that have not ended.
func (db *DB) RunningRuns(ctx context.Context) ([]string, error) {
	return db.list(ctx, "SELECT id FROM runs WHERE finished_at IS NULL ORDER BY id")
}

// FinishedRuns counts the runs of a container that have ended.
func (db *DB) FinishedRuns(ctx context.Context, containerID string) (n int, err error) {
	defer db.explain(&err)
	const query = "SELECT count(*) FROM runs WHERE container_id = $1 AND finished_at IS NOT NULL"
	if err := db.sql.QueryRowContext(ctx, query, containerID).Scan(&n); err != nil {
		return 0, fmt.Errorf("count runs of %s: %w", containerID, err)
	}
	return n, nil
}

// FinishedRun returns the run of a container that ended as number n, counted from 0. ok is false while fewer runs have
// ended. A container has one run at a time, so runs end in the order in which they are inserted.
func (db *DB) FinishedRun(ctx context.Context, containerID string, n int) (run Run, ok bool, err error) {
	defer db.explain(&err)
	return scanRun(db.sql.QueryRowContext(ctx,
		selectRun+"WHERE container_id = $1 AND finished_at IS NOT NULL ORDER BY rowid LIMIT 1 OFFSET $2", containerID, n))
}

// RunIDs lists the ids of a container's runs, in the order in which they were started.
func (db *DB) RunIDs(ctx context.Context, containerID string) ([]string, error) {
	return db.list(ctx, "SELECT id FROM runs WHERE container_id = $1 ORDER BY rowid", containerID)
}

// Run finds a run by its id. It returns a NotFound error for no run.
func (db *DB) Run(ctx context.Context, id string) (run Run, err error) {
	defer db.explain(&err)
	run, ok, err := scanRun(db.sql.QueryRowContext(ctx, selectRun+"WHERE id = $1", id))
	if err == nil && !ok {
		err = api.Errorf(api.NotFound, "no such run: %s", id)
	}
	return run, err
}

// LastRun returns the latest run of a container. ok is false when there was none.
func (db *DB) LastRun(ctx context.Context, containerID string) (run Run, ok bool, err error) {
	defer db.explain(&err)
	return scanRun(db.sql.QueryRowContext(ctx,
		selectRun+"WHERE container_id = $1 ORDER BY rowid DESC LIMIT 1", containerID))
}

const selectRun = `SELECT id, container_id, trace_id, span_id, started_at, sent_at, finished_at, exit_code, error,
	output, truncated, origin FROM runs `

func scanRun(row *sql.Row) (run Run, ok bool, err error) {
	var started, sent, finished sql.NullInt64
	var output, origin string
	err = row.Scan(&run.ID, &run.ContainerID, &run.TraceID, &run.SpanID, &started, &sent, &finished,
		&run.ExitCode, &run.Error, &output, &run.Truncated, &origin)
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
	if origin != "" {
		if err := json.Unmarshal([]byte(origin), &run.Origin); err != nil {
			return Run{}, false, fmt.Errorf("decode origin of run %s: %w", run.ID, err)
		}
	}
	return run, true, nil
}
