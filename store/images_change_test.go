package store_test

import (
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
	if err := db.TagImage(t.Context(), source, tagged); err != nil {
		t.Fatal(err)
	}
}

// remove is what a removal did, as text.
func remove(t *testing.T, db *store.DB, name string, force bool) string {
	t.Helper()
	done, err := db.RemoveImage(t.Context(), name, force)
	if err != nil {
		t.Fatal(err)
	}
	return told(done)
}

func told(done []api.ImageDeleted) string {
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
		if err := db.TagImage(t.Context(), "none", tagged); api.KindOf(err) != api.NotFound || err.Error() != "No such image: none:latest" {
			t.Errorf("got %v", err)
		}
	})
}

func TestRemoveImage(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		one := func(t *testing.T, db *store.DB) { pull(t, db, "alpine", "a", "1") }
		two := func(t *testing.T, db *store.DB) { one(t, db); tag(t, db, "alpine", "mine:1") }
		used := func(state store.State, images func(*testing.T, *store.DB)) func(*testing.T, *store.DB) {
			return func(t *testing.T, db *store.DB) { images(t, db); use(t, db, "c", "alpine", state) }
		}
		a, c := strings.Repeat("a", 12), strings.Repeat("c", 12)
		for name, row := range map[string]struct {
			setup func(*testing.T, *store.DB)
			image string
			force bool
			done  string
			err   string
			left  []string
		}{
			"the last tag":           {one, "alpine", false, "-alpine:latest -alpine@" + digest("1") + " gone aa", "", []string{}},
			"its digest, a tag left": {one, "alpine@" + digest("1"), false, "-alpine@" + digest("1"), "", []string{"aa alpine:latest"}},
			"one of two tags":        {two, "mine:1", false, "-mine:1", "", []string{"aa alpine:latest alpine@11"}},
			"the other of two tags":  {two, "alpine", false, "-alpine:latest -alpine@" + digest("1"), "", []string{"aa mine:1"}},
			"by id":                  {one, digest("a"), false, "-alpine:latest -alpine@" + digest("1") + " gone aa", "", []string{}},
			"by id, two tags": {two, "aaa", false, "", "conflict: unable to delete " + a + " (must be forced) - image is referenced in multiple repositories",
				[]string{"aa alpine:latest mine:1 alpine@11"}},
			"by id, two tags, forced": {two, "aaa", true, "-alpine:latest -alpine@" + digest("1") + " -mine:1 gone aa", "", []string{}},
			"a tag of a stopped container": {used(store.Creating, one), "alpine:latest", false, "",
				`conflict: unable to remove repository reference "alpine:latest" (must force) - container ` + c + " is using its referenced image " + a, []string{"aa alpine:latest alpine@11 <c creating"}},
			"a tag of a running container": {used(store.Running, one), "alpine", false, "",
				`conflict: unable to remove repository reference "alpine" (must force) - container ` + c + " is using its referenced image " + a, []string{"aa alpine:latest alpine@11 <c running"}},
			"a tag of a stopped container, forced": {used(store.Creating, one), "alpine", true, "-alpine:latest -alpine@" + digest("1") + " gone aa", "", []string{}},
			"a tag of a running container, forced": {used(store.Running, one), "alpine", true, "-alpine:latest -alpine@" + digest("1"), "", []string{"aa <c running"}},
			"one of two tags of a used image":      {used(store.Running, two), "alpine", false, "-alpine:latest -alpine@" + digest("1"), "", []string{"aa mine:1 <c running"}},
			"by id, stopped container": {used(store.Creating, one), "aaa", false, "",
				"conflict: unable to delete " + a + " (must be forced) - image is being used by stopped container " + c, []string{"aa alpine:latest alpine@11 <c creating"}},
			"by id, stopped container, forced": {used(store.Creating, one), "aaa", true, "-alpine:latest -alpine@" + digest("1") + " gone aa", "", []string{}},
			"by id, running container, forced": {used(store.Running, one), "aaa", true, "",
				"conflict: unable to delete " + a + " (cannot be forced) - image is being used by running container " + c, []string{"aa alpine:latest alpine@11 <c running"}},
			"a name that an id begins with": {func(t *testing.T, db *store.DB) { two(t, db); tag(t, db, "alpine", "aaa") }, "aaa", false, "-aaa:latest", "", []string{"aa alpine:latest mine:1 alpine@11"}},
			"a dangling one":                {func(t *testing.T, db *store.DB) { one(t, db); pull(t, db, "alpine", "b", "2") }, "aaa", false, "-alpine@" + digest("1") + " gone aa", "", []string{"bb alpine:latest alpine@22"}},
			"an unresolved one":             {func(t *testing.T, db *store.DB) { pullUnresolved(t, db, "alpine", "x") }, "alpine", false, "-alpine:latest gone c9", "", []string{}},
			"none":                          {one, "mine", false, "", "No such image: mine:latest", []string{"aa alpine:latest alpine@11"}},
		} {
			t.Run(name, func(t *testing.T) {
				db, _ := in.open(t)
				row.setup(t, db)
				done, err := db.RemoveImage(t.Context(), row.image, row.force)
				if got := told(done); got != row.done {
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

// TestRemovedImageLeavesContainers: a container outlives its image, and its removal leaves the image.
func TestRemovedImageLeavesContainers(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		use(t, db, "c", "alpine", store.Creating)
		remove(t, db, "alpine", true)
		if _, err := db.Container(t.Context(), id("c")); err != nil {
			t.Error(err)
		}
		use(t, db, "d", "alpine", store.Creating)
		if err := db.Delete(t.Context(), id("d"), store.Outcome{}); err != nil {
			t.Fatal(err)
		}
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
		if err != nil || told(done) != "-app:1 -app:2 -app@"+digest("2")+" gone bb" {
			t.Errorf("did %q, %v", told(done), err)
		}
		expect(t, db, "aa alpine:latest alpine@11 <c creating", "dd keep:latest keep@44")
	})
}
