package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// auditChanged is the key whose watchers wake when the audit trail grows.
const auditChanged = "audit"

// record adds a record of the trail to the transaction. It is written last, and the transaction fails when it cannot
// be.
func (tx *txn) record(r audit.Record) { tx.records = append(tx.records, r) }

// recordContainer is record for a step of a container.
func (tx *txn) recordContainer(action audit.Action, asked string, c Container) {
	tx.record(audit.Record{Action: action, Asked: asked, Container: audited(c)})
}

// audited returns what records say about a container.
func audited(c Container) *audit.Container {
	about := &audit.Container{
		ID: c.ID, Name: c.Name, Image: c.Config.Image, ImageID: c.ImageID, FunctionApp: c.FunctionApp,
		ResourceID: c.ResourceID, Labels: audit.Digest(c.Config.Labels),
		Command: audit.Digest(slices.Concat(c.Config.Entrypoint, c.Config.Cmd)),
	}
	if d := c.Derived; d != nil && d.Digest != "" {
		about.Derived = &audit.Derived{
			Digest: d.Digest, Source: api.DigestIn(d.Source), Base: api.DigestIn(d.Base), Handler: d.Handler, Recipe: d.Recipe,
		}
	}
	return about
}

// daemonCause names what the daemon does itself, for changes of which nobody knows another origin.
const daemonCause = "unknown"

// appendRecords writes the records of a transaction. The dialect's begin, or SQLite, has one transaction at a time
// write.
func (db *DB) appendRecords(ctx context.Context, tx *txn) error {
	if len(tx.records) == 0 {
		return nil
	}
	edge, err := db.edge(ctx, tx)
	if err != nil {
		return err
	}
	origin, ok := api.OriginOf(ctx)
	if !ok {
		origin = api.Origin{Requester: api.Requester{Kind: api.RequesterDaemon, Cause: daemonCause}}
	}
	for _, r := range tx.records {
		if r.Requester.Kind == "" {
			r.Origin = origin
		}
		if err := db.appendRecord(ctx, tx, &edge, r); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE audit_head SET size = $1", edge.Size); err != nil {
		return fmt.Errorf("extend the audit trail: %w", err)
	}
	tx.wake(auditChanged)
	return nil
}

func (db *DB) appendRecord(ctx context.Context, tx *txn, edge *audit.Edge, r audit.Record) error {
	policies := cmp.Or(r.Daemon.Policies, db.policyDigest())
	r.Version, r.Seq, r.Time, r.Daemon = audit.Version, edge.Size+1, db.now().UTC(), db.auditor
	r.Daemon.ID, r.Daemon.Policies = db.DaemonID(), policies
	if err := db.pairOperation(ctx, tx, &r); err != nil {
		return err
	}
	tx.last = r.Seq
	if r.Outcome != nil {
		r.Outcome.Error = shortened(storable(r.Outcome.Error))
	}
	line, err := audit.Encode(r)
	if err != nil {
		return err
	}
	first := audit.HashCount(edge.Size)
	hashes, err := edge.Append(line)
	if err != nil {
		return err
	}
	id := ""
	if r.Container != nil {
		id = r.Container.ID
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO audit (seq, at, action, container_id, record) VALUES ($1, $2, $3, $4, $5)",
		r.Seq, nanos(r.Time), r.Action, id, string(line))
	if err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	for i, h := range hashes {
		_, err := tx.ExecContext(ctx, "INSERT INTO audit_hashes (idx, hash) VALUES ($1, $2)", first+int64(i), h[:])
		if err != nil {
			return fmt.Errorf("extend the audit trail: %w", err)
		}
	}
	return nil
}

// maxRecordedError bounds the bytes of an error in a record. The verdict of the operation has all of it.
const maxRecordedError = 4096

func shortened(text string) string {
	if len(text) <= maxRecordedError {
		return text
	}
	return strings.ToValidUTF8(text[:maxRecordedError], "") + " [...]"
}

