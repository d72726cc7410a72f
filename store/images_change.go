package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
)

// TagImage gives the image that Image finds by source one more name. Another image that has the name loses it.
func (db *DB) TagImage(ctx context.Context, source string, target reference.NamedTagged) error {
	return db.tx(ctx, func(tx *txn) error {
		img, err := db.findImage(ctx, tx, source)
		if err != nil {
			return err
		}
		if err := setName(ctx, tx, target.String(), img.ID, true); err != nil {
			return err
		}
		return db.imageEvent(ctx, tx, api.EventTag, img.ID, reference.FamiliarString(target))
	})
}

// RemoveImage takes a name from an image. It forgets the image with its last name. Given an id, or a prefix of one, it
// forgets the image with all its names. It needs force to remove several names, and to remove an image that a container
// uses. It never forgets the image of a running container. RemoveImage returns the changes in order. A refusal is a
// Conflict error and changes nothing.
func (db *DB) RemoveImage(ctx context.Context, name string, force bool) (done []api.ImageDeleted, err error) {
	err = db.tx(ctx, func(tx *txn) error {
		done, err = db.removeImage(ctx, tx, name, force)
		return err
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// removeImage follows the rules, and uses the messages, of Docker's daemon.
func (db *DB) removeImage(ctx context.Context, tx *txn, name string, force bool) ([]api.ImageDeleted, error) {
	img, err := db.findImage(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	running, stopped := img.user(true), img.user(false)
	gone := img.Names
	// A name that does not parse, or is not a name of the found image, is an id.
	if ref, err := api.ParseReference(name); err == nil && slices.Contains(img.Names, ref.String()) {
		if user := cmp.Or(running, stopped); !force && isSingle(img.Names) && user != "" {
			return nil, api.Errorf(api.Conflict, "conflict: unable to remove repository reference %q (must force) - "+
				"container %s is using its referenced image %s", name, shortID(user), shortID(img.ID))
		}
		gone = namesWith(img.Names, ref.String())
	} else {
		switch {
		case running != "":
			return nil, api.Errorf(api.Conflict, "conflict: unable to delete %s (cannot be forced) - "+
				"image is being used by running container %s", shortID(img.ID), shortID(running))
		case !force && !isSingle(img.Names):
			return nil, api.Errorf(api.Conflict, "conflict: unable to delete %s (must be forced) - "+
				"image is referenced in multiple repositories", shortID(img.ID))
		case !force && stopped != "":
			return nil, api.Errorf(api.Conflict, "conflict: unable to delete %s (must be forced) - "+
				"image is being used by stopped container %s", shortID(img.ID), shortID(stopped))
		}
	}
	done := make([]api.ImageDeleted, 0, len(gone)+1)
	for _, name := range gone {
		if _, err := tx.ExecContext(ctx, "DELETE FROM image_names WHERE name = $1", name); err != nil {
			return nil, fmt.Errorf("untag image: %w", err)
		}
		if err := db.imageEvent(ctx, tx, api.EventUntag, img.ID, familiar(name)); err != nil {
			return nil, err
		}
		done = append(done, api.ImageDeleted{Untagged: familiar(name)})
	}
	// The image has other names, or a running container keeps it although its last name was removed by force.
	if len(gone) < len(img.Names) || running != "" {
		return done, nil
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM images WHERE id = $1", img.ID); err != nil {
		return nil, fmt.Errorf("delete image: %w", err)
	}
	if err := db.imageEvent(ctx, tx, api.EventDelete, img.ID, img.ID); err != nil {
		return nil, err
	}
	return append(done, api.ImageDeleted{Deleted: img.ID}), nil
}

// PruneImages forgets the images that no container uses and that match selects, with all their names. It returns the
// changes in order.
func (db *DB) PruneImages(ctx context.Context, match func(Image) bool) (done []api.ImageDeleted, err error) {
	err = db.tx(ctx, func(tx *txn) error {
		list, err := db.images(ctx, tx, "")
		if err != nil {
			return err
		}
		for _, img := range list {
			if len(img.Users) > 0 || !match(img) {
				continue
			}
			removed, err := db.removeImage(ctx, tx, img.ID, true)
			if err != nil {
				return err
			}
			done = append(done, removed...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// user returns the id of the first container that was created from the image and is running, or is not running. It
// returns "" when there is none.
func (i Image) user(running bool) string {
	for _, u := range i.Users {
		if (u.State == Running) == running {
			return u.ContainerID
		}
	}
	return ""
}

// isSingle reports whether names are at most one tag, and digests of the same repository.
func isSingle(names []string) bool {
	var tags int
	repositories := map[string]bool{}
	for _, name := range names {
		repositories[repository(name)] = true
		if !isDigest(name) {
			tags++
		}
	}
	return tags <= 1 && len(repositories) <= 1
}

// namesWith returns name and, when name is the last tag of its repository, the digests of that repository.
func namesWith(names []string, name string) []string {
	gone := []string{name}
	if isDigest(name) {
		return gone
	}
	var digests []string
	for _, other := range names {
		if other == name || repository(other) != repository(name) {
			continue
		}
		if !isDigest(other) {
			return gone
		}
		digests = append(digests, other)
	}
	return slices.Concat(gone, digests)
}

// shortID returns the first 12 digits of an id, the form for people.
func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
