package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// derived returns a derived image as a create claims it.
func derived(c string) store.DerivedImage {
	return store.DerivedImage{Reference: "team.azurecr.io/sockerless/wrapped@sha256:" + id(c), Bytes: 5}
}

// claim claims a derived image for container c, and returns how long that must wait.
func claim(t *testing.T, db *store.DB, c string, img store.DerivedImage) time.Duration {
	t.Helper()
	wait, err := db.ClaimDerived(t.Context(), id(c), img)
	succeed(t, err)
	return wait
}

// unused returns the first digits of the unused derived images.
func unused(t *testing.T, db *store.DB) (list []store.DerivedImage, digits string) {
	t.Helper()
	list, err := db.UnusedDerived(t.Context())
	succeed(t, err)
	for _, i := range list {
		digits += strings.TrimPrefix(i.Digest(), "sha256:")[:1]
	}
	return list, digits
}

func TestDerivedImages(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		began := clock.Now()
		for _, c := range []string{"a", "b"} {
			at(t, db, id(c), store.Creating)
			if wait := claim(t, db, c, derived("1")); wait != 0 {
				t.Errorf("waits %s", wait)
			}
			clock.Advance(time.Minute)
		}
		if _, err := db.ClaimDerived(t.Context(), id("f"), derived("1")); api.KindOf(err) != api.NotFound {
			t.Errorf("a claim for no container: %v", err)
		}
		made := api.Derived{Reference: derived("1").Reference, Digest: derived("1").Digest(), Recipe: 1}
		succeed(t, db.RecordDerived(t.Context(), id("a"), made))
		c, err := db.Container(t.Context(), id("a"))
		succeed(t, err)
		if diff := cmp.Diff(&made, c.Derived); diff != "" {
			t.Errorf("recorded: %s", diff)
		}
		if err := db.RecordDerived(t.Context(), id("a"), api.Derived{Reference: derived("2").Reference}); err == nil {
			t.Error("an image is recorded that nobody has claimed")
		}
		// Another attempt derives another image for b.
		claim(t, db, "b", derived("2"))
		if n, err := db.CountDerived(t.Context()); n != 2 || err != nil {
			t.Errorf("%d images, %v", n, err)
		}
		if _, digits := unused(t, db); digits != "" {
			t.Errorf("unused: %s", digits)
		}
		clock.Advance(time.Hour)
		succeed(t, db.Delete(t.Context(), id("b"), nothing))
		list, digits := unused(t, db)
		want := derived("2")
		want.Created, want.LastUsed = began.Add(2*time.Minute), clock.Now()
		if diff := cmp.Diff([]store.DerivedImage{want}, list); diff != "" {
			t.Errorf("unused %s: %s", digits, diff)
		}
	})
}

// TestRemovalAndClaim goes through the orders in which the removal of an image and a create can meet.
func TestRemovalAndClaim(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		for _, c := range []string{"a", "b", "c", "d", "e"} {
			at(t, db, id(c), store.Creating)
		}
		// leave makes the image of container c an unused one.
		leave := func(c string, img store.DerivedImage) store.DerivedImage {
			t.Helper()
			claim(t, db, c, img)
			succeed(t, db.Delete(t.Context(), id(c), nothing))
			list, _ := unused(t, db)
			return list[len(list)-1]
		}
		begin := func(img store.DerivedImage) *store.Removal {
			t.Helper()
			r, err := db.BeginRemoval(t.Context(), img)
			succeed(t, err)
			return r
		}
		img := leave("a", derived("1"))
		removal := begin(img)
		if removal == nil || begin(img) != nil {
			t.Fatal("a removal does not begin, or begins twice")
		}
		woken := db.WatchAll()
		if wait := claim(t, db, "b", img); wait != store.RemovalLease {
			t.Errorf("a claim during a removal waits %s", wait)
		}
		// The registry refuses.
		succeed(t, db.EndRemoval(t.Context(), *removal, false))
		<-woken
		if wait := claim(t, db, "b", img); wait != 0 {
			t.Errorf("a claim after a removal waits %s", wait)
		}
		if begin(img) != nil {
			t.Error("a claimed image is removed")
		}
		succeed(t, db.Delete(t.Context(), id("b"), nothing))
		clock.Advance(time.Second)
		if list, _ := unused(t, db); begin(img) == nil || begin(list[0]) != nil {
			t.Error("an image that was used in the same moment is not removed")
		}
		// The remover has died.
		clock.Advance(store.RemovalLease - time.Nanosecond)
		if wait := claim(t, db, "c", img); wait != time.Nanosecond {
			t.Errorf("a claim at the end of the lease waits %s", wait)
		}
		clock.Advance(time.Nanosecond)
		if wait := claim(t, db, "c", img); wait != 0 {
			t.Errorf("a claim after the lease waits %s", wait)
		}
		succeed(t, db.Delete(t.Context(), id("c"), nothing))
		if list, _ := unused(t, db); begin(img) != nil || begin(list[0]) == nil {
			t.Error("an image that was used since it was listed is removed, or none is")
		}
		// A clock that was set back by hours makes nobody wait for hours.
		clock.Advance(-2 * store.RemovalLease)
		if wait := claim(t, db, "d", img); wait != 0 {
			t.Errorf("a claim before the removal waits %s", wait)
		}
		succeed(t, db.Delete(t.Context(), id("d"), nothing))
		list, _ := unused(t, db)
		removal = begin(list[0])
		before := verified(t, db)
		succeed(t, db.EndRemoval(t.Context(), *removal, true))
		if n, err := db.CountDerived(t.Context()); n != 0 || err != nil {
			t.Errorf("%d images are left, %v", n, err)
		}
		if got := verified(t, db); len(got) != len(before)+1 || !strings.HasSuffix(got[len(got)-1], " image delete") {
			t.Errorf("the trail ends with %v", got[len(before):])
		}
		// A create derives it again.
		if wait := claim(t, db, "e", derived("1")); wait != 0 {
			t.Errorf("a claim of a removed image waits %s", wait)
		}
	})
}