// pairOperation remembers an operation that begins, and sets Outcome.Begun of one that ends.
func (db *DB) pairOperation(ctx context.Context, tx *txn, r *audit.Record) error {
	op, out := r.Operation, r.Outcome
	if op == nil || out == nil {
		return nil
	}
	if out.State == audit.OutcomeBegun {
		_, err := tx.ExecContext(ctx, `INSERT INTO audit_open (begun, workspace, number, daemon_id, home)
			VALUES ($1, $2, $3, $4, $5)`, r.Seq, op.Workspace, op.Number, r.Daemon.ID, r.Daemon.Home)
		if err != nil {
			return fmt.Errorf("record the beginning of an operation: %w", err)
		}
		return nil
	}
	if out.Begun == 0 {
		err := tx.QueryRowContext(ctx, `SELECT begun FROM audit_open WHERE workspace = $1 AND number = $2 AND daemon_id = $3`,
			op.Workspace, op.Number, r.Daemon.ID).Scan(&out.Begun)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // it ended before its apply
		}
		if err != nil {
			return fmt.Errorf("find the beginning of an operation: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM audit_open WHERE begun = $1", out.Begun); err != nil {
		return fmt.Errorf("record the end of an operation: %w", err)
	}
	return nil
}

// edge reads the right edge of the trail's tree.
func (db *DB) edge(ctx context.Context, q querier) (audit.Edge, error) {
	var size int64
	if err := q.QueryRowContext(ctx, "SELECT size FROM audit_head").Scan(&size); err != nil {
		return audit.Edge{}, fmt.Errorf("read the audit trail: %w", err)
	}
	return edgeOf(ctx, q, size)
}

// edgeOf reads the edge that the trail's tree had when it had this size.
func edgeOf(ctx context.Context, q querier, size int64) (edge audit.Edge, err error) {
	indexes := audit.EdgeIndexes(size)
	edge = audit.Edge{Size: size, Hashes: map[int64]audit.Hash{}}
	if len(indexes) == 0 {
		return edge, nil
	}
	args := make([]any, len(indexes))
	for i, index := range indexes {
		args[i] = index
	}
	rows, err := q.QueryContext(ctx, "SELECT idx, hash FROM audit_hashes WHERE idx IN ("+placeholders(1, len(args))+")",
		args...)
	if err != nil {
		return edge, fmt.Errorf("read the audit trail: %w", err)
	}
	return edge, scanHashes(rows, edge.Hashes)
}

func scanHashes(rows *sql.Rows, into map[int64]audit.Hash) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var index int64
		var hash []byte
		if err := rows.Scan(&index, &hash); err != nil {
			return fmt.Errorf("read the audit trail: %w", err)
		}
		into[index] = audit.Hash(hash)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the audit trail: %w", err)
	}
	return nil
}

// Record writes a record of its own. Of its container, it completes what is known by the id. The record of an operation
// in a container's workspace, or in this daemon's foundation, ends the earlier ones there that were interrupted.
func (db *DB) Record(ctx context.Context, r audit.Record) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := db.precede(ctx, tx, r); err != nil {
			return err
		}
		if r.Container != nil {
			c, err := findContainer(ctx, tx, r.Container.ID)
			switch {
			case err == nil:
				r.Container = audited(c)
			case api.KindOf(err) != api.NotFound:
				return err
			}
		}
		tx.record(r)
		return nil
	})
}

// precede ends the earlier operations in the workspace of a record's operation.
func (db *DB) precede(ctx context.Context, tx *txn, r audit.Record) error {
	if r.Operation == nil {
		return nil
	}
	// A workspace has one operation at a time.
	return db.interrupted(ctx, tx, `workspace = $1 AND NOT (number = $2 AND daemon_id = $3)
		AND (home = $4 OR workspace <> $5)`,
		r.Operation.Workspace, r.Operation.Number, db.DaemonID(), db.auditor.Home, foundationWorkspace)
}

// foundationWorkspace is the workspace that each state folder has one of.
const foundationWorkspace = "foundation"

// CloseOperations records as interrupted the operations of dead daemons: those of earlier daemons of this state folder,
// and those of daemons that are not live and have begun before the given time. live may be nil: then only the first.
func (db *DB) CloseOperations(ctx context.Context, live map[string]bool, before time.Time) error {
	return db.tx(ctx, func(tx *txn) error {
		where, args := "daemon_id <> $1 AND (home = $2", []any{db.DaemonID(), db.auditor.Home}
		if len(live) > 0 {
			where += " OR begun IN (SELECT seq FROM audit WHERE at < $3) AND daemon_id NOT IN (" +
				placeholders(4, len(live)) + ")"
			args = append(args, nanos(before))
			for id := range live {
				args = append(args, id)
			}
		}
		return db.interrupted(ctx, tx, where+")", args...)
	})
}

