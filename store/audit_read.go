package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/sockerless/backend-azf/internal/audit"
)

// AuditQuery selects records. Its zero value selects all.
type AuditQuery struct {
	After int64 // the number of the last record that is not selected
	// Container is the whole id of a container.
	Container string
	Action    audit.Action
	// Since and Until bound the times of the records; the second is excluded.
	Since, Until time.Time
	// Limit bounds the number of records; 0 means no limit.
	Limit int
}

// Audit lists records of the trail, the oldest first.
func (db *DB) Audit(ctx context.Context, q AuditQuery) (list []audit.Line, err error) {
	defer db.explain(&err)
	where, args := "seq > $1", []any{q.After}
	add := func(condition string, value any) {
		args = append(args, value)
		where += fmt.Sprintf(" AND %s $%d", condition, len(args))
	}
	if q.Container != "" {
		where += " AND container_id <> ''" // for the index
		add("container_id =", q.Container)
	}
	if q.Action != "" {
		add("action =", q.Action)
	}
	if !q.Since.IsZero() {
		add("at >=", nanos(q.Since))
	}
	if !q.Until.IsZero() {
		add("at <", nanos(q.Until))
	}
	query := "SELECT seq, at, record FROM audit WHERE " + where + " ORDER BY seq"
	if q.Limit > 0 {
		args = append(args, q.Limit)
		query += fmt.Sprintf(" LIMIT $%d", len(args))
	}
	rows, err := db.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var l audit.Line
		var at sql.NullInt64
		if err := rows.Scan(&l.Seq, &at, &l.Line); err != nil {
			return nil, fmt.Errorf("read the audit trail: %w", err)
		}
		l.Time = fromNanos(at)
		list = append(list, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	return list, nil
}

// AuditAfter lists up to limit records after the one with this number, the oldest first.
func (db *DB) AuditAfter(ctx context.Context, seq int64, limit int) ([]audit.Line, error) {
	return db.Audit(ctx, AuditQuery{After: seq, Limit: limit})
}

// AuditHead describes the audit trail.
type AuditHead struct {
	Log string // its id
	// Size is the number of records, with those that retention has removed. First is the first one that stays.
	Size, First int64
}

// AuditHead returns what the trail is now.
func (db *DB) AuditHead(ctx context.Context) (h AuditHead, err error) {
	defer db.explain(&err)
	err = db.sql.QueryRowContext(ctx, "SELECT log, size, first FROM audit_head").Scan(&h.Log, &h.Size, &h.First)
	if err != nil {
		return h, fmt.Errorf("read the audit trail: %w", err)
	}
	return h, nil
}

// AuditSecret returns the key of the trail's change digests: the same for all daemons on the database.
func (db *DB) AuditSecret(ctx context.Context) (key []byte, err error) {
	defer db.explain(&err)
	if err := db.sql.QueryRowContext(ctx, "SELECT secret FROM audit_head").Scan(&key); err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	return key, nil
}

// AuditEdge returns the edge that the trail's tree had before the record with this number.
func (db *DB) AuditEdge(ctx context.Context, seq int64) (edge audit.Edge, err error) {
	defer db.explain(&err)
	return edgeOf(ctx, db.sql, seq-1)
}

// Checkpoint returns the checkpoint of the trail as it is now.
func (db *DB) Checkpoint(ctx context.Context) (audit.Checkpoint, error) {
	head, err := db.AuditHead(ctx)
	if err != nil {
		return audit.Checkpoint{}, err
	}
	return db.checkpointAt(ctx, head)
}

func (db *DB) checkpointAt(ctx context.Context, head AuditHead) (audit.Checkpoint, error) {
	edge, err := db.AuditEdge(ctx, head.Size+1)
	if err != nil {
		return audit.Checkpoint{}, err
	}
	root, err := edge.Root()
	return audit.Checkpoint{Log: head.Log, Size: head.Size, Root: root}, err
}

// WatchAudit returns a channel that is closed at the next possible growth of the trail.
func (db *DB) WatchAudit() <-chan struct{} { return db.waiters.watch(auditChanged) }

// AuditCursor returns the number of the last record that a sink has, 0 when it has none.
func (db *DB) AuditCursor(ctx context.Context, sink string) (seq int64, err error) {
	defer db.explain(&err)
	err = db.sql.QueryRowContext(ctx, "SELECT seq FROM audit_cursors WHERE sink = $1", sink).Scan(&seq)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read the cursor of %s: %w", sink, err)
	}
	return seq, nil
}

