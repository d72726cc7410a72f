package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

// digest returns the digest whose digits are all c.
func digest(c string) string { return "sha256:" + id(c) }

func ref(t *testing.T, text string) reference.Named {
	t.Helper()
	named, err := api.ParseReference(text)
	succeed(t, err)
	return named
}

// pull records image c, with manifest m, under a reference.
func pull(t *testing.T, db *store.DB, text, c, m string) {
	t.Helper()
	img := store.Image{ID: digest(c), LayerSizes: []int64{1, 2}, Size: 4}
	img.Spec.OS, img.Spec.Config.Env = "linux", []string{"C=" + c}
	succeed(t, db.RecordImage(t.Context(), ref(t, text), digest(m), img))
}

func pullUnresolved(t *testing.T, db *store.DB, text, reason string) string {
	t.Helper()
	succeed(t, db.RecordUnresolved(t.Context(), ref(t, text), reason))
	return find(t, db, text).ID
}

func find(t *testing.T, db *store.DB, name string) store.Image {
	t.Helper()
	img, err := db.Image(t.Context(), name)
	succeed(t, err)
	return img
}

// use creates a container from an image and brings it to a state.
func use(t *testing.T, db *store.DB, container, image string, state store.State) {
	t.Helper()
	c := store.Container{ID: id(container), Name: "n" + container, FunctionApp: "app", Config: api.Config{Image: image}}
	succeed(t, db.CreateContainer(t.Context(), c))
	if state == store.Running {
		run := store.Run{ID: "run-" + container, ContainerID: c.ID, TraceID: "t", SpanID: "s"}
		succeed(t, db.Provisioned(t.Context(), c.ID, testApp, nothing))
		succeed(t, db.Start(t.Context(), run, nothing))
	}
}

// table returns all images, each as one line.
func table(t *testing.T, db *store.DB) []string {
	t.Helper()
	list, err := db.Images(t.Context())
	succeed(t, err)
	lines := []string{}
	for _, img := range list {
		line := img.ID[7:9]
		if !img.Resolved {
			line = "unresolved(" + img.Error + ")"
		}
		for _, tag := range img.RepoTags() {
			line += " " + tag
		}
		for _, digest := range img.RepoDigests() {
			line += " " + strings.Replace(digest, "sha256:", "", 1)[:len(digest)-7-62]
		}
		for _, u := range img.Users {
			line += " <" + u.ContainerID[:1] + " " + string(u.State)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func expect(t *testing.T, db *store.DB, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, table(t, db)); diff != "" {
		t.Error(diff)
	}
}

func TestImageSurvivesReopening(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg, clock := in.fresh(t), azuretest.NewClock()
		clock.Advance(7)
		cfg.Now = clock.Now
		db, err := store.Open(t.Context(), cfg)
		succeed(t, err)
		want := store.Image{ID: digest("a"), LayerSizes: []int64{10, 20}, Size: 33}
		created := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		want.Spec.Created, want.Spec.Author = &created, "x"
		want.Spec.OS, want.Spec.Architecture = "linux", "amd64"
		want.Spec.Config.Env, want.Spec.Config.Labels = []string{"A=b"}, map[string]string{"k": "v"}
		want.Spec.RootFS.Type = "layers"
		succeed(t, db.RecordImage(t.Context(), ref(t, "team/app:1"), digest("b"), want))
		use(t, db, "c", "team/app:1", store.Creating)
		pullUnresolved(t, db, "alpine", "no route")
		succeed(t, db.Close())
		db = open(t, cfg)
		want.Resolved, want.Recorded = true, clock.Now()
		want.Names = []string{"docker.io/team/app:1", "docker.io/team/app@" + digest("b")}
		want.Users = []store.ImageUser{{ContainerID: id("c"), State: store.Creating}}
		if diff := cmp.Diff(want, find(t, db, "team/app:1")); diff != "" {
			t.Error(diff)
		}
		if got := want.Created(); !got.Equal(created) {
			t.Errorf("created %s", got)
		}
		unresolved := find(t, db, "alpine")
		if unresolved.Resolved || unresolved.Error != "no route" || !unresolved.Created().Equal(clock.Now()) ||
			len(unresolved.ID) != len("sha256:")+64 {
			t.Errorf("got %+v", unresolved)
		}
	})
}

