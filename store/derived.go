package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// A derived image must not be removed while a container needs it, although the registry knows no transactions, and
// although one daemon may derive an image while another removes it. Therefore two transactions frame what daemons ask
// of the registry:
//
//	a create     ClaimDerived, then HEAD and PUT of the image, then RecordDerived
//	a removal    BeginRemoval, then DELETE of the image, then EndRemoval
//
// ClaimDerived names the image in the container's row. BeginRemoval marks the image, unless a row names it. While the
// mark stands, and for RemovalLease at most, ClaimDerived has the create wait. A remover ends its DELETE well within
// RemovalLease of the mark, and before it takes the mark away.
//
// So no DELETE follows, or overlaps, what a create asks of the registry. The transactions are serialized. Take a claim
// that succeeds, and any removal:
//
//   - The removal is marked after the claim: not as long as the container's row is there.
//   - It was marked before the claim: the mark has been taken away, or is older than RemovalLease. In both cases the
//     DELETE has ended before the claim, and thus before HEAD and PUT. HEAD then finds no image, and PUT puts one.
//
// This takes clocks of daemons that agree to a minute, as other parts do, and a remover that keeps its deadline.

// RemovalLease is the time for which BeginRemoval keeps others from an image. Whoever removes one must send nothing to
// the registry in the last minute and a half of it.
const RemovalLease = 2 * time.Minute

// DerivedImage is an image that a daemon on this database has derived, and pushed or is about to push.
type DerivedImage struct {
	Reference string // with a digest
	Bytes     int64  // that its removal frees in the registry
	// Created is the time of the first claim, and LastUsed that of the last claim, or of the end of the last container.
	Created, LastUsed time.Time
}

// Digest returns the digest of the image.
func (i DerivedImage) Digest() string { return api.DigestIn(i.Reference) }

// Removal is a removal under way.
type Removal struct {
	DerivedImage
	began int64
}

// notNamed is the condition that no container needs an image of derived_images.
const notNamed = "NOT EXISTS (SELECT 1 FROM containers WHERE derived_ref = derived_images.ref)"