func verified(t *testing.T, db *store.DB) []string {
	t.Helper()
	lines, err := verify(t, db)
	succeed(t, err)
	return lines
}

// shelf is a registry with room for one image, which forgets nothing but what is deleted.
type shelf struct{ there atomic.Bool }

// create is the life of a container that needs an image. A removal is tried while it lives.
func (s *shelf) create(ctx context.Context, db *store.DB, c string, img store.DerivedImage) error {
	if err := db.CreateContainer(ctx, store.Container{ID: id(c), Name: c, FunctionApp: "app"}); err != nil {
		return err
	}
	for {
		changed := db.WatchAll()
		wait, err := db.ClaimDerived(ctx, id(c), img)
		if err != nil {
			return err
		}
		if wait == 0 {
			break
		}
		<-changed
	}
	if !s.there.Load() {
		s.there.Store(true)
	}
	if r, err := db.BeginRemoval(ctx, img); r != nil || err != nil {
		return fmt.Errorf("a removal begins: %v, %w", r, err)
	}
	if !s.there.Load() {
		return errors.New("the image of a container is gone")
	}
	return db.Delete(ctx, id(c), nothing)
}

// prune removes the images that nothing needs.
func (s *shelf) prune(ctx context.Context, db *store.DB) error {
	list, err := db.UnusedDerived(ctx)
	if err != nil {
		return err
	}
	for _, unused := range list {
		r, err := db.BeginRemoval(ctx, unused)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		if _, err := db.CountDerived(ctx); err != nil { // others work meanwhile
			return err
		}
		s.there.Store(false)
		if err := db.EndRemoval(ctx, *r, true); err != nil {
			return err
		}
	}
	return nil
}

// TestContainersKeepTheirImages has creates and removals of one image meet at random.
func TestContainersKeepTheirImages(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		img := derived("1")
		img.LastUsed = clock.Now() // always
		var s shelf
		var creates, prunes errgroup.Group
		done := make(chan struct{})
		for _, c := range []string{"a", "b", "c"} {
			creates.Go(func() (err error) {
				for n := 0; n < 20 && err == nil; n++ {
					err = s.create(t.Context(), db, c, img)
				}
				return err
			})
		}
		for range 2 {
			prunes.Go(func() (err error) {
				for err == nil {
					select {
					case <-done:
						return nil
					default:
						err = s.prune(t.Context(), db)
					}
				}
				return err
			})
		}
		err := creates.Wait()
		close(done)
		succeed(t, err, prunes.Wait())
	})
}

// TestDerivedOfEarlierSchema opens a database of the schema before, with a container that has a derived image.
func TestDerivedOfEarlierSchema(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		db, err := store.Open(t.Context(), cfg)
		succeed(t, err)
		at(t, db, id("a"), store.Created)
		at(t, db, id("b"), store.Creating)
		for _, statement := range []string{
			"DROP TABLE service_plans", "DROP INDEX containers_by_service_plan", "DROP INDEX containers_without_place",
			"ALTER TABLE containers DROP COLUMN service_plan", "ALTER TABLE containers DROP COLUMN place_error",
			"DROP TABLE derived_images", "DROP INDEX containers_by_derived", "ALTER TABLE containers DROP COLUMN derived_ref",
			`UPDATE containers SET derived = '{"reference": "` + derived("1").Reference + `"}' WHERE id = '` + id("a") + "'",
			"UPDATE containers SET derived = '{}' WHERE id = '" + id("b") + "'",
		} {
			exec(t, db, statement)
		}
		before := "PRAGMA user_version = 15"
		if db.Pool() != nil {
			before = "UPDATE schema_version SET version = 15"
		}
		exec(t, db, before)
		succeed(t, db.Close())
		db = open(t, cfg)
		claim(t, db, "b", derived("1"))
		succeed(t, db.Delete(t.Context(), id("b"), nothing))
		if _, digits := unused(t, db); digits != "" {
			t.Errorf("the image of an earlier container is unused: %s", digits)
		}
	})
}
