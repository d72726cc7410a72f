package engine

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/workspace"
)

// listed returns the first tag of each image in a list, or the beginning of its id.
func (f *fixture) listed(t *testing.T, given api.Filters) string {
	t.Helper()
	list, err := f.ImageList(t.Context(), api.ImageListOptions{Filters: given})
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
	refs := []string{"alpine:3", "example.com/team/app:1", "example.com/team/app:2", "example.com/team/app:2"}
	for i, ref := range refs {
		f.registry.answers(string(rune('a'+i)), i, map[string]string{"n": string(rune('0' + i)), "app": ""})
		f.pull(t, ref)
	}
	f.registry.err = api.Errorf(api.Unavailable, "down")
	f.pull(t, "example.com/other") // created now, so it is the newest
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
		{api.Filters{"dangling": {"maybe"}}, api.InvalidParameter, "invalid filter 'dangling=maybe'"},
		{api.Filters{"reference": {"["}}, api.InvalidParameter, "invalid filter 'reference=['"},
		{api.Filters{"until": {"soon"}}, api.InvalidParameter, "invalid filter 'until=soon'"},
		{api.Filters{"before": {"none"}}, api.NotFound, "No such image: none:latest"},
	} {
		_, err := f.ImageList(t.Context(), api.ImageListOptions{Filters: row.filters})
		if api.KindOf(err) != row.kind || !strings.HasPrefix(err.Error(), row.text) {
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

func TestListFilters(t *testing.T) {
	f := setup(t)
	began, release := f.held()
	ids := map[string]string{}
	add := func(name string, config api.Config) {
		res, err := f.ContainerCreate(t.Context(), name, api.CreateRequest{Config: &config})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = res.ID
	}
	add("web-1", api.Config{Image: "alpine", Labels: map[string]string{"app": "web", "n": "1"}})
	add("web-2", api.Config{Image: "docker.io/library/alpine:latest", Labels: map[string]string{"app": "web", "n": "2"}})
	add("job", api.Config{Image: "registry.example.com/team/app:1"})
	add("up", api.Config{Image: "registry.example.com/team/app:2"})
	for name, code := range map[string]int{"web-1": 0, "web-2": 3} {
		f.run(t, name)
		<-began
		release <- code
		f.wait(t, name, "")
	}
	f.run(t, "up")
	<-began
	defer func() { release <- 0 }()
	imageID := f.imageOf(t, "job")
	shortID := strings.TrimPrefix(imageID, "sha256:")[:12]

	for _, row := range []struct {
		opts api.ListOptions
		want string // the newest first
	}{
		{api.ListOptions{}, "up"},
		{api.ListOptions{Filters: api.Filters{"name": {"web"}}}, ""},
		{api.ListOptions{All: true, Filters: api.Filters{"name": {"web"}}}, "web-2 web-1"},
		{api.ListOptions{All: true, Filters: api.Filters{"name": {"^/web-1$"}}}, "web-1"},
		{api.ListOptions{All: true, Filters: api.Filters{"name": {"^job$", "2"}}}, "job web-2"},
		{api.ListOptions{All: true, Filters: api.Filters{"id": {ids["job"][:10]}}}, "job"},
		{api.ListOptions{All: true, Filters: api.Filters{"label": {"app"}}}, "web-2 web-1"},
		{api.ListOptions{All: true, Filters: api.Filters{"label": {"app=web", "n=2"}}}, "web-2"},
		{api.ListOptions{All: true, Filters: api.Filters{"label": {"app=job"}}}, ""},
		{api.ListOptions{Filters: api.Filters{"status": {"exited"}}}, "web-2 web-1"},
		{api.ListOptions{Filters: api.Filters{"status": {"created", "running"}}}, "up job"},
		{api.ListOptions{All: true, Filters: api.Filters{"exited": {"3"}}}, "web-2"},
		{api.ListOptions{All: true, Filters: api.Filters{"ancestor": {"alpine:latest"}}}, "web-2 web-1"},
		{api.ListOptions{All: true, Filters: api.Filters{"ancestor": {"registry.example.com/team/app:1", "none"}}}, "job"},
		{api.ListOptions{All: true, Filters: api.Filters{"ancestor": {imageID}}}, "job"},
		{api.ListOptions{All: true, Filters: api.Filters{"ancestor": {shortID}}}, "job"},
		{api.ListOptions{All: true, Filters: api.Filters{"before": {"job"}}}, "web-2 web-1"},
		{api.ListOptions{All: true, Filters: api.Filters{"since": {ids["web-2"]}}}, "up job"},
		{api.ListOptions{All: true, Filters: api.Filters{"since": {"web-1"}, "before": {"up"}}}, "job web-2"},
		{api.ListOptions{Limit: 2}, "up job"},
		{api.ListOptions{Limit: 1, Filters: api.Filters{"name": {"web"}}}, "web-2"},
		{api.ListOptions{Limit: -1}, "up"},
	} {
		list, err := f.ContainerList(t.Context(), row.opts)
		if err != nil {
			t.Errorf("%+v: %v", row.opts, err)
			continue
		}
		got := []string{}
		for _, c := range list {
			got = append(got, strings.TrimPrefix(c.Names[0], "/"))
		}
		if want := strings.Fields(row.want); !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", row.opts, got, want)
		}
	}
	for _, row := range []struct {
		filters api.Filters
		want    api.Kind
	}{
		{api.Filters{"colour": {"red"}}, api.InvalidParameter}, {api.Filters{"status": {"asleep"}}, api.InvalidParameter},
		{api.Filters{"exited": {"many"}}, api.InvalidParameter}, {api.Filters{"name": {"("}}, api.InvalidParameter},
		{api.Filters{"before": {"nobody"}}, api.NotFound}, {api.Filters{"since": {"nobody"}}, api.NotFound},
	} {
		_, err := f.ContainerList(t.Context(), api.ListOptions{Filters: row.filters})
		if err == nil || api.KindOf(err) != row.want {
			t.Errorf("%v: got %v, want kind %d", row.filters, err, row.want)
		}
	}
}

// imageOf returns the id of a container's image.
func (f *fixture) imageOf(t *testing.T, name string) string {
	t.Helper()
	info, err := f.ContainerInspect(t.Context(), name)
	if err != nil || !strings.HasPrefix(info.Image, "sha256:") {
		t.Fatalf("got image %q, %v", info.Image, err)
	}
	return info.Image
}

func TestPrune(t *testing.T) {
	f := setup(t)
	began, release := f.held()
	ids := map[string]string{}
	for _, name := range []string{"kept", "labelled", "plain", "running"} {
		req := request
		config := *request.Config
		switch name {
		case "kept":
			config.Labels = map[string]string{"keep": "yes"}
		case "labelled":
			config.Labels = map[string]string{"ci": "1"}
		}
		req.Config = &config
		res, err := f.ContainerCreate(t.Context(), name, req)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = res.ID
	}
	f.run(t, "running")
	<-began
	for _, row := range []struct {
		filters api.Filters
		want    []string
	}{
		{api.Filters{"until": {"24h"}}, nil},
		{api.Filters{"label": {"ci=2"}}, nil},
		{api.Filters{"label": {"ci=1"}}, []string{"labelled"}},
		{api.Filters{"label!": {"keep"}}, []string{"plain"}},
		{api.Filters{"until": {"2100-01-01"}}, []string{"kept"}},
		{nil, nil},
	} {
		report, err := f.ContainerPrune(t.Context(), row.filters)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{}
		for _, name := range row.want {
			want = append(want, ids[name])
		}
		if !slices.Equal(report.ContainersDeleted, want) || report.SpaceReclaimed != 0 {
			t.Errorf("%v: got %+v, want %v", row.filters, report, row.want)
		}
	}
	release <- 0
	f.wait(t, "running", "")
	// A container whose removal fails stays. The error is reported when nothing could be removed.
	f.workspaces.set(func() { f.workspaces.destroy = func(context.Context) error { return workspace.ErrOtherState } })
	if report, err := f.ContainerPrune(t.Context(), nil); err == nil || len(report.ContainersDeleted) != 0 {
		t.Errorf("got %+v, %v; want the failure", report, err)
	}
	if info, err := f.ContainerInspect(t.Context(), "running"); err != nil || !info.State.Dead {
		t.Errorf("got %v, want it dead", err)
	}
	for _, given := range []api.Filters{{"until": {"soon"}}, {"until": {"1h", "2h"}}, {"name": {"x"}}} {
		if _, err := f.ContainerPrune(t.Context(), given); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%v: got %v, want invalid", given, err)
		}
	}
}
