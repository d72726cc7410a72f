package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// A create takes long, and clients give up: their container is then in nobody's hands. The claim of a container says
// who waits for the answer to its create:
//
//	claim                 means
//	a daemon's id         a client of this daemon waits
//	claimLost             the client has gone without the answer
//	""                    the create was answered

// claimLost is the claim of a container whose client has gone without the answer.
const claimLost = "lost"

// Lost reports whether the client of a container's create has gone without the answer.
func (c Container) Lost() bool { return c.Claim == claimLost }

// Answered records that the create of a container is about to be answered. It returns a NotFound or Conflict error when
// the container was given up meanwhile: then the answer must be an error.
func (db *DB) Answered(ctx context.Context, id string) error {
	return db.tx(ctx, func(tx *txn) error {
		res, err := tx.ExecContext(ctx, "UPDATE containers SET claim = '' WHERE id = $1 AND state NOT IN ($2, $3)",
			id, Removing, Dead)
		return changed(ctx, tx, id, res, err)
	})
}

// Lose records that the client of a container's create has gone without the answer. Nobody knows a container whose name
// the daemon has chosen, so Lose forgets it while it waits for a place, and otherwise removes it as soon as it is
// Created, with the job that enqueueRemoval inserts. A container with a name of the client's stays: Join finds it. Lose
// leaves alone what is answered or gone.
func (db *DB) Lose(ctx context.Context, id string, enqueueRemoval InTx) error {
	return db.tx(ctx, func(tx *txn) error {
		c, err := findContainer(ctx, tx, id)
		if api.KindOf(err) == api.NotFound || err == nil && c.Claim == "" {
			return nil
		}
		if err != nil {
			return err
		}
		if c.Unnamed && c.State == Creating && c.ServicePlan == "" && c.PlaceError == nil {
			// It waits for a place on a service plan, so that there is neither a job nor anything in Azure.
			if _, err := tx.ExecContext(ctx, "DELETE FROM containers WHERE id = $1", id); err != nil {
				return fmt.Errorf("give up container %s: %w", id, err)
			}
			tx.recordContainer(audit.ActionRemoved, "", c)
			tx.wake(id)
			return nil
		}
		if _, err := tx.ExecContext(ctx, "UPDATE containers SET claim = $1 WHERE id = $2", claimLost, id); err != nil {
			return fmt.Errorf("give up container %s: %w", id, err)
		}
		if !c.Unnamed || c.State != Created {
			return nil
		}
		if err := transition(ctx, tx, id, []State{Created}, Removing, "error = ''"); err != nil {
			return err
		}
		tx.recordContainer(audit.ActionRequest, "remove", c)
		return enqueueRemoval(ctx, tx.Tx)
	})
}

// Unanswered lists the containers whose create was not answered, the newest first.
func (db *DB) Unanswered(ctx context.Context) (list []Container, err error) {
	defer db.explain(&err)
	return db.containers(ctx, "WHERE claim <> ''")
}

// Join gives a client the container that an earlier create with the same name and the same request has made and whose
// client has gone without the answer. joining is called with its id in the transaction. The result is "" when there is
// no such container.
func (db *DB) Join(ctx context.Context, c Container, joining func(id string)) (id string, err error) {
	err = db.tx(ctx, func(tx *txn) error {
		earlier, err := findContainer(ctx, tx, c.Name)
		if api.KindOf(err) == api.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if !earlier.Lost() || earlier.Name != c.Name || earlier.State != Creating && earlier.State != Created ||
			!earlier.Origin.Requester.Same(c.Origin.Requester) {
			return nil
		}
		if same, err := sameRequest(earlier, c); err != nil || !same {
			return err
		}
		res, err := tx.ExecContext(ctx, "UPDATE containers SET claim = $1 WHERE id = $2 AND claim = $3",
			db.DaemonID(), earlier.ID, claimLost)
		if err := changed(ctx, tx, earlier.ID, res, err); err != nil {
			return err
		}
		id = earlier.ID
		joining(id)
		tx.recordContainer(audit.ActionRequest, "create", earlier)
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// sameRequest reports whether two containers were asked for with the same configuration.
func sameRequest(a, b Container) (bool, error) {
	var encoded [2]string
	for i, c := range []Container{a, b} {
		content, err := json.Marshal([]any{c.Config, c.HostConfig, c.Networking})
		if err != nil {
			return false, fmt.Errorf("compare containers: %w", err)
		}
		encoded[i] = string(content)
	}
	return encoded[0] == encoded[1], nil
}

// AskToStop records that somebody wants the run of a Running container to end. Remove then takes the container without
// force. The request ends with the run.
func (db *DB) AskToStop(ctx context.Context, id string) error {
	return db.tx(ctx, func(tx *txn) error {
		const ask = "UPDATE containers SET stop_asked = TRUE WHERE id = $1 AND state = $2 AND NOT stop_asked"
		res, err := tx.ExecContext(ctx, ask, id, Running)
		if err != nil {
			return fmt.Errorf("record that container %s shall stop: %w", id, err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		tx.recordContainer(audit.ActionRequest, "stop", c)
		return nil
	})
}
