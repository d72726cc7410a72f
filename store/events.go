package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// keptEvents bounds the number of stored events: weeks of a busy daemon, and a few megabytes.
const keptEvents = 10_000

// Event is an event with its place in the order of all events.
type Event struct {
	Seq int64
	api.Event
}

// EventsAfter returns up to limit events with a place after seq and a time not before since, the oldest first.
func (db *DB) EventsAfter(ctx context.Context, seq int64, since time.Time, limit int) (list []Event, err error) {
	defer db.explain(&err)
	at := int64(0)
	if !since.IsZero() {
		at = nanos(since)
	}
	rows, err := db.sql.QueryContext(ctx, `SELECT seq, at, type, action, actor_id, attributes FROM events
		WHERE seq > $1 AND at >= $2 ORDER BY seq LIMIT $3`, seq, at, limit)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e Event
		var attributes string
		if err := rows.Scan(&e.Seq, &e.TimeNano, &e.Type, &e.Action, &e.Actor.ID, &attributes); err != nil {
			return nil, fmt.Errorf("read event: %w", err)
		}
		if err := json.Unmarshal([]byte(attributes), &e.Actor.Attributes); err != nil {
			return nil, fmt.Errorf("decode event %d: %w", e.Seq, err)
		}
		e.Time, e.Scope = e.TimeNano/int64(time.Second), "local"
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return list, nil
}

// LastEvent returns the place of the newest event, 0 when there is none.
func (db *DB) LastEvent(ctx context.Context) (seq int64, err error) {
	defer db.explain(&err)
	if err := db.sql.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM events").Scan(&seq); err != nil {
		return 0, fmt.Errorf("find last event: %w", err)
	}
	return seq, nil
}

// LastExit returns the exit code of the last run of a container that has ended, also for a while after the container's
// removal. ok is false when none is known.
func (db *DB) LastExit(ctx context.Context, containerID string) (code int, ok bool, err error) {
	defer db.explain(&err)
	var attributes string
	err = db.sql.QueryRowContext(ctx, `SELECT attributes FROM events WHERE actor_id = $1 AND action = $2
		ORDER BY seq DESC LIMIT 1`, containerID, api.EventDie).Scan(&attributes)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("find last exit of %s: %w", containerID, err)
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(attributes), &fields); err != nil {
		return 0, false, fmt.Errorf("decode last exit of %s: %w", containerID, err)
	}
	code, err = strconv.Atoi(fields[exitCodeAttribute])
	if err != nil {
		return 0, false, fmt.Errorf("decode last exit of %s: %w", containerID, err)
	}
	return code, true, nil
}

// exitCodeAttribute is Docker's name for a die event's exit code.
const exitCodeAttribute = "exitCode"

// containerEvent records an event of a container, with Docker's attributes: the labels, image and name of the
// container, and more. Its image's labels are among its own.
func (db *DB) containerEvent(
	ctx context.Context, tx *txn, c Container, action api.EventAction, more map[string]string,
) error {
	attributes := map[string]string{}
	if c.ImageConfig != nil {
		maps.Copy(attributes, c.ImageConfig.Labels)
	}
	maps.Copy(attributes, c.Config.Labels)
	attributes["image"], attributes["name"] = c.Config.Image, c.Name
	maps.Copy(attributes, more)
	return db.insertEvent(ctx, tx, api.ContainerEvent, action, c.ID, attributes)
}

func (db *DB) insertEvent(
	ctx context.Context, tx *txn, kind api.EventType, action api.EventAction, actorID string, attributes map[string]string,
) error {
	content, err := json.Marshal(attributes)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	var seq int64
	err = tx.QueryRowContext(ctx, `INSERT INTO events (at, type, action, actor_id, attributes)
		VALUES ($1, $2, $3, $4, $5) RETURNING seq`,
		nanos(db.now()), kind, action, actorID, string(content)).Scan(&seq)
	if err != nil {
		return fmt.Errorf("insert event: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM events WHERE seq <= $1", seq-keptEvents); err != nil {
		return fmt.Errorf("forget old events: %w", err)
	}
	tx.wake(actorID)
	return nil
}

// Restarted records that a container was restarted, after the events of the end of its run and of the next start.
func (db *DB) Restarted(ctx context.Context, id string) error {
	return db.tx(ctx, func(tx *txn) error {
		c, err := findContainer(ctx, tx, id)
		if err != nil {
			return err
		}
		return db.containerEvent(ctx, tx, c, api.EventRestart, nil)
	})
}

// Pruned records that unused containers or images were removed, and the bytes that this has freed.
func (db *DB) Pruned(ctx context.Context, kind api.EventType, reclaimed int64) error {
	return db.tx(ctx, func(tx *txn) error {
		attributes := map[string]string{"reclaimed": strconv.FormatInt(reclaimed, 10)}
		return db.insertEvent(ctx, tx, kind, api.EventPrune, "", attributes)
	})
}
