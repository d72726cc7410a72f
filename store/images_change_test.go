package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func tag(t *testing.T, db *store.DB, source, target string) {
	t.Helper()
	tagged, ok := ref(t, target).(reference.NamedTagged)
	if !ok {
		t.Fatalf("%s has no tag", target)
	}
	succeed(t, db.TagImage(t.Context(), source, tagged))
}

// remove removes an image and returns the changes in short.
func remove(t *testing.T, db *store.DB, name string, force bool) string {
	t.Helper()
	done, err := db.RemoveImage(t.Context(), name, force)
	succeed(t, err)
	return short(done)
}

// short returns changes as one string.
func short(done []api.ImageDeleted) string {
	words := []string{}
	for _, d := range done {
		if d.Untagged != "" {
			words = append(words, "-"+d.Untagged)
		} else {
			words = append(words, "gone "+d.Deleted[7:9])
		}
	}
	return strings.Join(words, " ")
}

func TestTagImage(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		pull(t, db, "alpine", "a", "1")
		pull(t, db, "other", "b", "2")
		tag(t, db, "alpine", "mine:1")
		tag(t, db, digest("a"), "alpine:latest")
		expect(t, db, "aa alpine:latest mine:1 alpine@11", "bb other:latest other@22")
		tag(t, db, "bb", "mine:1")
		tag(t, db, "bb", "alpine:latest")
		expect(t, db, "aa alpine@11", "bb alpine:latest mine:1 other:latest other@22")
		tagged, ok := ref(t, "x:1").(reference.NamedTagged)
		if !ok {
			t.Fatal("x:1 has no tag")
		}
		err := db.TagImage(t.Context(), "none", tagged)
		if api.KindOf(err) != api.NotFound || err.Error() != "No such image: none:latest" {
			t.Errorf("got %v", err)
		}
	})
}

// removal is a removal of an image. setup records images and containers. done and left are what the removal changes and
// leaves, in short. err is the message of a refusal.
type removal struct {
	setup func(*testing.T, *store.DB)
	image string
	force bool
	done  string
	err   string
	left  []string
}