// ClaimDerived records that a container needs a derived image, which nobody has looked for in the registry yet. img has
// Reference and Bytes. From then on the image is not removed until the container is gone, or claims another one. While
// a removal of the image is under way, ClaimDerived records nothing and returns the longest time that it takes: claim
// again then, and when WatchAll wakes.
func (db *DB) ClaimDerived(ctx context.Context, containerID string, img DerivedImage) (wait time.Duration, err error) {
	err = db.tx(ctx, func(tx *txn) error {
		now := db.now()
		var began sql.NullInt64
		err := tx.QueryRowContext(ctx, "SELECT removing_at FROM derived_images WHERE ref = $1", img.Reference).Scan(&began)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look up derived image: %w", err)
		}
		if wait = leaseLeft(began, now); wait > 0 {
			return nil
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO derived_images (ref, bytes, created_at, last_used_at)
			VALUES ($1, $2, $3, $3)
			ON CONFLICT (ref) DO UPDATE SET last_used_at = excluded.last_used_at, removing_at = NULL`,
			img.Reference, img.Bytes, nanos(now))
		if err != nil {
			return fmt.Errorf("claim derived image: %w", err)
		}
		res, err := tx.ExecContext(ctx, "UPDATE containers SET derived_ref = $1 WHERE id = $2", img.Reference, containerID)
		return changed(ctx, tx, containerID, res, err)
	})
	return wait, err
}

// leaseLeft returns what is left of the lease of a removal, 0 for none. A removal that begins a whole lease from now
// began before the clock was set back.
func leaseLeft(began sql.NullInt64, now time.Time) time.Duration {
	left := RemovalLease - now.Sub(fromNanos(began))
	if !began.Valid || left >= 2*RemovalLease {
		return 0
	}
	return max(left, 0)
}

// RecordDerived keeps which image Azure runs in place of a container's own. The container must have claimed it.
func (db *DB) RecordDerived(ctx context.Context, id string, d api.Derived) error {
	content, err := encodeDerived(&d)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *txn) error {
		res, err := tx.ExecContext(ctx, "UPDATE containers SET derived = $1 WHERE id = $2 AND derived_ref = $3",
			content, id, d.Reference)
		return changed(ctx, tx, id, res, err)
	})
}

// UnusedDerived lists the derived images that no container needs, the longest unused first.
func (db *DB) UnusedDerived(ctx context.Context) (list []DerivedImage, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, `SELECT ref, bytes, created_at, last_used_at FROM derived_images
		WHERE `+notNamed+" ORDER BY last_used_at, ref")
	if err != nil {
		return nil, fmt.Errorf("list derived images: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var i DerivedImage
		var created, used sql.NullInt64
		if err := rows.Scan(&i.Reference, &i.Bytes, &created, &used); err != nil {
			return nil, fmt.Errorf("read derived image: %w", err)
		}
		i.Created, i.LastUsed = fromNanos(created), fromNanos(used)
		list = append(list, i)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read derived images: %w", err)
	}
	return list, nil
}

// CountDerived returns the number of derived images.
func (db *DB) CountDerived(ctx context.Context) (n int, err error) {
	defer db.explain(&err)
	if err := db.sql.QueryRowContext(ctx, "SELECT count(*) FROM derived_images").Scan(&n); err != nil {
		return 0, fmt.Errorf("count derived images: %w", err)
	}
	return n, nil
}

// BeginRemoval begins the removal of an image that UnusedDerived has listed. It returns nil when the image was used
// since, and when somebody else is removing it. Otherwise the caller deletes the image in the registry, within half a
// minute, and calls EndRemoval. A caller that does not know what has become of its request calls nothing: when
// RemovalLease is over, the image can be claimed again, and be removed again.
func (db *DB) BeginRemoval(ctx context.Context, img DerivedImage) (r *Removal, err error) {
	err = db.tx(ctx, func(tx *txn) error {
		now := db.now()
		var began sql.NullInt64
		err := tx.QueryRowContext(ctx, `SELECT removing_at FROM derived_images
			WHERE ref = $1 AND last_used_at = $2 AND `+notNamed, img.Reference, nanos(img.LastUsed)).Scan(&began)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look up derived image: %w", err)
		}
		if leaseLeft(began, now) > 0 {
			return nil
		}
		r = &Removal{img, nanos(now)}
		_, err = tx.ExecContext(ctx, "UPDATE derived_images SET removing_at = $1 WHERE ref = $2", r.began, img.Reference)
		if err != nil {
			return fmt.Errorf("begin removal of derived image: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// EndRemoval ends a removal: the registry has deleted the image, or has refused to and the image stays.
func (db *DB) EndRemoval(ctx context.Context, r Removal, deleted bool) error {
	query := "UPDATE derived_images SET removing_at = NULL WHERE ref = $1 AND removing_at = $2"
	if deleted {
		query = "DELETE FROM derived_images WHERE ref = $1 AND removing_at = $2"
	}
	return db.tx(ctx, func(tx *txn) error {
		if _, err := tx.ExecContext(ctx, query, r.Reference, r.began); err != nil {
			return fmt.Errorf("end removal of derived image: %w", err)
		}
		tx.wake(r.Digest())
		if !deleted {
			return nil
		}
		return db.imageEvent(ctx, tx, api.EventDelete, r.Digest(), r.Reference)
	})
}

// leaveDerived records that a container, which is about to go, has used its derived image until now.
func (db *DB) leaveDerived(ctx context.Context, tx *txn, containerID string) error {
	_, err := tx.ExecContext(ctx, `UPDATE derived_images SET last_used_at = $1
		WHERE ref = (SELECT derived_ref FROM containers WHERE id = $2)`, nanos(db.now()), containerID)
	if err != nil {
		return fmt.Errorf("leave derived image of container %s: %w", containerID, err)
	}
	return nil
}

func encodeDerived(d *api.Derived) (string, error) {
	if d == nil {
		return "", nil
	}
	content, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("encode derived image: %w", err)
	}
	return string(content), nil
}
