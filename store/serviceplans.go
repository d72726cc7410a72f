package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// FirstServicePlan is the id of the service plan on which the containers of earlier releases are.
const FirstServicePlan = "first"

// PlanState is the state of a service plan.
type PlanState string

// States of a service plan. PlanDead could be neither created nor destroyed. PlanRetired is an existing one that the
// settings do not name any more. Only one that is PlanCreating or PlanReady gets containers.
const (
	PlanCreating PlanState = "creating"
	PlanReady    PlanState = "ready"
	PlanRemoving PlanState = "removing"
	PlanDead     PlanState = "dead"
	PlanRetired  PlanState = "retired"
)

// ServicePlan is an App Service plan.
type ServicePlan struct {
	ID            string // in this database
	Name          string
	ResourceGroup string
	ResourceID    string // "" until it is known
	SKU           string
	// Existing reports whether others have made it. It is never changed.
	Existing bool
	State    PlanState
	Error    string
	Failures int
	// RetryAt is the time of the next attempt to remove a PlanDead one.
	RetryAt time.Time

	Capacity int // the number of apps that it takes
	Apps     int // the number of containers that are on it, or will be
	Busy     int // the number of them that are being created or removed
	Created  time.Time
	// IdleSince is the time since which it has no container; zero while it has one.
	IdleSince time.Time
}

const planColumns = `id, name, resource_group, resource_id, sku, existing, state, error, failures, retry_at, capacity,
	apps, busy, created_at, idle_since`

// ServicePlans lists the service plans, the oldest first.
func (db *DB) ServicePlans(ctx context.Context) (list []ServicePlan, err error) {
	defer db.explain(&err)
	return servicePlans(ctx, db.sql, "ORDER BY created_at, id")
}

// ServicePlan finds a service plan by its id. It returns a NotFound error when there is none.
func (db *DB) ServicePlan(ctx context.Context, id string) (p ServicePlan, err error) {
	defer db.explain(&err)
	return findServicePlan(ctx, db.sql, id)
}

func findServicePlan(ctx context.Context, q querier, id string) (ServicePlan, error) {
	found, err := servicePlans(ctx, q, "WHERE id = $1", id)
	if err == nil && len(found) == 0 {
		err = api.Errorf(api.NotFound, "No such service plan: %s", id)
	}
	if err != nil {
		return ServicePlan{}, err
	}
	return found[0], nil
}

func servicePlans(ctx context.Context, q querier, where string, args ...any) (list []ServicePlan, err error) {
	rows, err := q.QueryContext(ctx, "SELECT "+planColumns+" FROM service_plans "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list service plans: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p ServicePlan
		var retry, created, idle sql.NullInt64
		err := rows.Scan(&p.ID, &p.Name, &p.ResourceGroup, &p.ResourceID, &p.SKU, &p.Existing, &p.State, &p.Error,
			&p.Failures, &retry, &p.Capacity, &p.Apps, &p.Busy, &created, &idle)
		if err != nil {
			return nil, fmt.Errorf("read service plan: %w", err)
		}
		p.RetryAt, p.Created, p.IdleSince = fromNanos(retry), fromNanos(created), fromNanos(idle)
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read service plans: %w", err)
	}
	return list, nil
}

