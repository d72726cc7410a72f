package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// RecordVerdicts writes a record with verdicts of policies, and their events, and returns the record's number. The
// container of the record, if there is one, is completed from its row, which also keeps the verdicts on the plan of a
// create. c is that container where no row exists yet, or nil.
func (db *DB) RecordVerdicts(ctx context.Context, r audit.Record, c *Container) (seq int64, err error) {
	var written *txn
	err = db.tx(ctx, func(tx *txn) error {
		written = tx
		if err := db.precede(ctx, tx, r); err != nil {
			return err
		}
		if r.Container != nil {
			row, err := findContainer(ctx, tx, r.Container.ID)
			switch {
			case err == nil:
				c = &row
			case api.KindOf(err) != api.NotFound:
				return err
			}
			if c != nil {
				r.Container = audited(*c)
			}
		}
		if err := db.policyEvents(ctx, tx, r, c); err != nil {
			return err
		}
		tx.record(r)
		if c == nil || r.Operation == nil || r.Operation.Kind != string(audit.ActionApply) {
			return nil
		}
		verdicts, err := json.Marshal(r.Policy)
		if err != nil {
			return fmt.Errorf("encode verdicts: %w", err)
		}
		_, err = tx.ExecContext(ctx, "UPDATE containers SET policy = $1 WHERE id = $2", string(verdicts), c.ID)
		if err != nil {
			return fmt.Errorf("keep verdicts of container %s: %w", c.ID, err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return written.last, nil
}

// policyEvents records an event for each kind of verdict that is not a plain consent.
func (db *DB) policyEvents(ctx context.Context, tx *txn, r audit.Record, c *Container) error {
	for _, action := range []api.EventAction{api.EventPolicyDeny, api.EventPolicyWarn, api.EventPolicyOverride} {
		var sets, said []string
		for _, v := range r.Policy {
			if policyEvent(v) != action {
				continue
			}
			sets, said = append(sets, v.Set), append(append(said, v.Deny...), v.Warn...)
			if v.Error != "" {
				said = append(said, v.Error)
			}
		}
		if len(sets) == 0 {
			continue
		}
		attributes := map[string]string{
			"policy": strings.Join(sets, ","), "message": shortened(strings.Join(said, "; ")),
		}
		if action == api.EventPolicyOverride && r.Override != nil {
			attributes["reason"] = r.Override.Reason
		}
		var err error
		switch {
		case c != nil:
			err = db.containerEvent(ctx, tx, *c, action, attributes)
		case r.Image != nil:
			err = db.insertEvent(ctx, tx, api.ImageEvent, action, r.Image.Name, attributes)
		case r.Container != nil: // an orphan's
			err = db.insertEvent(ctx, tx, api.ContainerEvent, action, r.Container.ID, attributes)
		default:
			about := foundationWorkspace
			if r.Operation != nil {
				about = r.Operation.Workspace
			}
			err = db.insertEvent(ctx, tx, api.DaemonEvent, action, about, attributes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// policyEvent returns the event that tells of a verdict, "" for a plain consent.
func policyEvent(v api.PolicyVerdict) api.EventAction {
	switch {
	case v.Refuses():
		return api.EventPolicyDeny
	case v.Result == api.PolicyOverridden:
		return api.EventPolicyOverride
	case v.Result != api.PolicyAllow:
		return api.EventPolicyWarn
	}
	return ""
}

// DestroyBegun reports whether the destroy of a container's function app has begun, whoever has asked for it.
func (db *DB) DestroyBegun(ctx context.Context, id string) (begun bool, err error) {
	defer db.explain(&err)
	err = db.sql.QueryRowContext(ctx, `SELECT count(*) > 0 FROM audit WHERE container_id = $1 AND container_id <> ''
		AND action = $2`, id, audit.ActionDestroy).Scan(&begun)
	if err != nil {
		return false, fmt.Errorf("look for a destroy of container %s: %w", id, err)
	}
	return begun, nil
}

// RemovalAskedBy returns who was the last to ask for the removal of a container, the daemon itself left out. It is zero
// when that is not known.
func (db *DB) RemovalAskedBy(ctx context.Context, id string) (asked api.Origin, err error) {
	requests, err := db.Audit(ctx, AuditQuery{Container: id, Action: audit.ActionRequest})
	if err != nil {
		return asked, err
	}
	for _, line := range slices.Backward(requests) {
		r, err := audit.Decode(line.Line)
		refused := r.Outcome != nil
		if err == nil && r.Asked == "remove" && !refused && r.Requester.Kind != api.RequesterDaemon {
			return r.Origin, nil
		}
	}
	return asked, nil
}

// Keep gives a container whose removal policies have refused the state that it had before, and completes the job that
// would have removed it.
func (db *DB) Keep(ctx context.Context, id string, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		before := Created
		if !c.Finished.IsZero() {
			before = Exited
		}
		if err := transition(ctx, tx, id, []State{Removing}, before, "error = ''"); err != nil {
			return err
		}
		tx.recordContainer(audit.ActionKept, "remove", c)
		return nil
	})
}

// PolicyCounts are the numbers of containers that policies see.
type PolicyCounts struct {
	Containers, CreatedLastHour, ByRequester int
}

// PolicyCounts counts the containers, those among them that requester has asked for, and those that were created since
// a time, whether they are there or not.
func (db *DB) PolicyCounts(ctx context.Context, requester api.Requester, since time.Time) (n PolicyCounts, err error) {
	defer db.explain(&err)
	err = db.sql.QueryRowContext(ctx, "SELECT count(*) FROM audit WHERE at >= $1 AND action = $2",
		nanos(since), audit.ActionCreated).Scan(&n.CreatedLastHour)
	if err != nil {
		return n, fmt.Errorf("count creates: %w", err)
	}
	rows, err := db.sql.QueryContext(ctx, "SELECT origin FROM containers")
	if err != nil {
		return n, fmt.Errorf("count containers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return n, fmt.Errorf("count containers: %w", err)
		}
		n.Containers++
		var origin api.Origin
		if text != "" && json.Unmarshal([]byte(text), &origin) == nil && origin.Requester.Same(requester) {
			n.ByRequester++
		}
	}
	if err := rows.Err(); err != nil {
		return n, fmt.Errorf("count containers: %w", err)
	}
	return n, nil
}

// PublishPolicies makes a digest of policies the one in force in this daemon: its records have it from now on, and the
// other daemons see it. "" means that there are none. reloaded is the record of it, nil for none.
func (db *DB) PublishPolicies(ctx context.Context, digest string, reloaded *audit.Record) error {
	live, err := db.LiveDaemons(ctx)
	if err != nil {
		return err
	}
	err = db.tx(ctx, func(tx *txn) error {
		args := []any{nanos(db.now().Add(-forgetPolicies))}
		for id := range live {
			args = append(args, id)
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM daemon_policies WHERE at < $1 AND daemon_id NOT IN ("+
			placeholders(2, len(live))+")", args...)
		if err != nil {
			return fmt.Errorf("forget the policies of dead daemons: %w", err)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO daemon_policies (daemon_id, digest, at) VALUES ($1, $2, $3)
			ON CONFLICT (daemon_id) DO UPDATE SET digest = excluded.digest, at = excluded.at`,
			db.DaemonID(), digest, nanos(db.now()))
		if err != nil {
			return fmt.Errorf("publish the digest of the policies: %w", err)
		}
		if reloaded != nil {
			r := *reloaded
			r.Daemon.Policies = digest
			tx.record(r)
		}
		return nil
	})
	if err == nil {
		db.policies.Store(&digest)
	}
	return err
}

// forgetPolicies is the time after which the policies of a dead daemon are forgotten. A daemon that starts is not live
// for a moment.
const forgetPolicies = 24 * time.Hour

// OtherPolicies returns the digests of the other live daemons' policies that differ from this daemon's.
func (db *DB) OtherPolicies(ctx context.Context) (digests []string, err error) {
	live, err := db.LiveDaemons(ctx)
	if err != nil {
		return nil, err
	}
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT daemon_id, digest FROM daemon_policies ORDER BY digest")
	if err != nil {
		return nil, fmt.Errorf("read the digests of policies: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id, digest string
		if err := rows.Scan(&id, &digest); err != nil {
			return nil, fmt.Errorf("read the digests of policies: %w", err)
		}
		if live[id] && digest != db.policyDigest() && !slices.Contains(digests, digest) {
			digests = append(digests, digest)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the digests of policies: %w", err)
	}
	return digests, nil
}

// policyDigest returns the digest of the policies in force in this daemon.
func (db *DB) policyDigest() string {
	if digest := db.policies.Load(); digest != nil {
		return *digest
	}
	return ""
}