func removals() map[string]removal {
	one := func(t *testing.T, db *store.DB) { pull(t, db, "alpine", "a", "1") }
	two := func(t *testing.T, db *store.DB) { one(t, db); tag(t, db, "alpine", "mine:1") }
	used := func(state store.State, images func(*testing.T, *store.DB)) func(*testing.T, *store.DB) {
		return func(t *testing.T, db *store.DB) { images(t, db); use(t, db, "c", "alpine", state) }
	}
	a, c, alpine := strings.Repeat("a", 12), strings.Repeat("c", 12), "alpine@"+digest("1")
	const both, creating, running = "aa alpine:latest mine:1 alpine@11",
		"aa alpine:latest alpine@11 <c creating", "aa alpine:latest alpine@11 <c running"
	const inUse = "conflict: unable to remove repository reference %q (must force) - " +
		"container %s is using its referenced image %s"
	return map[string]removal{
		"the last tag": {
			setup: one, image: "alpine", done: "-alpine:latest -" + alpine + " gone aa", left: []string{},
		},
		"its digest, a tag left": {
			setup: one, image: alpine, done: "-" + alpine, left: []string{"aa alpine:latest"},
		},
		"one of two tags": {
			setup: two, image: "mine:1", done: "-mine:1", left: []string{"aa alpine:latest alpine@11"},
		},
		"the other of two tags": {
			setup: two, image: "alpine", done: "-alpine:latest -" + alpine, left: []string{"aa mine:1"},
		},
		"by id": {
			setup: one, image: digest("a"), done: "-alpine:latest -" + alpine + " gone aa", left: []string{},
		},
		"by id, two tags": {
			setup: two, image: "aaa", left: []string{both},
			err: "conflict: unable to delete " + a + " (must be forced) - image is referenced in multiple repositories",
		},
		"by id, two tags, forced": {
			setup: two, image: "aaa", force: true, done: "-alpine:latest -" + alpine + " -mine:1 gone aa", left: []string{},
		},
		"a tag of a stopped container": {
			setup: used(store.Creating, one), image: "alpine:latest", left: []string{creating},
			err: fmt.Sprintf(inUse, "alpine:latest", c, a),
		},
		"a tag of a running container": {
			setup: used(store.Running, one), image: "alpine", left: []string{running},
			err: fmt.Sprintf(inUse, "alpine", c, a),
		},
		"a tag of a stopped container, forced": {
			setup: used(store.Creating, one), image: "alpine", force: true,
			done: "-alpine:latest -" + alpine + " gone aa", left: []string{},
		},
		"a tag of a running container, forced": {
			setup: used(store.Running, one), image: "alpine", force: true,
			done: "-alpine:latest -" + alpine, left: []string{"aa <c running"},
		},
		"one of two tags of a used image": {
			setup: used(store.Running, two), image: "alpine",
			done: "-alpine:latest -" + alpine, left: []string{"aa mine:1 <c running"},
		},
		"by id, stopped container": {
			setup: used(store.Creating, one), image: "aaa", left: []string{creating},
			err: "conflict: unable to delete " + a + " (must be forced) - image is being used by stopped container " + c,
		},
		"by id, stopped container, forced": {
			setup: used(store.Creating, one), image: "aaa", force: true,
			done: "-alpine:latest -" + alpine + " gone aa", left: []string{},
		},
		"by id, running container, forced": {
			setup: used(store.Running, one), image: "aaa", force: true, left: []string{running},
			err: "conflict: unable to delete " + a + " (cannot be forced) - image is being used by running container " + c,
		},
		"a name that an id begins with": {
			setup: func(t *testing.T, db *store.DB) { two(t, db); tag(t, db, "alpine", "aaa") },
			image: "aaa", done: "-aaa:latest", left: []string{both},
		},
		"a dangling one": {
			setup: func(t *testing.T, db *store.DB) { one(t, db); pull(t, db, "alpine", "b", "2") },
			image: "aaa", done: "-" + alpine + " gone aa", left: []string{"bb alpine:latest alpine@22"},
		},
		"an unresolved one": {
			setup: func(t *testing.T, db *store.DB) { pullUnresolved(t, db, "alpine", "x") },
			image: "alpine", done: "-alpine:latest gone c9", left: []string{},
		},
		"none": {
			setup: one, image: "mine", left: []string{"aa alpine:latest alpine@11"}, err: "No such image: mine:latest",
		},
	}
}

func TestRemoveImage(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		for name, row := range removals() {
			t.Run(name, func(t *testing.T) {
				db, _ := in.open(t)
				row.setup(t, db)
				done, err := db.RemoveImage(t.Context(), row.image, row.force)
				if got := short(done); got != row.done {
					t.Errorf("did %q, want %q", got, row.done)
				}
				kind := api.Conflict
				if strings.HasPrefix(row.err, "No such") {
					kind = api.NotFound
				}
				if err != nil && (err.Error() != row.err || api.KindOf(err) != kind) || err == nil && row.err != "" {
					t.Errorf("got %v, want %q", err, row.err)
				}
				if diff := cmp.Diff(row.left, table(t, db)); diff != "" {
					t.Error(diff)
				}
			})
		}
	})
}

// TestRemovedImageLeavesContainers expects a container to outlive its image, and an image to outlive its container.
func TestRemovedImageLeavesContainers(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		use(t, db, "c", "alpine", store.Creating)
		remove(t, db, "alpine", true)
		if _, err := db.Container(t.Context(), id("c")); err != nil {
			t.Error(err)
		}
		use(t, db, "d", "alpine", store.Creating)
		succeed(t, db.Delete(t.Context(), id("d"), nothing))
		expect(t, db, "unresolved() alpine:latest")
	})
}

func TestPruneImages(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		pull(t, db, "alpine", "a", "1")
		use(t, db, "c", "alpine", store.Creating)
		pull(t, db, "app:1", "b", "2")
		pull(t, db, "app:2", "b", "2")
		pull(t, db, "keep", "d", "4")
		done, err := db.PruneImages(t.Context(), func(i store.Image) bool { return i.RepoTags()[0] != "keep:latest" })
		if err != nil || short(done) != "-app:1 -app:2 -app@"+digest("2")+" gone bb" {
			t.Errorf("did %q, %v", short(done), err)
		}
		expect(t, db, "aa alpine:latest alpine@11 <c creating", "dd keep:latest keep@44")
	})
}
