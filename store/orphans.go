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

// OrphanKind is what an Orphan is.
type OrphanKind string

// Kinds of orphans.
const (
	OrphanApp       OrphanKind = "function app"
	OrphanWorkspace OrphanKind = "workspace"
)

// Hold is the reason for which an orphan waits for a confirmation, "" for none. It stays until the orphan is forgotten.
type Hold string

// Reasons to hold an orphan. HeldUnknown: this database has not had a row of the container that went since. HeldMost:
// most of what a comparison saw were orphans.
const (
	HeldUnknown Hold = "unknown"
	HeldMost    Hold = "most"
)

// Orphan is a function app, or a workspace that holds something, which was last seen without a container.
type Orphan struct {
	ContainerID string
	Kind        OrphanKind
	Home        string // the state folder of a workspace, "" for a function app
	Name        string // the container's, "" if it is unknown
	Place       string // resource id or path

	FirstSeen, LastSeen time.Time
	// Sightings counts the comparisons that saw it, and Waited adds up the time between them.
	Sightings int
	Waited    time.Duration
	Held      Hold
	// Confirmed is the time at which a person asked for its removal.
	Confirmed time.Time
}

// orphanMemory is the time for which an orphan is remembered that no daemon looks for: its state folder may be gone.
const orphanMemory = 7 * 24 * time.Hour

// Comparison is what one comparison saw of one kind, and of one state folder.
type Comparison struct {
	Kind OrphanKind
	Home string
	// Seen are the orphans, with container, name and place.
	Seen []Orphan
	// There is the number of everything that was compared, with and without containers.
	There int
	// Complete means that all others of this kind and folder are gone, or have containers.
	Complete bool
	// MaxStep bounds what the comparison adds to Waited, so that a clock that is set forward shortens no wait.
	MaxStep time.Duration
}

const orphanColumns = `container_id, kind, home, name, place, first_seen, last_seen, sightings, waited, held,
	confirmed_at`

