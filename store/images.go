package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
)

// Image describes an image, as far as it is known.
type Image struct {
	// ID is the digest of the image's configuration. While the image is not resolved, ID is derived from its reference.
	ID string
	// Names are the full references of the image, each with a tag or a digest, in order. There may be none.
	Names []string
	// Resolved reports whether the registry has described the image. Otherwise Spec, LayerSizes and Size are zero.
	Resolved bool
	// Error is the reason why the image is not resolved, "" when nobody has asked the registry.
	Error string
	Spec  api.ImageSpec
	// LayerSizes are the sizes of the layers, and Size is the size of the whole image, in bytes as stored in the registry.
	LayerSizes []int64
	Size       int64
	Recorded   time.Time
	// Users are the containers that were created from the image.
	Users []ImageUser
}

// ImageUser is a container that was created from an image.
type ImageUser struct {
	ContainerID string
	State       State
}

// Created returns the time at which the image was built or, when that is unknown, the time at which it was recorded.
func (i Image) Created() time.Time {
	if i.Spec.Created != nil {
		return i.Spec.Created.UTC()
	}
	return i.Recorded
}

// RepoTags returns the names with a tag, in their short form. It is never nil.
func (i Image) RepoTags() []string { return i.familiar(false) }

// RepoDigests returns the names with a digest, in their short form. It is never nil.
func (i Image) RepoDigests() []string { return i.familiar(true) }

func (i Image) familiar(digests bool) []string {
	list := []string{}
	for _, name := range i.Names {
		if isDigest(name) == digests {
			list = append(list, familiar(name))
		}
	}
	return list
}

func isDigest(name string) bool { return strings.Contains(name, "@") }

// repository returns a name without its tag or digest.
func repository(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return ref.Name()
	}
	return name
}

// familiar returns the short form of a full name.
func familiar(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.FamiliarString(ref)
	}
	return name
}

// RecordImage records that ref, and ref's repository with digest, now name img, which was pulled. digest is that of the
// manifest or index. An image that ref named before loses this name. An unresolved image that ref named before is
// replaced by img. RecordImage ignores the Names, Users and Recorded of img.
func (db *DB) RecordImage(ctx context.Context, ref reference.Named, digest string, img Image) error {
	return db.recordImage(ctx, ref, digest, img, true)
}

// LookedUpImage is RecordImage for an image that nobody has pulled: there is no event.
func (db *DB) LookedUpImage(ctx context.Context, ref reference.Named, digest string, img Image) error {
	return db.recordImage(ctx, ref, digest, img, false)
}

func (db *DB) recordImage(ctx context.Context, ref reference.Named, digest string, img Image, pulled bool) error {
	spec, err := json.Marshal(img.Spec)
	if err != nil {
		return fmt.Errorf("encode image: %w", err)
	}
	sizes, err := json.Marshal(append([]int64{}, img.LayerSizes...)) // never null
	if err != nil {
		return fmt.Errorf("encode image: %w", err)
	}
	return db.tx(ctx, func(tx *txn) error {
		// Another registry may compress the same image differently.
		_, err := tx.ExecContext(ctx, `INSERT INTO images (id, resolved, spec, layer_sizes, size, recorded_at)
			VALUES ($1, TRUE, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET layer_sizes = excluded.layer_sizes, size = excluded.size`,
			img.ID, string(spec), string(sizes), img.Size, nanos(db.now()))
		if err != nil {
			return fmt.Errorf("insert image: %w", err)
		}
		for _, name := range []string{ref.Name() + "@" + digest, ref.String()} {
			if err := setName(ctx, tx, name, img.ID, false); err != nil {
				return err
			}
		}
		if !pulled {
			return nil
		}
		return db.imageEvent(ctx, tx, api.EventPull, img.ID, reference.FamiliarString(ref))
	})
}

// RecordUnresolved records that ref was pulled while its registry could not be asked, for a reason. A known image keeps
// its data.
func (db *DB) RecordUnresolved(ctx context.Context, ref reference.Named, reason string) error {
	return db.tx(ctx, func(tx *txn) error {
		id, err := db.imageNamed(ctx, tx, ref)
		if err != nil {
			return err
		}
		const query = "UPDATE images SET error = $1 WHERE id = $2 AND resolved = FALSE"
		if _, err := tx.ExecContext(ctx, query, storable(reason), id); err != nil {
			return fmt.Errorf("change image: %w", err)
		}
		return db.imageEvent(ctx, tx, api.EventPull, id, reference.FamiliarString(ref))
	})
}