// MoveAuditCursor records the last record that a sink has. A cursor never moves back.
func (db *DB) MoveAuditCursor(ctx context.Context, sink string, seq int64) error {
	return db.tx(ctx, func(tx *txn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO audit_cursors (sink, seq) VALUES ($1, $2)
			ON CONFLICT (sink) DO UPDATE SET seq = excluded.seq WHERE audit_cursors.seq < excluded.seq`, sink, seq)
		if err != nil {
			return fmt.Errorf("move the cursor of %s: %w", sink, err)
		}
		return nil
	})
}

// verifyStep is the number of records that VerifyTrail reads at a time.
const verifyStep = 2000

// VerifyTrail compares the records with the tree of hashes, and both with the checkpoints, and passes each record to
// each, whose error ends it. Its error is an *audit.AlteredError or *audit.IncompleteError when the trail is not whole.
func (db *DB) VerifyTrail(
	ctx context.Context, checkpoints []audit.Checkpoint, each func(audit.Record) error,
) (check *audit.Check, err error) {
	head, err := db.AuditHead(ctx)
	if err != nil {
		return nil, err
	}
	newer := checkpoints[:0:0]
	for _, p := range checkpoints {
		if p.Log == head.Log && p.Size < head.First-1 {
			if err := db.verifyPruned(ctx, head, p); err != nil {
				return nil, err
			}
			continue
		}
		newer = append(newer, p)
	}
	edge, err := db.AuditEdge(ctx, head.First)
	if err != nil {
		return nil, err
	}
	if check, err = audit.NewCheck(head.Log, edge, newer...); err != nil {
		return nil, err
	}
	for check.Size() < head.Size {
		from := check.Size()
		lines, err := db.Audit(ctx, AuditQuery{After: from, Limit: verifyStep})
		if err != nil {
			return check, err
		}
		if len(lines) == 0 {
			return check, &audit.AlteredError{Record: from + 1, What: "it is missing"}
		}
		hashes, err := db.hashes(ctx, audit.HashCount(from), audit.HashCount(from+int64(len(lines))))
		if err != nil {
			return check, err
		}
		for _, l := range lines {
			if err := verifyLine(check, l, hashes, each); err != nil {
				return check, err
			}
		}
	}
	return check, check.Finish(true)
}

func verifyLine(
	check *audit.Check, l audit.Line, hashes map[int64]audit.Hash, each func(audit.Record) error,
) error {
	first := audit.HashCount(check.Size())
	r, added, err := check.Record(l.Line)
	if err != nil {
		return err
	}
	for i, h := range added {
		if hashes[first+int64(i)] != h {
			return &audit.AlteredError{Record: r.Seq, What: "it is not what was written: its hash is another one"}
		}
	}
	if !r.Time.Equal(l.Time) {
		return &audit.AlteredError{Record: r.Seq, What: "its time in the table is not that of the record"}
	}
	return each(r)
}

// verifyPruned compares a checkpoint from before the first record that stays.
func (db *DB) verifyPruned(ctx context.Context, head AuditHead, p audit.Checkpoint) error {
	was, err := db.checkpointAt(ctx, AuditHead{Log: head.Log, Size: p.Size})
	if err == nil && was.Root != p.Root {
		err = &audit.AlteredError{Record: 1, What: fmt.Sprintf(
			"the hashes of the pruned records differ from what the checkpoint of %d records confirms", p.Size)}
	}
	return err
}

// hashes reads a range of the hashes of the tree.
func (db *DB) hashes(ctx context.Context, from, to int64) (_ map[int64]audit.Hash, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT idx, hash FROM audit_hashes WHERE idx >= $1 AND idx < $2", from, to)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	all := map[int64]audit.Hash{}
	return all, scanHashes(rows, all)
}

// firstWithTrail is the version of the first schema that has the trail.
const firstWithTrail = 13

// OpenReader opens a database for reading the audit trail, beside a daemon or without one. It changes nothing. A
// database without a trail is an error. Whoever reads anything else calls CheckSchema first. The caller closes the DB.
func OpenReader(ctx context.Context, cfg Config) (db *DB, err error) {
	if cfg.URL != "" {
		db, err = openPostgres(ctx, cfg.URL, true)
	} else if _, err = os.Stat(cfg.Path); err == nil {
		db, err = sqliteDB(cfg.Path, url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)"}})
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.now, db.waiters, db.dialect.drain = time.Now, newBroadcast(), ""
	version, err := db.dialect.version(ctx, db.sql)
	if err == nil && version < firstWithTrail {
		err = older(version, firstWithTrail)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), db.close())
	}
	return db, nil
}

// CheckSchema returns an error that says what to do when the schema is not that of this program.
func (db *DB) CheckSchema(ctx context.Context) error {
	names, version, err := db.schema(ctx)
	if err == nil && version < len(names) {
		err = older(version, len(names))
	}
	return err
}

func older(version, needed int) error {
	return fmt.Errorf("its schema has version %d and this command needs %d: start a daemon of this release once, which "+
		"migrates it", version, needed)
}