// Compared records a comparison, and returns what it saw. What the comparison did not see is forgotten, if it was
// complete. An orphan is held, until it is confirmed, when this database remembers no removal of its container, and
// when the comparison saw several orphans and they are more than half of what is there.
func (db *DB) Compared(ctx context.Context, c Comparison) (seen []Orphan, err error) {
	return seen, db.tx(ctx, func(tx *txn) error {
		known, err := orphans(ctx, tx)
		if err != nil {
			return err
		}
		now := db.now().UTC()
		seen = nil
		for _, o := range c.Seen {
			o.Kind, o.Home = c.Kind, c.Home
			if o, err = sighted(ctx, tx, o, known, now, c.MaxStep); err != nil {
				return err
			}
			seen = append(seen, o)
		}
		holdMost(seen, c.There)
		for _, o := range known {
			inScope := o.Kind == c.Kind && o.Home == c.Home
			if inScope && c.Complete || now.Sub(o.LastSeen) > orphanMemory {
				if err := forgetOrphan(ctx, tx, o); err != nil {
					return err
				}
			}
		}
		for _, o := range seen {
			if err := writeOrphan(ctx, tx, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// sighted returns an orphan with what is known of it. A workspace takes over what is known of its function app, and a
// function app what is known of its workspace.
func sighted(
	ctx context.Context, tx *txn, o Orphan, known []Orphan, now time.Time, maxStep time.Duration,
) (Orphan, error) {
	earlier := -1
	for i, k := range known {
		same := k.Kind == o.Kind && k.Home == o.Home
		if k.ContainerID == o.ContainerID && (same || earlier < 0 || !k.Confirmed.IsZero()) {
			if earlier = i; same {
				break
			}
		}
	}
	if earlier < 0 {
		o.FirstSeen, o.LastSeen, o.Sightings = now, now, 1
		var removed bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM removed_containers WHERE id = $1)", o.ContainerID).
			Scan(&removed)
		if err != nil {
			return o, fmt.Errorf("look for a removal of %s: %w", o.ContainerID, err)
		}
		if !removed {
			o.Held = HeldUnknown
		}
		return o, nil
	}
	k := known[earlier]
	o.Name = cmp.Or(o.Name, k.Name)
	o.FirstSeen, o.LastSeen, o.Sightings, o.Held, o.Confirmed = k.FirstSeen, now, k.Sightings+1, k.Held, k.Confirmed
	o.Waited = k.Waited + min(max(now.Sub(k.LastSeen), 0), maxStep)
	return o, nil
}

// holdMost holds the orphans whose containers were removed when they are most of what is there. A single one is what a
// crash leaves.
func holdMost(seen []Orphan, there int) {
	removed := func(o Orphan) bool { return o.Held != HeldUnknown && o.Confirmed.IsZero() }
	n := 0
	for _, o := range seen {
		if removed(o) {
			n++
		}
	}
	if n < 2 || 2*n <= there {
		return
	}
	for i := range seen {
		if removed(seen[i]) {
			seen[i].Held = HeldMost
		}
	}
}

func writeOrphan(ctx context.Context, tx *txn, o Orphan) error {
	confirmed := sql.NullInt64{Int64: nanos(o.Confirmed), Valid: !o.Confirmed.IsZero()}
	_, err := tx.ExecContext(ctx, "INSERT INTO orphans ("+orphanColumns+") VALUES ("+placeholders(1, 11)+`)
		ON CONFLICT (container_id, kind, home) DO UPDATE SET name = excluded.name, place = excluded.place,
			last_seen = excluded.last_seen, sightings = excluded.sightings, waited = excluded.waited,
			held = excluded.held, confirmed_at = excluded.confirmed_at`,
		o.ContainerID, o.Kind, o.Home, storable(o.Name), o.Place, nanos(o.FirstSeen), nanos(o.LastSeen), o.Sightings,
		int64(o.Waited), o.Held, confirmed)
	if err != nil {
		return fmt.Errorf("remember orphan %s: %w", o.ContainerID, err)
	}
	return nil
}

// Forget forgets an orphan that is gone.
func (db *DB) Forget(ctx context.Context, o Orphan) error {
	return db.tx(ctx, func(tx *txn) error { return forgetOrphan(ctx, tx, o) })
}

func forgetOrphan(ctx context.Context, tx *txn, o Orphan) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM orphans WHERE container_id = $1 AND kind = $2 AND home = $3",
		o.ContainerID, o.Kind, o.Home)
	if err != nil {
		return fmt.Errorf("forget orphan %s: %w", o.ContainerID, err)
	}
	return nil
}

// Orphans lists what the last comparisons of all daemons saw, in the order of their containers.
func (db *DB) Orphans(ctx context.Context) (list []Orphan, err error) {
	defer db.explain(&err)
	return orphans(ctx, db.sql)
}

// Confirm records that a person asked for the removal of orphans, each given by the id of its container or an
// unambiguous prefix of it, and returns them. Orphans that are seen later are not confirmed. One that is not known is a
// NotFound error, and then none is confirmed.
func (db *DB) Confirm(ctx context.Context, refs []string) (confirmed []Orphan, err error) {
	return confirmed, db.tx(ctx, func(tx *txn) error {
		known, err := orphans(ctx, tx)
		if err != nil {
			return err
		}
		wanted := map[string]bool{}
		for _, ref := range refs {
			id, err := orphanID(known, ref)
			if err != nil {
				return err
			}
			wanted[id] = true
		}
		confirmed = nil
		for _, o := range known {
			if !wanted[o.ContainerID] {
				continue
			}
			if o.Confirmed.IsZero() {
				o.Confirmed = db.now().UTC()
			}
			if err := writeOrphan(ctx, tx, o); err != nil {
				return err
			}
			tx.record(audit.Record{
				Action: audit.ActionRequest, Asked: "gc confirm", Container: &audit.Container{ID: o.ContainerID, Name: o.Name},
			})
			confirmed = append(confirmed, o)
		}
		return nil
	})
}

// orphanID returns the id of the container that ref means.
func orphanID(known []Orphan, ref string) (string, error) {
	var ids []string
	for _, o := range known {
		if ref != "" && strings.HasPrefix(o.ContainerID, ref) && !slices.Contains(ids, o.ContainerID) {
			ids = append(ids, o.ContainerID)
		}
	}
	switch len(ids) {
	case 0:
		return "", api.Errorf(api.NotFound, "No such orphan: %q: it is gone, or no comparison has seen it", ref)
	case 1:
		return ids[0], nil
	default:
		return "", api.Errorf(api.InvalidParameter, "Multiple orphans found with provided prefix: %s", ref)
	}
}

func orphans(ctx context.Context, q querier) (list []Orphan, err error) {
	rows, err := q.QueryContext(ctx, "SELECT "+orphanColumns+" FROM orphans ORDER BY container_id, kind, home")
	if err != nil {
		return nil, fmt.Errorf("list orphans: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var o Orphan
		var first, last, confirmed sql.NullInt64
		err := rows.Scan(&o.ContainerID, &o.Kind, &o.Home, &o.Name, &o.Place, &first, &last, &o.Sightings, &o.Waited, &o.Held,
			&confirmed)
		if err != nil {
			return nil, fmt.Errorf("read orphan: %w", err)
		}
		o.FirstSeen, o.LastSeen, o.Confirmed = fromNanos(first), fromNanos(last), fromNanos(confirmed)
		list = append(list, o)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read orphans: %w", err)
	}
	return list, nil
}