// useImage records that a container was created from the image that it names. An unknown image becomes a known one that
// is not resolved.
func (db *DB) useImage(ctx context.Context, tx *txn, c Container) error {
	ref, err := api.ParseReference(c.Config.Image)
	if err != nil {
		return nil // the container names no image; the caller decides whether that is allowed
	}
	id, err := db.imageNamed(ctx, tx, ref)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE containers SET image_id = $1 WHERE id = $2", id, c.ID); err != nil {
		return fmt.Errorf("record image of container: %w", err)
	}
	return nil
}

// imageNamed returns the id of the image that ref names. When there is none, it inserts one that is not resolved.
func (db *DB) imageNamed(ctx context.Context, tx *txn, ref reference.Named) (string, error) {
	id, err := idNamed(ctx, tx, ref.String())
	if err != nil || id != "" {
		return id, err
	}
	sum := sha256.Sum256([]byte(ref.String()))
	id = "sha256:" + hex.EncodeToString(sum[:])
	_, err = tx.ExecContext(ctx, `INSERT INTO images (id, resolved, recorded_at) VALUES ($1, FALSE, $2)
		ON CONFLICT (id) DO NOTHING`, id, nanos(db.now()))
	if err != nil {
		return "", fmt.Errorf("insert image: %w", err)
	}
	return id, setName(ctx, tx, ref.String(), id, false)
}

// idNamed returns the id of the image with that name, "" when there is none.
func idNamed(ctx context.Context, tx *txn, name string) (id string, err error) {
	err = tx.QueryRowContext(ctx, "SELECT image_id FROM image_names WHERE name = $1", name).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look up image name: %w", err)
	}
	return id, nil
}

