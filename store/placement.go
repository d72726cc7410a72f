package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// Pool is the rule by which containers get places on service plans.
type Pool struct {
	// Existing are the service plans that others have made, with name, resource group, resource id, SKU and capacity. If
	// there are any, none is created.
	Existing []ServicePlan
	// First is the service plan that an earlier release has created, nil if there is none.
	First *ServicePlan
	// SKU and Capacity are those of service plans that are created, and ResourceGroup is theirs. There are at most Max of
	// them. Spare is the number of empty ones that are kept ready.
	SKU           string
	Capacity      int
	ResourceGroup string
	Max, Spare    int
	// Name returns the name in Azure of the service plan with an id.
	Name func(id string) string
	// CapacityOf returns the number of apps that a service plan of a SKU takes.
	CapacityOf func(sku string) int
	// Provision, CreatePlan and DestroyPlan return what inserts the job that creates the function app of a container, and
	// that creates and destroys a service plan.
	Provision, CreatePlan, DestroyPlan func(id string) InTx
}

// SetPool sets the rule by which this daemon places containers, and applies it. Existing service plans that it does
// not name any more get no further containers. Before the first pool, containers wait.
func (db *DB) SetPool(ctx context.Context, pool Pool) error {
	err := db.tx(ctx, func(tx *txn) error {
		if _, err := tx.ExecContext(ctx, "UPDATE service_plans SET state = $1 WHERE existing", PlanRetired); err != nil {
			return fmt.Errorf("retire service plans: %w", err)
		}
		for _, p := range pool.Existing {
			if err := db.setExisting(ctx, tx, p); err != nil {
				return err
			}
		}
		// Those without containers were only a setting.
		_, err := tx.ExecContext(ctx, "DELETE FROM service_plans WHERE state = $1 AND apps = 0", PlanRetired)
		if err != nil {
			return fmt.Errorf("forget service plans: %w", err)
		}
		if pool.First != nil {
			if err := db.adoptFirst(ctx, tx, pool); err != nil {
				return err
			}
		}
		ours, err := servicePlans(ctx, tx, "WHERE NOT existing")
		if err != nil {
			return err
		}
		for _, p := range ours {
			_, err := tx.ExecContext(ctx, "UPDATE service_plans SET capacity = $1 WHERE id = $2", pool.CapacityOf(p.SKU), p.ID)
			if err != nil {
				return fmt.Errorf("change the capacity of service plan %s: %w", p.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	db.pools.Store(&pool)
	return db.tx(ctx, func(tx *txn) error { return db.place(ctx, tx) })
}

// setExisting inserts or updates the row of an existing service plan.
func (db *DB) setExisting(ctx context.Context, tx *txn, p ServicePlan) error {
	sum := sha256.Sum256([]byte(strings.ToLower(p.ResourceID)))
	p.ID, p.Existing, p.State = hex.EncodeToString(sum[:4]), true, PlanReady
	const update = "UPDATE service_plans SET state = $1, sku = $2, capacity = $3 WHERE id = $4 AND existing"
	res, err := tx.ExecContext(ctx, update, p.State, p.SKU, p.Capacity, p.ID)
	if err != nil {
		return fmt.Errorf("change service plan %s: %w", p.ID, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		if err := db.insertPlan(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

// adoptFirst makes the service plan of an earlier release part of the pool, with the job that takes it over, unless it
// is that already. Its containers are known.
func (db *DB) adoptFirst(ctx context.Context, tx *txn, pool Pool) error {
	if _, err := findServicePlan(ctx, tx, FirstServicePlan); err == nil || api.KindOf(err) != api.NotFound {
		return err
	}
	p := *pool.First
	p.ID, p.State = FirstServicePlan, PlanCreating
	if err := db.insertPlan(ctx, tx, p); err != nil {
		return err
	}
	if err := db.recount(ctx, tx, p.ID); err != nil {
		return err
	}
	if err := db.recordPlan(ctx, tx, audit.ActionServicePlan, p.ID, "adopt: an earlier release created it"); err != nil {
		return err
	}
	return pool.CreatePlan(p.ID)(ctx, tx.Tx)
}

// MoveFirst records that the containers which an earlier release has created are on an existing service plan.
func (db *DB) MoveFirst(ctx context.Context, resourceID string) error {
	return db.tx(ctx, func(tx *txn) error {
		found, err := servicePlans(ctx, tx, "WHERE existing AND lower(resource_id) = $1", strings.ToLower(resourceID))
		if err != nil || len(found) == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE containers SET service_plan = $1 WHERE service_plan = $2
			AND NOT EXISTS (SELECT 1 FROM service_plans WHERE id = $2)`, found[0].ID, FirstServicePlan)
		if err != nil {
			return fmt.Errorf("move containers to service plan %s: %w", found[0].ID, err)
		}
		return db.recount(ctx, tx, found[0].ID)
	})
}

// place gives the containers that wait places on service plans, the longest waiting first, and inserts the jobs of
// those whose service plan is ready. It creates service plans where there is no room, and spare ones. It is called in
// each transaction after which there may be more room or more containers.
func (db *DB) place(ctx context.Context, tx *txn) error {
	pool := db.pools.Load()
	if pool == nil {
		return nil
	}
	for {
		var id string
		err := tx.QueryRowContext(ctx, `SELECT id FROM containers WHERE service_plan = '' AND state = $1
			AND place_error = '' ORDER BY created_at, id LIMIT 1`, Creating).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return db.fillUp(ctx, tx, pool)
		}
		if err != nil {
			return fmt.Errorf("find a container without a place: %w", err)
		}
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		p, err := withRoom(ctx, tx, pool)
		if err != nil {
			return err
		}
		if p.ID == "" || p.SKU != pool.SKU && !p.Existing {
			grown, err := db.grow(api.WithOrigin(ctx, c.Origin), tx, pool, "container "+c.Name+" finds no room")
			if err != nil {
				return err
			}
			if grown.ID != "" {
				p = grown
			}
		}
		if p.ID == "" {
			return nil
		}
		if err := db.placeOn(ctx, tx, c, p); err != nil {
			return err
		}
	}
}

// withRoom returns the service plan for the next container: first one of the pool's SKU, then one with few changes
// under way, since App Service makes them one after the other, then the one with most apps, so that others become
// empty. The result has no ID when there is no room.
func withRoom(ctx context.Context, tx *txn, pool *Pool) (ServicePlan, error) {
	found, err := servicePlans(ctx, tx, `WHERE apps < capacity AND state IN ($1, $2)
		ORDER BY existing OR sku = $3 DESC, busy + CASE WHEN state = $1 THEN $4 ELSE 0 END, apps DESC, created_at, id
		LIMIT 1`,
		PlanCreating, PlanReady, pool.SKU, changesPerCreation)
	if err != nil || len(found) == 0 {
		return ServicePlan{}, err
	}
	return found[0], nil
}

// changesPerCreation is the number of changes of apps that take as long as the creation of a service plan.
const changesPerCreation = 2

// placeOn gives a container its place, and inserts its job if the service plan is ready.
func (db *DB) placeOn(ctx context.Context, tx *txn, c Container, p ServicePlan) error {
	if _, err := tx.ExecContext(ctx, "UPDATE containers SET service_plan = $1 WHERE id = $2", p.ID, c.ID); err != nil {
		return fmt.Errorf("place container %s: %w", c.ID, err)
	}
	tx.wake(c.ID)
	if err := db.recount(ctx, tx, p.ID); err != nil || p.State != PlanReady {
		return err
	}
	return db.provision(ctx, tx, c)
}

// provision inserts the job of a container that has waited, on behalf of those who asked for the container.
func (db *DB) provision(ctx context.Context, tx *txn, c Container) error {
	tx.wake(c.ID)
	return db.pools.Load().Provision(c.ID)(api.WithOrigin(ctx, c.Origin), tx.Tx)
}

// grow creates a service plan, with its job, unless there may be none. The result has no ID then.
func (db *DB) grow(ctx context.Context, tx *txn, pool *Pool, reason string) (ServicePlan, error) {
	if len(pool.Existing) > 0 {
		return ServicePlan{}, nil
	}
	var n int
	err := tx.QueryRowContext(ctx, "SELECT count(*) FROM service_plans WHERE NOT existing").Scan(&n)
	if err != nil || n >= pool.Max {
		return ServicePlan{}, err
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return ServicePlan{}, fmt.Errorf("name a service plan: %w", err)
	}
	id := hex.EncodeToString(random[:])
	p := ServicePlan{
		ID: id, Name: pool.Name(id), ResourceGroup: pool.ResourceGroup, SKU: pool.SKU, State: PlanCreating,
		Capacity: pool.Capacity,
	}
	if err := db.insertPlan(ctx, tx, p); err != nil {
		return ServicePlan{}, err
	}
	if err := db.recordPlan(ctx, tx, audit.ActionServicePlan, id, "create: "+reason); err != nil {
		return ServicePlan{}, err
	}
	return p, pool.CreatePlan(id)(ctx, tx.Tx)
}

// fillUp creates the spare service plans that are missing.
func (db *DB) fillUp(ctx context.Context, tx *txn, pool *Pool) error {
	if pool.Spare == 0 || len(pool.Existing) > 0 {
		return nil
	}
	var empty int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM service_plans
		WHERE NOT existing AND apps = 0 AND state IN ($1, $2) AND sku = $3`, PlanCreating, PlanReady, pool.SKU).Scan(&empty)
	if err != nil {
		return fmt.Errorf("count spare service plans: %w", err)
	}
	for ; empty < pool.Spare; empty++ {
		p, err := db.grow(ctx, tx, pool, fmt.Sprintf("spare_service_plans is %d", pool.Spare))
		if err != nil || p.ID == "" {
			return err
		}
	}
	return nil
}

// CountWaiting counts the containers that wait for a place on a service plan.
func (db *DB) CountWaiting(ctx context.Context) (n int, err error) {
	defer db.explain(&err)
	err = db.sql.QueryRowContext(ctx, "SELECT count(*) FROM containers WHERE service_plan = '' AND state = $1", Creating).
		Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count waiting containers: %w", err)
	}
	return n, nil
}

// Queued returns the place of a container among those that wait for a place on a service plan, from 1, and 0 for one
// that does not wait.
func (db *DB) Queued(ctx context.Context, c Container) (place int, err error) {
	if c.State != Creating || c.ServicePlan != "" || db.pools.Load() == nil {
		return 0, nil
	}
	defer db.explain(&err)
	err = db.sql.QueryRowContext(ctx, `SELECT count(*) FROM containers WHERE service_plan = '' AND state = $1
		AND (created_at < $2 OR created_at = $2 AND id <= $3)`, Creating, nanos(c.Created), c.ID).Scan(&place)
	if err != nil {
		return 0, fmt.Errorf("count waiting containers: %w", err)
	}
	return place, nil
}
