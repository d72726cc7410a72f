package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
)

func TestImageOfAContainer(t *testing.T) {
	f := setup(t)
	id := f.create(t, "web")
	image := request.Image
	got, err := f.ImageInspect(t.Context(), image)
	if err != nil || got.AZF != (api.ImageDetails{}) {
		t.Fatalf("got %+v, %v", got.AZF, err)
	}
	_, err = f.ImageRemove(t.Context(), image, false, true)
	if api.KindOf(err) != api.Conflict || !strings.Contains(err.Error(), id[:12]) {
		t.Errorf("got %v, want a conflict that names the container", err)
	}
	report, err := f.ImagePrune(t.Context(), api.Filters{"dangling": {"false"}})
	if err != nil || len(report.ImagesDeleted) > 0 {
		t.Errorf("prune: %+v, %v", report, err)
	}
	if err := f.ContainerRemove(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	deleted, err := f.ImageRemove(t.Context(), image, false, true)
	if diff := cmp.Diff([]api.ImageDeleted{{Untagged: image}, {Deleted: got.ID}}, deleted); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestImageTag(t *testing.T) {
	f := setup(t)
	f.registry.answers("a", 0, nil)
	f.pull(t, "alpine")
	for _, row := range []struct {
		source, repo, tag string
		kind              api.Kind
		text              string
	}{
		{"alpine", "mine", "1", 0, ""},
		{"alpine", "mine:2", "", 0, ""},
		{"aaaa", "example.com/mine", "", 0, ""},
		{"alpine", "mine:9", "3", 0, ""},
		{"none", "mine", "1", api.NotFound, "No such image: none:latest"},
		{"alpine", "Mine", "1", api.InvalidParameter, "invalid reference format"},
		{"alpine", "", "1", api.InvalidParameter, "invalid reference format"},
		{"alpine", "mine", "a b", api.InvalidParameter, "invalid reference format"},
		{"alpine", "mine@sha256:" + strings.Repeat("a", 64), "1", api.InvalidParameter,
			"refusing to create a tag with a digest reference"},
	} {
		err := f.ImageTag(t.Context(), row.source, row.repo, row.tag)
		if row.text == "" && err != nil ||
			row.text != "" && (api.KindOf(err) != row.kind || !strings.HasPrefix(err.Error(), row.text)) {
			t.Errorf("%s as %s:%s: got %v, want %q", row.source, row.repo, row.tag, err, row.text)
		}
	}
	got, err := f.ImageInspect(t.Context(), "alpine")
	tags := []string{"alpine:latest", "mine:1", "mine:2", "mine:3", "example.com/mine:latest"}
	if diff := cmp.Diff(tags, got.RepoTags); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
