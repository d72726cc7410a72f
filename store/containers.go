package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// State is a container's state. All but Creating are Docker's.
type State string

// States of a container. Creating means that its function app is being created. Dead means that creating or destroying
// the function app failed with the message in Error.
const (
	Creating State = "creating"
	Created  State = "created"
	Running  State = "running"
	Exited   State = "exited"
	Removing State = "removing"
	Dead     State = "dead"
)

// Container is one container. Times are UTC. A time is zero until its event has happened.
type Container struct {
	ID         string // 64 hex digits
	Name       string // without a leading slash
	Config     api.Config
	HostConfig api.HostConfig
	Networking api.NetworkingConfig

	State    State
	Error    string
	ExitCode int
	Created  time.Time
	Started  time.Time
	Finished time.Time

	FunctionApp string
	ResourceID  string
	HostName    string
	PlanSummary string

	// ImageConfig is the configuration of the image, nil if it was not known when the container was created.
	ImageConfig *api.ImageConfig
	// HasHandler reports that the function app is known to hold azf-handler: its image says so, or it has answered.
	HasHandler bool
	// Origin says who has asked for the container; its zero value means that an earlier release created it.
	Origin api.Origin
	// Unnamed reports whether the daemon has chosen the name.
	Unnamed bool
	// StopAsked reports whether somebody has asked to stop the run under way.
	StopAsked bool
	// Policy are the verdicts of policies on the plan of its create. RecordVerdicts sets it.
	Policy []api.PolicyVerdict
	// Derived is the image that Azure runs in place of the container's; nil if it runs the container's own. RecordDerived
	// fills it in.
	Derived *api.Derived
	// ServicePlan is the id of the service plan on which the function app is, or will be; "" while the container waits for
	// a place. PlaceError is the error of the one that could not be created for it.
	ServicePlan string
	PlaceError  *api.Error
	// Claim says who waits for the answer to the create. CreateContainer sets it.
	Claim string

	// ImageID is the image from which the container was created, as long as that image is known. CreateContainer sets it.
	ImageID string
	// Failures counts the failed attempts to create or remove the container.
	Failures int
	// RetryAt is the time of the next attempt to remove a Dead container.
	RetryAt time.Time
}

// App describes a container's function app, as known after its creation.
type App struct {
	ResourceID  string
	HostName    string
	PlanSummary string
}

// CreateContainer inserts c in state Creating, with Created from the clock. The job that creates its function app is
// inserted as soon as the container has a place on a service plan that is ready: see Pool. A name in use is a Conflict
// error.
func (db *DB) CreateContainer(ctx context.Context, c Container) error {
	config, err := json.Marshal(c.Config)
	if err != nil {
		return fmt.Errorf("encode config: %w", err)
	}
	hostConfig, err := json.Marshal(c.HostConfig)
	if err != nil {
		return fmt.Errorf("encode host config: %w", err)
	}
	networking, err := json.Marshal(c.Networking)
	if err != nil {
		return fmt.Errorf("encode networking config: %w", err)
	}
	imageConfig := []byte{}
	if c.ImageConfig != nil {
		if imageConfig, err = json.Marshal(c.ImageConfig); err != nil {
			return fmt.Errorf("encode image config: %w", err)
		}
	}
	origin, err := encodeOrigin(c.Origin)
	if err != nil {
		return err
	}
	derived, err := encodeDerived(c.Derived)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *txn) error {
		if err := nameFree(ctx, tx, c.Name); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO containers
			(id, name, config, host_config, networking, state, created_at, function_app, image_config, has_handler, origin,
				unnamed, claim, derived)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
			c.ID, c.Name, string(config), string(hostConfig), string(networking), Creating, nanos(db.now()), c.FunctionApp,
			string(imageConfig), c.HasHandler, string(origin), c.Unnamed, db.DaemonID(), derived)
		if err != nil {
			return fmt.Errorf("insert container: %w", err)
		}
		if err := db.useImage(ctx, tx, c); err != nil {
			return err
		}
		tx.wake(c.ID)
		created, err := findContainer(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		tx.recordContainer(audit.ActionRequest, "create", created)
		return db.place(ctx, tx)
	})
}

// encodeOrigin returns what a row holds: nothing where the origin is not known.
func encodeOrigin(o api.Origin) ([]byte, error) {
	if o.Requester.Kind == "" {
		return nil, nil
	}
	content, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode origin: %w", err)
	}
	return content, nil
}

// Provisioned records the function app of a container in state Creating, makes the container Created, and completes the
// job that created the app.
func (db *DB) Provisioned(ctx context.Context, id string, app App, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		err := transition(ctx, tx, id, []State{Creating}, Created,
			"resource_id = $3, host_name = $4, plan_summary = $5", app.ResourceID, app.HostName, app.PlanSummary)
		if err != nil {
			return err
		}
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		tx.recordContainer(audit.ActionCreated, "", c)
		return db.containerEvent(ctx, tx, c, api.EventCreate, nil)
	})
}