func TestPulls(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		for name, row := range map[string]struct {
			do   func(t *testing.T, db *store.DB)
			want []string
		}{
			"a tag": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine", "a", "1")
			}, []string{"aa alpine:latest alpine@11"}},
			"twice": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine", "a", "1")
				pull(t, db, "docker.io/library/alpine:latest", "a", "1")
			}, []string{"aa alpine:latest alpine@11"}},
			"a digest": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine:3@"+digest("1"), "a", "1")
			}, []string{"aa alpine@11"}},
			"two tags, one image": {func(t *testing.T, db *store.DB) {
				pull(t, db, "r.example.com/app:1", "a", "1")
				pull(t, db, "r.example.com/app:2", "a", "1")
				pull(t, db, "q.example.com/app:2", "a", "2")
			}, []string{"aa q.example.com/app:2 r.example.com/app:1 r.example.com/app:2 " +
				"q.example.com/app@22 r.example.com/app@11"}},
			"the tag has moved": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine", "a", "1")
				use(t, db, "c", "alpine", store.Creating)
				pull(t, db, "alpine", "b", "2")
			}, []string{"aa alpine@11 <c creating", "bb alpine:latest alpine@22"}},
			"another platform of one index": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine", "a", "1")
				pull(t, db, "alpine", "b", "1")
			}, []string{"aa", "bb alpine:latest alpine@11"}},
			"unresolved, twice": {func(t *testing.T, db *store.DB) {
				pullUnresolved(t, db, "alpine", "no route")
				pullUnresolved(t, db, "alpine:latest", "a timeout")
			}, []string{"unresolved(a timeout) alpine:latest"}},
			"unresolved, then resolved": {func(t *testing.T, db *store.DB) {
				pullUnresolved(t, db, "alpine", "no route")
				use(t, db, "c", "alpine", store.Creating)
				pull(t, db, "alpine", "a", "1")
			}, []string{"aa alpine:latest alpine@11 <c creating"}},
			"unresolved under two names, one resolved": {func(t *testing.T, db *store.DB) {
				pullUnresolved(t, db, "alpine", "no route")
				tag(t, db, "alpine", "mine:1")
				pull(t, db, "alpine", "a", "1")
			}, []string{"aa alpine:latest alpine@11", "unresolved(no route) mine:1"}},
			"resolved, then not": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine", "a", "1")
				pullUnresolved(t, db, "alpine", "no route")
			}, []string{"aa alpine:latest alpine@11"}},
			"used and never pulled": {func(t *testing.T, db *store.DB) {
				use(t, db, "c", "r.example.com/app:1", store.Creating)
				use(t, db, "d", "r.example.com/app:1", store.Creating)
				use(t, db, "e", "r.example.com/app@"+digest("5"), store.Creating)
			}, []string{
				"unresolved() r.example.com/app:1 <c creating <d creating", "unresolved() r.example.com/app@55 <e creating",
			}},
			"used after a pull": {func(t *testing.T, db *store.DB) {
				pull(t, db, "alpine", "a", "1")
				use(t, db, "c", "docker.io/alpine", store.Running)
				use(t, db, "d", "alpine@"+digest("1"), store.Creating)
			}, []string{"aa alpine:latest alpine@11 <c running <d creating"}},
			"used again after it was removed by force": {func(t *testing.T, db *store.DB) {
				use(t, db, "c", "alpine", store.Running)
				remove(t, db, "alpine", true)
				use(t, db, "d", "alpine", store.Creating)
			}, []string{"unresolved() alpine:latest <c running <d creating"}},
			"a tag over what is unresolved": {func(t *testing.T, db *store.DB) {
				use(t, db, "c", "alpine", store.Creating)
				pull(t, db, "app", "a", "1")
				tag(t, db, "app", "alpine:latest")
			}, []string{"aa alpine:latest app:latest app@11 <c creating"}},
		} {
			t.Run(name, func(t *testing.T) {
				db, _ := in.open(t)
				row.do(t, db)
				expect(t, db, row.want...)
			})
		}
	})
}

// TestFailedCreateRecordsNoImage expects the image and the container in one transaction.
func TestFailedCreateRecordsNoImage(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		use(t, db, "a", "alpine", store.Creating)
		c := store.Container{ID: id("b"), Name: "na", FunctionApp: "app", Config: api.Config{Image: "other"}}
		err := db.CreateContainer(t.Context(), c)
		if api.KindOf(err) != api.Conflict {
			t.Fatal(err)
		}
		expect(t, db, "unresolved() alpine:latest <a creating")
	})
}

