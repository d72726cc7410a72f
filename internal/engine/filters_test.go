package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

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
		{api.ListOptions{All: true, Filters: api.Filters{"ancestor": {f.imageOf(t, "job")}}}, "job"},
		{api.ListOptions{All: true, Filters: api.Filters{"ancestor": {strings.TrimPrefix(f.imageOf(t, "job"), "sha256:")[:12]}}}, "job"},
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
		if _, err := f.ContainerList(t.Context(), api.ListOptions{Filters: row.filters}); err == nil || api.KindOf(err) != row.want {
			t.Errorf("%v: got %v, want kind %d", row.filters, err, row.want)
		}
	}
}

// imageOf is the id of the image that inspect shows of a container.
func (f *fixture) imageOf(t *testing.T, name string) string {
	t.Helper()
	info, err := f.ContainerInspect(t.Context(), name)
	if err != nil || !strings.HasPrefix(info.Image, "sha256:") {
		t.Fatalf("got image %q, %v", info.Image, err)
	}
	return info.Image
}