// setName gives a name to an image. local means that no registry knows the image by this name. An unresolved image
// that loses its only name to the image was a placeholder for the name: setName deletes it and gives its containers
// the image.
func setName(ctx context.Context, tx *txn, name, id string, local bool) error {
	before, err := idNamed(ctx, tx, name)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO image_names (name, image_id, local) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, local = excluded.local`, name, id, local)
	if err != nil {
		return fmt.Errorf("name image: %w", err)
	}
	if before == "" || before == id {
		return nil
	}
	const nameless = `SELECT id FROM images WHERE id = $1 AND resolved = FALSE
		AND NOT EXISTS (SELECT 1 FROM image_names WHERE image_id = images.id)`
	const follow = "UPDATE containers SET image_id = $2 WHERE image_id IN (" + nameless + ")"
	if _, err := tx.ExecContext(ctx, follow, before, id); err != nil {
		return fmt.Errorf("record image of container: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM images WHERE id IN ("+nameless+")", before); err != nil {
		return fmt.Errorf("delete image: %w", err)
	}
	return nil
}

// Image finds an image by its whole id, its name, or a unique prefix of its id, in this order. An id may have or lack
// its "sha256:". Image returns a NotFound error for no image, and an InvalidParameter error for an invalid name and
// an ambiguous prefix.
func (db *DB) Image(ctx context.Context, name string) (img Image, err error) {
	defer db.explain(&err)
	return db.findImage(ctx, db.sql, name)
}

func (db *DB) findImage(ctx context.Context, q querier, name string) (Image, error) {
	missing := api.Errorf(api.NotFound, "No such image: %s", name)
	prefix := "sha256:" + hexPrefix(strings.TrimPrefix(name, "sha256:"))
	if len(prefix) < len("sha256:")+64 {
		ref, err := api.ParseReference(name)
		isID := strings.HasPrefix(name, "sha256:")
		if err != nil && !isID && api.KindOf(err) != api.Forbidden {
			return Image{}, err
		}
		if err == nil {
			missing = api.Errorf(api.NotFound, "No such image: %s", reference.FamiliarString(ref))
			found, err := db.images(ctx, q, "WHERE id = (SELECT image_id FROM image_names WHERE name = $1)", ref.String())
			if err != nil {
				return Image{}, err
			}
			if len(found) == 1 {
				return found[0], nil
			}
		}
		if prefix == "sha256:" {
			return Image{}, missing
		}
	}
	found, err := db.images(ctx, q, "WHERE id >= $1 AND id < $2", prefix, upTo(prefix))
	switch {
	case err != nil:
		return Image{}, err
	case len(found) == 0:
		return Image{}, missing
	case len(found) > 1:
		return Image{}, api.Errorf(api.InvalidParameter, "Multiple IDs found with provided prefix: %s", name)
	default:
		return found[0], nil
	}
}

// PullReference returns the reference by which Azure can pull the image that Image finds by name:
//
//	name                                  result
//	names no known image                  name itself
//	is an id of no known image            a NotFound error
//	a registry knows the image by it      name itself
//	is an id, or was given by TagImage    a name by which the image was pulled or created, a tag before a digest
//	the same, but no such name is left    a Conflict error
func (db *DB) PullReference(ctx context.Context, name string) (pull string, err error) {
	defer db.explain(&err)
	img, err := db.findImage(ctx, db.sql, name)
	isID := strings.HasPrefix(name, "sha256:") || len(hexPrefix(name)) == 64
	if api.KindOf(err) == api.NotFound && !isID {
		return name, nil
	}
	if err != nil {
		return "", err
	}
	var named string
	// A name that does not parse, or is not a name of the found image, is an id.
	if ref, err := api.ParseReference(name); err == nil {
		named = ref.String()
	}
	err = db.sql.QueryRowContext(ctx, `SELECT name FROM image_names WHERE image_id = $1 AND local = FALSE
		ORDER BY name = $2 DESC, name LIKE '%@%', name LIMIT 1`, img.ID, named).Scan(&pull)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", api.Errorf(api.Conflict, "image %s has no name left that a registry knows it by: "+
			"pull it again, and use the name that you pull", name)
	case err != nil:
		return "", fmt.Errorf("look up image name: %w", err)
	case pull == named:
		return name, nil
	}
	return familiar(pull), nil
}

// Images lists all images.
func (db *DB) Images(ctx context.Context) (list []Image, err error) {
	defer db.explain(&err)
	return db.images(ctx, db.sql, "")
}

// images reads the images that where selects, the last recorded first.
func (db *DB) images(ctx context.Context, q querier, where string, args ...any) (list []Image, err error) {
	rows, err := q.QueryContext(ctx, `SELECT id, resolved, error, spec, layer_sizes, size, recorded_at,
			(SELECT `+db.dialect.names+` FROM image_names WHERE image_id = images.id),
			(SELECT `+db.dialect.users+` FROM containers WHERE image_id = images.id)
		FROM images `+where+" ORDER BY recorded_at DESC, id", args...)
	if err != nil {
		return nil, fmt.Errorf("read images: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var i Image
		var spec, sizes, names, users string
		var recorded sql.NullInt64
		if err := rows.Scan(&i.ID, &i.Resolved, &i.Error, &spec, &sizes, &i.Size, &recorded, &names, &users); err != nil {
			return nil, fmt.Errorf("read image: %w", err)
		}
		i.Recorded = fromNanos(recorded)
		for _, field := range []struct {
			from string
			into any
		}{{spec, &i.Spec}, {sizes, &i.LayerSizes}, {names, &i.Names}, {users, &i.Users}} {
			if err := json.Unmarshal([]byte(field.from), field.into); err != nil {
				return nil, fmt.Errorf("decode image %s: %w", i.ID, err)
			}
		}
		list = append(list, i)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read images: %w", err)
	}
	return list, nil
}

// imageEvent records an event of an image within the change. name is the reference or, where there is none, the id.
// As in Docker, the actor of a pull is the name, and the actor of any other event is the id.
func (db *DB) imageEvent(ctx context.Context, tx *txn, action api.EventAction, id, name string) error {
	tx.record(audit.Record{
		Action: audit.ActionImage, Asked: string(action), Image: &audit.Image{ID: id, Name: name},
	})
	actor := name
	if action != api.EventPull {
		actor = id
	}
	return db.insertEvent(ctx, tx, api.ImageEvent, action, actor, map[string]string{"name": name})
}

// ImageNames returns the ids of all images by their full names.
func (db *DB) ImageNames(ctx context.Context) (ids map[string]string, err error) {
	defer db.explain(&err)
	rows, err := db.sql.QueryContext(ctx, "SELECT name, image_id FROM image_names")
	if err != nil {
		return nil, fmt.Errorf("list image names: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ids = map[string]string{}
	for rows.Next() {
		var name, id string
		if err := rows.Scan(&name, &id); err != nil {
			return nil, fmt.Errorf("list image names: %w", err)
		}
		ids[name] = id
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list image names: %w", err)
	}
	return ids, nil
}