// Rename gives a container another name. A name in use is a Conflict error.
func (db *DB) Rename(ctx context.Context, id, name string) error {
	return db.tx(ctx, func(tx *txn) error {
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		if c.Name == name {
			return api.Errorf(api.InvalidParameter, "Renaming a container with the same name as its current name")
		}
		if err := nameFree(ctx, tx, name); err != nil {
			return err
		}
		const query = "UPDATE containers SET name = $1, unnamed = FALSE WHERE id = $2"
		if _, err := tx.ExecContext(ctx, query, name, id); err != nil {
			return fmt.Errorf("rename container %s: %w", id, err)
		}
		old := c.Name
		c.Name = name
		tx.recordContainer(audit.ActionRequest, "rename", c)
		return db.containerEvent(ctx, tx, c, api.EventRename, map[string]string{"oldName": "/" + old})
	})
}

// nameFree returns a Conflict error that names the holder of a name in use.
func nameFree(ctx context.Context, tx *txn, name string) error {
	var holder string
	err := tx.QueryRowContext(ctx, "SELECT id FROM containers WHERE name = $1", name).Scan(&holder)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up name: %w", err)
	}
	return api.Errorf(api.Conflict, "Conflict. The container name %q is already in use by container %q. "+
		"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
}

// exitKilled is the exit code of a run that a forced removal ends. It is Docker's for KILL.
const exitKilled = 137

// Remove makes a container Removing and inserts the job that destroys its function app. A running container needs
// force, unless it was asked to stop. Its run ends with exit code 137.
func (db *DB) Remove(ctx context.Context, id string, force bool, enqueue InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		from := []State{Created, Exited, Dead}
		if force || c.StopAsked {
			from = append(from, Running)
		}
		if err := transition(ctx, tx, id, from, Removing, "error = ''"); err != nil {
			return err
		}
		tx.recordContainer(audit.ActionRequest, "remove", c)
		if c.State == Running {
			run, err := runningRun(ctx, tx, id)
			if err != nil {
				return err
			}
			if _, err := db.endRun(ctx, tx, run, Result{ExitCode: exitKilled}); err != nil {
				return err
			}
		}
		return enqueue(ctx, tx.Tx)
	})
}

// Delete forgets a container whose function app is gone, and its runs, and completes the job that destroyed the app. A
// container that is neither Creating nor Removing is a Conflict error.
func (db *DB) Delete(ctx context.Context, id string, complete InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		if err := complete(ctx, tx.Tx); err != nil {
			return err
		}
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := db.leaveDerived(ctx, tx, c.ID); err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, "DELETE FROM containers WHERE id = $1 AND state IN ($2, $3)", id, Creating, Removing)
		if err := changed(ctx, tx, id, res, err); err != nil {
			return err
		}
		tx.recordContainer(audit.ActionRemoved, "", c)
		if err := errors.Join(db.recount(ctx, tx, c.ServicePlan), db.place(ctx, tx)); err != nil {
			return err
		}
		if c.State == Creating {
			return nil // clients got no create event either
		}
		return db.containerEvent(ctx, tx, c, api.EventDestroy, nil)
	})
}

// transition changes a container's state from one of from. set assigns further columns, with their values in args from
// $3 on.
func transition(ctx context.Context, tx *txn, id string, from []State, to State, set string, args ...any) error {
	args = append([]any{to, id}, args...)
	states := placeholders(len(args)+1, len(from))
	for _, s := range from {
		args = append(args, s)
	}
	query := "UPDATE containers SET state = $1, " + set + " WHERE id = $2 AND state IN (" + states + ")"
	res, err := tx.ExecContext(ctx, query, args...)
	if err := changed(ctx, tx, id, res, err); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE service_plans SET
		busy = (SELECT count(*) FROM containers WHERE service_plan = service_plans.id AND state IN ($1, $2))
		WHERE id = (SELECT service_plan FROM containers WHERE id = $3)`, Creating, Removing, id)
	if err != nil {
		return fmt.Errorf("count the changes of a service plan: %w", err)
	}
	return nil
}

// changed checks that a change has changed one row. Otherwise there is no such container, or its state forbids the
// change. changed alone decides which error that is.
func changed(ctx context.Context, tx *txn, id string, res sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("change container %s: %w", id, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("change container %s: %w", id, err)
	}
	if n == 1 {
		tx.wake(id)
		return nil
	}
	c, err := findContainer(ctx, tx, id)
	if err != nil {
		return err
	}
	switch c.State {
	case Creating:
		return api.Errorf(api.Conflict,
			"container %s is still being created: its function app is not there yet, try again later", c.Name)
	case Running:
		return api.Errorf(api.Conflict, "cannot remove container %q: "+
			"container is running: stop the container before removing or force remove", "/"+c.Name)
	case Removing:
		return api.Errorf(api.Conflict, "removal of container %s is already in progress", c.Name)
	case Dead:
		return api.Errorf(api.Conflict, "container %s is marked for removal and cannot be used: %s", c.Name, c.Error)
	default:
		return api.Errorf(api.Conflict, "container %s is %s", c.Name, c.State)
	}
}