// interrupted records the end of open operations that were interrupted.
func (db *DB) interrupted(ctx context.Context, tx *txn, where string, args ...any) (err error) {
	rows, err := tx.QueryContext(ctx, `SELECT o.begun, a.record FROM audit_open o LEFT JOIN audit a ON a.seq = o.begun
		WHERE o.begun IN (SELECT begun FROM audit_open WHERE `+where+`) ORDER BY o.begun`, args...)
	if err != nil {
		return fmt.Errorf("list open operations: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var seq int64
		var line sql.NullString
		if err := rows.Scan(&seq, &line); err != nil {
			return fmt.Errorf("list open operations: %w", err)
		}
		begun, err := audit.Decode([]byte(line.String))
		if err != nil || begun.Operation == nil {
			return fmt.Errorf("record %d of the audit trail, the beginning of an operation, was altered", seq)
		}
		tx.record(audit.Record{
			Action: begun.Action, Container: begun.Container, Operation: begun.Operation, Origin: crashRecovery,
			Outcome: &audit.Outcome{State: audit.OutcomeInterrupted, Begun: seq},
		})
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list open operations: %w", err)
	}
	return nil
}

// crashRecovery is the origin of what follows from the death of a daemon.
var crashRecovery = api.Origin{Requester: api.Requester{Kind: api.RequesterDaemon, Cause: "crash recovery"}}

// StartTrail records the start of this daemon. A trail that is empty gets a baseline record for each container first;
// plan returns the digest of the plan that an earlier release has kept of it, "" if there is none.
func (db *DB) StartTrail(ctx context.Context, start audit.Record, plan func(id string) string) error {
	existing, err := db.Containers(ctx, 0)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *txn) error {
		edge, err := db.edge(ctx, tx)
		if err != nil {
			return err
		}
		if edge.Size == 0 {
			for _, c := range slices.Backward(existing) {
				r := audit.Record{Action: audit.ActionBaseline, Container: audited(c), Origin: c.Origin}
				if r.Requester.Kind == "" {
					r.Requester.Kind = requesterUnknown
				}
				if digest := plan(c.ID); digest != "" {
					r.Operation = &audit.Operation{Workspace: c.ID, Files: map[string]string{"apply.plan.json": digest}}
				}
				tx.record(r)
			}
		}
		start.Action = audit.ActionStart
		tx.record(start)
		return nil
	})
}

// requesterUnknown is the kind of the requester of what an earlier release has done.
const requesterUnknown = "unknown"

// PruneTrail removes the records that are older than before, and records that it did. Their hashes stay.
func (db *DB) PruneTrail(ctx context.Context, before time.Time) error {
	var first, size int64
	err := db.tx(ctx, func(tx *txn) error {
		var kept sql.NullInt64
		err := tx.QueryRowContext(ctx, `SELECT first, size, (SELECT min(seq) FROM audit WHERE at >= $1) FROM audit_head`,
			nanos(before)).Scan(&first, &size, &kept)
		if err != nil {
			return fmt.Errorf("prune the audit trail: %w", err)
		}
		next := size + 1
		if kept.Valid {
			next = kept.Int64
		}
		// The record of an open operation must stay until it is closed.
		var open sql.NullInt64
		if err := tx.QueryRowContext(ctx, "SELECT min(begun) FROM audit_open").Scan(&open); err != nil {
			return fmt.Errorf("prune the audit trail: %w", err)
		}
		if open.Valid {
			next = min(next, open.Int64)
		}
		if next <= first {
			return nil
		}
		first = next
		if _, err := tx.ExecContext(ctx, "UPDATE audit_head SET first = $1", first); err != nil {
			return fmt.Errorf("prune the audit trail: %w", err)
		}
		tx.record(audit.Record{Action: audit.ActionPruned, Pruned: &audit.Pruned{Records: first}})
		return nil
	})
	if err != nil {
		return err
	}
	// In steps, so that others can work meanwhile. What a killed daemon has left, the next call removes.
	for {
		var n int64
		err := db.tx(ctx, func(tx *txn) error {
			res, err := tx.ExecContext(ctx, `DELETE FROM audit WHERE seq IN
				(SELECT seq FROM audit WHERE seq < $1 ORDER BY seq LIMIT $2)`, first, pruneStep)
			if err != nil {
				return fmt.Errorf("prune the audit trail: %w", err)
			}
			n, err = res.RowsAffected()
			return err
		})
		if err != nil || n < pruneStep {
			return err
		}
	}
}

// pruneStep bounds the records that one transaction removes.
const pruneStep = 1000