// insertPlan inserts a service plan, with Created from the clock.
func (db *DB) insertPlan(ctx context.Context, tx *txn, p ServicePlan) error {
	now := nanos(db.now())
	_, err := tx.ExecContext(ctx, `INSERT INTO service_plans
		(id, name, resource_group, resource_id, sku, existing, state, capacity, created_at, idle_since)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		p.ID, p.Name, p.ResourceGroup, p.ResourceID, p.SKU, p.Existing, p.State, p.Capacity, now, now)
	if err != nil {
		return fmt.Errorf("insert service plan %s: %w", p.ID, err)
	}
	tx.wake(p.ID)
	return nil
}

// recount counts the containers of a service plan, after one of them has changed.
func (db *DB) recount(ctx context.Context, tx *txn, plan string) error {
	_, err := tx.ExecContext(ctx, `UPDATE service_plans SET
		apps = (SELECT count(*) FROM containers WHERE service_plan = $1),
		busy = (SELECT count(*) FROM containers WHERE service_plan = $1 AND state IN ($2, $3)),
		idle_since = CASE WHEN EXISTS (SELECT 1 FROM containers WHERE service_plan = $1) THEN NULL
			ELSE coalesce(idle_since, $4) END
		WHERE id = $1`, plan, Creating, Removing, nanos(db.now()))
	if err != nil {
		return fmt.Errorf("count the containers of service plan %s: %w", plan, err)
	}
	return nil
}

// PlanReady records that a service plan is there, completes the job that created it, and inserts the jobs of the
// containers that have waited for it.
func (db *DB) PlanReady(ctx context.Context, id, resourceID, sku string, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		err := changePlan(ctx, tx, id, []PlanState{PlanCreating}, PlanReady,
			"resource_id = $3, sku = $4, error = ''", resourceID, sku)
		if err != nil {
			return err
		}
		if err := db.recordPlan(ctx, tx, audit.ActionCreated, id, ""); err != nil {
			return err
		}
		waiting, err := containersOf(ctx, tx, id, Creating)
		if err != nil {
			return err
		}
		for _, c := range waiting {
			if err := db.provision(ctx, tx, c); err != nil {
				return err
			}
		}
		return db.place(ctx, tx)
	})
}

// PlanFailed records that a service plan could not be created, and completes the job that tried. The containers that
// have waited for it are told the reason: their jobs end with it. left says what could not be destroyed of the service
// plan; with "", nothing is left, and the plan is forgotten.
func (db *DB) PlanFailed(
	ctx context.Context, id string, reason *api.Error, left string, retryAfter func(n int) time.Duration, complete InTx,
) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		waiting, err := containersOf(ctx, tx, id, Creating)
		if err != nil {
			return err
		}
		content, err := Outcome{Err: reason}.MarshalJSON()
		if err != nil {
			return err
		}
		for _, c := range waiting {
			_, err := tx.ExecContext(ctx, "UPDATE containers SET service_plan = '', place_error = $1 WHERE id = $2",
				string(content), c.ID)
			if err != nil {
				return fmt.Errorf("give up the place of container %s: %w", c.ID, err)
			}
			if err := db.provision(ctx, tx, c); err != nil {
				return err
			}
		}
		if err := db.recount(ctx, tx, id); err != nil {
			return err
		}
		if err := db.recordPlan(ctx, tx, audit.ActionFailed, id, reason.Message); err != nil {
			return err
		}
		if left == "" {
			return db.forgetPlan(ctx, tx, id)
		}
		return db.deadPlan(ctx, tx, id, PlanCreating, left, retryAfter)
	})
}

// PlanRemoved forgets a service plan that is gone, and completes the job that destroyed it.
func (db *DB) PlanRemoved(ctx context.Context, id string, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		if err := db.recordPlan(ctx, tx, audit.ActionRemoved, id, ""); err != nil {
			return err
		}
		if err := db.forgetPlan(ctx, tx, id); err != nil {
			return err
		}
		return db.place(ctx, tx) // another one may be created in its place
	})
}

// PlanKept records that a service plan which should have been removed stays for a reason, such as the refusal of a
// policy, and completes the job. It is idle from now on.
func (db *DB) PlanKept(ctx context.Context, id, reason string, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		err := changePlan(ctx, tx, id, []PlanState{PlanRemoving}, PlanReady, "error = $3, idle_since = $4",
			storable(reason), nanos(db.now()))
		if err != nil {
			return err
		}
		if err := db.recordPlan(ctx, tx, audit.ActionKept, id, reason); err != nil {
			return err
		}
		return db.place(ctx, tx)
	})
}

// PlanStays makes a service plan PlanDead, which could not be destroyed for a reason, and completes the job that
// tried.
func (db *DB) PlanStays(
	ctx context.Context, id, reason string, retryAfter func(n int) time.Duration, complete InTx,
) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		if err := db.recordPlan(ctx, tx, audit.ActionFailed, id, reason); err != nil {
			return err
		}
		return db.deadPlan(ctx, tx, id, PlanRemoving, reason, retryAfter)
	})
}

func (db *DB) deadPlan(
	ctx context.Context, tx *txn, id string, from PlanState, reason string, retryAfter func(n int) time.Duration,
) error {
	p, err := findServicePlan(ctx, tx, id)
	if err != nil {
		return err
	}
	failures := p.Failures + 1
	return changePlan(ctx, tx, id, []PlanState{from}, PlanDead, "error = $3, failures = $4, retry_at = $5",
		storable(reason), failures, nanos(db.now().Add(retryAfter(failures))))
}

// RetryPlans makes the PlanDead service plans PlanRemoving whose removal is due again, with their jobs. One that is
// due more than horizon from now is due as well: no delay is that long, so the clock was set back.
func (db *DB) RetryPlans(ctx context.Context, horizon time.Duration) error {
	return db.tx(ctx, func(tx *txn) error {
		now := db.now()
		due, err := servicePlans(ctx, tx, "WHERE state = $1 AND (coalesce(retry_at, 0) <= $2 OR retry_at > $3)",
			PlanDead, nanos(now), nanos(now.Add(horizon)))
		if err != nil {
			return err
		}
		for _, p := range due {
			if err := db.removePlan(ctx, tx, p, "its removal is tried again"); err != nil {
				return err
			}
		}
		return nil
	})
}

// RemoveIdlePlans makes the service plans PlanRemoving, with their jobs, that have had no container for the given time
// and are not kept as spare ones. With an idle time of 0 they go at once, except the oldest one.
func (db *DB) RemoveIdlePlans(ctx context.Context, idle time.Duration) error {
	return db.tx(ctx, func(tx *txn) error {
		pool := db.pools.Load()
		if pool == nil {
			return nil
		}
		all, err := servicePlans(ctx, tx, "WHERE NOT existing AND state IN ($1, $2) ORDER BY created_at, id",
			PlanCreating, PlanReady)
		if err != nil {
			return err
		}
		spare := 0
		for i, p := range all {
			switch {
			case p.Apps > 0:
			case spare < pool.Spare && p.SKU == pool.SKU:
				spare++
			case p.State == PlanReady && (idle > 0 || i > 0) && !p.IdleSince.After(db.now().Add(-idle)):
				if err := db.removePlan(ctx, tx, p, fmt.Sprintf("it had no container for %s", idle)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// removePlan makes a service plan PlanRemoving, with its job.
func (db *DB) removePlan(ctx context.Context, tx *txn, p ServicePlan, reason string) error {
	if err := changePlan(ctx, tx, p.ID, []PlanState{PlanReady, PlanDead}, PlanRemoving, "error = ''"); err != nil {
		return err
	}
	if err := db.recordPlan(ctx, tx, audit.ActionServicePlan, p.ID, "remove: "+reason); err != nil {
		return err
	}
	return db.pools.Load().DestroyPlan(p.ID)(ctx, tx.Tx)
}

func (db *DB) forgetPlan(ctx context.Context, tx *txn, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM service_plans WHERE id = $1", id); err != nil {
		return fmt.Errorf("forget service plan %s: %w", id, err)
	}
	tx.wake(id)
	return nil
}

// changePlan changes the state of a service plan from one of from. set assigns further columns, with their values in
// args from $3 on. A service plan in another state is a Conflict error.
func changePlan(
	ctx context.Context, tx *txn, id string, from []PlanState, to PlanState, set string, args ...any,
) error {
	args = append([]any{to, id}, args...)
	states := placeholders(len(args)+1, len(from))
	for _, s := range from {
		args = append(args, s)
	}
	query := "UPDATE service_plans SET state = $1, " + set + " WHERE id = $2 AND state IN (" + states + ")"
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("change service plan %s: %w", id, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		tx.wake(id)
		return err
	}
	p, err := findServicePlan(ctx, tx, id)
	if err != nil {
		return err
	}
	return api.Errorf(api.Conflict, "service plan %s is %s", p.Name, p.State)
}

// DuePlan reads the service plan of a job that works on those in the given state. due is false when it is in another
// state or gone. Then DuePlan completes the job in the transaction that finds this out.
func (db *DB) DuePlan(
	ctx context.Context, id string, state PlanState, complete InTx,
) (p ServicePlan, due bool, err error) {
	err = db.tx(ctx, func(tx *txn) error {
		p, err = findServicePlan(ctx, tx, id)
		if due = err == nil && p.State == state; due || err != nil && api.KindOf(err) != api.NotFound {
			return err
		}
		return complete(ctx, tx.Tx)
	})
	return p, due, err
}

// recordPlan adds a record about a service plan, with a reason.
func (db *DB) recordPlan(ctx context.Context, tx *txn, action audit.Action, id, reason string) error {
	p, err := findServicePlan(ctx, tx, id)
	if err != nil {
		return err
	}
	tx.record(audit.Record{Action: action, ServicePlan: &audit.ServicePlan{
		ID: p.ID, Name: p.Name, SKU: p.SKU, ResourceID: p.ResourceID, Reason: storable(reason),
	}})
	return nil
}

// containersOf lists the containers of a service plan in a state, the oldest first.
func containersOf(ctx context.Context, tx *txn, plan string, state State) ([]Container, error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+containerColumns+` FROM containers
		WHERE service_plan = $1 AND state = $2 ORDER BY created_at, id`, plan, state)
	if err != nil {
		return nil, fmt.Errorf("list the containers of service plan %s: %w", plan, err)
	}
	return scanContainers(rows)
}