func TestFindImage(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		pull(t, db, "r.example.com/app:1", "a", "1")
		pull(t, db, "abc", "b", "2")
		similar := strings.Repeat("a", 63) + "0"
		succeed(t, db.RecordImage(t.Context(), ref(t, "c"), digest("3"), store.Image{ID: "sha256:" + similar}))
		for name, want := range map[string]string{
			"r.example.com/app:1": digest("a"), "r.example.com/app@" + digest("1"): digest("a"),
			"r.example.com/app:9@" + digest("1"): digest("a"), digest("a"): digest("a"), id("a"): digest("a"),
			"abc": digest("b"), "docker.io/library/abc:latest": digest("b"), "bb": digest("b"), "sha256:bbb": digest("b"),
			similar: "sha256:" + similar,
		} {
			if got, err := db.Image(t.Context(), name); err != nil || got.ID != want {
				t.Errorf("%s: got %s, %v", name, got.ID, err)
			}
		}
		const invalid = "invalid reference format: "
		for name, want := range map[string]struct {
			kind api.Kind
			text string
		}{
			"nope":              {api.NotFound, "No such image: nope:latest"},
			"r.example.com/app": {api.NotFound, "No such image: r.example.com/app:latest"},
			digest("d"):         {api.NotFound, "No such image: " + digest("d")},
			"ddd":               {api.NotFound, "No such image: ddd:latest"},
			"aa":                {api.InvalidParameter, "Multiple IDs found with provided prefix: aa"},
			"A":                 {api.InvalidParameter, invalid + "repository name (library/A) must be lowercase"},
			"":                  {api.InvalidParameter, invalid + `"" is not of the form [HOST/]NAME[:TAG|@DIGEST]`},
		} {
			if _, err := db.Image(t.Context(), name); api.KindOf(err) != want.kind || err.Error() != want.text {
				t.Errorf("%q: got %v, want %q", name, err, want.text)
			}
		}
	})
}

// TestImageChecks writes, past the methods, what no method writes.
func TestImageChecks(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		pull(t, db, "alpine", "a", "1")
		for name, statement := range map[string]string{
			"id without algorithm":    "UPDATE images SET id = 'a'",
			"resolved is not boolean": "UPDATE images SET resolved = 2",
			"resolved with an error":  "UPDATE images SET error = 'x'",
			"spec is not JSON":        "UPDATE images SET spec = '{'",
			"sizes are not JSON":      "UPDATE images SET layer_sizes = '['",
			"negative size":           "UPDATE images SET size = -1",
			"name of nothing":         "INSERT INTO image_names (name, image_id) VALUES ('x', 'sha256:none')",
			"empty name":              "UPDATE image_names SET name = '' WHERE name LIKE '%latest'",
		} {
			if _, err := db.SQL().ExecContext(t.Context(), statement); err == nil {
				t.Errorf("%s: the database accepts it", name)
			}
		}
	})
}

func TestPullReference(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		pull(t, db, "r.io/app:1", "a", "b")
		pull(t, db, "r.io/digested@"+digest("d"), "c", "d")
		loose := pullUnresolved(t, db, "far.io/app:2", "no network")
		pull(t, db, "r.io/bare:1", "e", "f")
		tag(t, db, "r.io/app:1", "copy:2")
		tag(t, db, "r.io/digested@"+digest("d"), "copy:3")
		tag(t, db, "far.io/app:2", "r.io/app:far")
		tag(t, db, "r.io/bare:1", "copy:4")
		for _, name := range []string{"r.io/bare:1", "r.io/bare@" + digest("f")} {
			if _, err := db.RemoveImage(t.Context(), name, false); err != nil && api.KindOf(err) != api.NotFound {
				t.Fatal(err)
			}
		}
		for _, row := range []struct{ name, want string }{
			{"r.io/app:1", "r.io/app:1"},
			{"r.io/app@" + digest("b"), "r.io/app@" + digest("b")},
			{id("a")[:12], "r.io/app:1"},
			{digest("a"), "r.io/app:1"},
			{"copy:2", "r.io/app:1"},
			{"copy:3", "r.io/digested@" + digest("d")},
			{id("c"), "r.io/digested@" + digest("d")},
			{loose, "far.io/app:2"},
			{"r.io/app:far", "far.io/app:2"},
			{"unknown", "unknown"},
			{"feed", "feed"},
			{"copy:4", "image copy:4 has no name left that a registry knows it by: " +
				"pull it again, and use the name that you pull"},
			{digest("9"), "No such image: " + digest("9")},
			{id("9"), "No such image: " + id("9")},
		} {
			got, err := db.PullReference(t.Context(), row.name)
			if err != nil {
				got = err.Error()
			}
			if got != row.want {
				t.Errorf("%s: got %s, want %s", row.name, got, row.want)
			}
		}
	})
}
