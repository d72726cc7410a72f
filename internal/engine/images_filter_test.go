package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// listed is the first tags of a list, or the ids where there are none.
func (f *fixture) listed(t *testing.T, filters api.Filters) string {
	t.Helper()
	list, err := f.ImageList(t.Context(), api.ImageListOptions{Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range list {
		names = append(names, append(slices.Clone(i.RepoTags), i.ID[7:9])[0])
	}
	return strings.Join(names, " ")
}

func TestImageFilters(t *testing.T) {
	f := setup(t)
	for i, ref := range []string{"alpine:3", "example.com/team/app:1", "example.com/team/app:2", "example.com/team/app:2"} {
		f.registry.answers(string(rune('a'+i)), i, map[string]string{"n": string(rune('0' + i)), "app": ""})
		f.pull(t, ref)
	}
	f.registry.err = api.Errorf(api.Unavailable, "down")
	f.pull(t, "example.com/other") // recorded now, the newest
	for _, row := range []struct {
		filters api.Filters
		want    string
	}{
		{nil, "example.com/other:latest example.com/team/app:2 cc example.com/team/app:1 alpine:3"},
		{api.Filters{"dangling": {"true"}}, "cc"},
		{api.Filters{"dangling": {"0"}}, "example.com/other:latest example.com/team/app:2 example.com/team/app:1 alpine:3"},
		{api.Filters{"label": {"app"}}, "example.com/team/app:2 cc example.com/team/app:1 alpine:3"},
		{api.Filters{"label": {"app", "n=1"}}, "example.com/team/app:1"},
		{api.Filters{"label": {"n=9"}}, ""},
		{api.Filters{"before": {"example.com/team/app:1"}}, "alpine:3"},
		{api.Filters{"since": {"example.com/team/app:1"}}, "example.com/other:latest example.com/team/app:2 cc"},
		{api.Filters{"since": {"alpine:3", "cc"}, "before": {"example.com/other", "dd"}}, ""},
		{api.Filters{"until": {"2026-05-06T08:08:09Z"}}, "alpine:3"},
		{api.Filters{"until": {"1h"}}, "example.com/team/app:2 cc example.com/team/app:1 alpine:3"},
		{api.Filters{"reference": {"example.com/*/app"}}, "example.com/team/app:2 cc example.com/team/app:1"},
		{api.Filters{"reference": {"example.com/team/app:?"}}, "example.com/team/app:2 example.com/team/app:1"},
		{api.Filters{"reference": {"alp*", "example.com/*"}}, "example.com/other:latest alpine:3"},
		{api.Filters{"reference": {"docker.io/library/alpine"}}, ""},
	} {
		if got := f.listed(t, row.filters); got != row.want {
			t.Errorf("%v: got %q, want %q", row.filters, got, row.want)
		}
	}
	for _, row := range []struct {
		filters api.Filters
		kind    api.Kind
		text    string
	}{
		{api.Filters{"x": {"y"}}, api.InvalidParameter, "invalid filter 'x'"},
		{api.Filters{"label!": {"y"}}, api.InvalidParameter, "invalid filter 'label!'"},
		{api.Filters{"dangling": {"maybe"}}, api.InvalidParameter, "invalid filter 'dangling=maybe'"},
		{api.Filters{"reference": {"["}}, api.InvalidParameter, "invalid filter 'reference=['"},
		{api.Filters{"until": {"soon"}}, api.InvalidParameter, "invalid filter 'until=soon'"},
		{api.Filters{"before": {"none"}}, api.NotFound, "No such image: none:latest"},
	} {
		if _, err := f.ImageList(t.Context(), api.ImageListOptions{Filters: row.filters}); api.KindOf(err) != row.kind || !strings.HasPrefix(err.Error(), row.text) {
			t.Errorf("%v: got %v, want %q", row.filters, err, row.text)
		}
	}
	if _, err := f.ImagePrune(t.Context(), api.Filters{"reference": {"x"}}); api.KindOf(err) != api.InvalidParameter {
		t.Errorf("prune: got %v", err)
	}
}

func TestImagePrune(t *testing.T) {
	f := setup(t)
	for i, ref := range []string{"app:1", "app:1", "app:2", "app:3"} { // the first becomes dangling
		f.registry.answers(string(rune('a'+i)), i, map[string]string{"n": string(rune('0' + i))})
		f.pull(t, ref)
	}
	for _, step := range []struct {
		filters api.Filters
		left    string
	}{
		{api.Filters{"until": {"2020-01-01"}}, "app:3 app:2 app:1 aa"},
		{api.Filters{"label": {"n=3"}}, "app:3 app:2 app:1 aa"},
		{api.Filters{"label!": {"n=0"}}, "app:3 app:2 app:1 aa"},
		{nil, "app:3 app:2 app:1"},
		{api.Filters{"dangling": {"true"}}, "app:3 app:2 app:1"},
		{api.Filters{"dangling": {"false"}, "label": {"n=2"}}, "app:3 app:1"},
		{api.Filters{"dangling": {"false"}, "label!": {"n=3"}}, "app:3"},
		{api.Filters{"dangling": {"false"}, "until": {"1577836800"}}, "app:3"},
		{api.Filters{"dangling": {"false"}, "until": {"0s"}}, ""},
	} {
		if _, err := f.ImagePrune(t.Context(), step.filters); err != nil {
			t.Fatal(err)
		}
		if got := f.listed(t, nil); got != step.left {
			t.Errorf("after %v: left %q, want %q", step.filters, got, step.left)
		}
	}
}
