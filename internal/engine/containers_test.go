package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

func TestLifeOfAContainer(t *testing.T) {
	f := setup(t)
	f.invoker.run = func(_ context.Context, r invoker.Request) (invoker.Result, error) {
		lines := []protocol.Line{{Stream: protocol.Stdout, Text: "a"}, {Stream: protocol.Stderr, Text: "b"}}
		return invoker.Result{ExitCode: 7, Lines: lines}, nil
	}
	id := f.create(t, "web")
	info, err := f.ContainerInspect(t.Context(), "/web")
	if err != nil {
		t.Fatal(err)
	}
	if info.ID != id || info.State.Status != "created" || info.AZF.Plan != "1 to add, 0 to change, 0 to destroy" ||
		info.AZF.Workspace != "/workspaces/"+id || info.AZF.FunctionApp != "skls-"+id[:20] || info.Path != "run" {
		t.Errorf("got %+v", info)
	}
	f.run(t, id)
	if res := f.wait(t, "web", ""); res.StatusCode != 7 || res.Error != nil {
		t.Errorf("got %+v, want exit code 7", res)
	}
	frames := "\x01\x00\x00\x00\x00\x00\x00\x02a\n\x02\x00\x00\x00\x00\x00\x00\x02b\n"
	if got := f.read(t, "web", all); got != frames {
		t.Errorf("got %q", got)
	}
	if got := f.invoker.requests[0]; !strings.HasPrefix(got.Traceparent, "00-") || len(got.Traceparent) != 55 ||
		got.RunID == "" || got.Timeout != time.Minute {
		t.Errorf("got %+v", got)
	}
	// A second start is another run.
	f.run(t, id)
	f.wait(t, "web", "")
	if f.invoker.requests[0].RunID == f.invoker.requests[1].RunID {
		t.Error("two starts have one run id")
	}
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ContainerInspect(t.Context(), id); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want not found", err)
	}
	if f.workspaces.founded != 1 {
		t.Errorf("the foundation was created %d times, want once", f.workspaces.founded)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(context.Context) error { return errors.New("no quota") }
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "no quota") {
		t.Errorf("got %v, want the cause as unavailable", err)
	}
	if len(f.workspaces.removals) != 1 {
		t.Errorf("destroyed %v, want once", f.workspaces.removals)
	}
	if list, err := f.db.Containers(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v; want no container", list, err)
	}
}

func TestFailedFoundation(t *testing.T) {
	f := setup(t)
	f.workspaces.set(func() { f.workspaces.foundation = errors.New("forbidden") })
	if _, err := f.ContainerCreate(t.Context(), "web", request); api.KindOf(err) != api.Unavailable ||
		!strings.Contains(err.Error(), "forbidden") {
		t.Errorf("got %v, want the cause", err)
	}
	if list, err := f.db.Containers(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v; want no container", list, err)
	}
	// The next create tries again.
	f.workspaces.set(func() { f.workspaces.foundation = nil })
	f.create(t, "web")
}

func TestDeadUntilDestroyed(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(context.Context) error { return errors.New("no quota") }
	f.workspaces.destroy = func(context.Context) error { return errors.New("no answer") }
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if err == nil || !strings.Contains(err.Error(), "no quota") || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("got %v, want both causes", err)
	}
	info, err := f.ContainerInspect(t.Context(), "web")
	if err != nil || !info.State.Dead || !strings.Contains(info.State.Error, "no answer") {
		t.Fatalf("got %+v, %v; want it dead with the error", info.State, err)
	}
	if err := f.ContainerStart(t.Context(), "web"); api.KindOf(err) != api.Conflict {
		t.Errorf("got %v, want a conflict", err)
	}
	if err := f.ContainerRemove(t.Context(), "web", false); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("got %v, want the cause", err)
	}
	f.workspaces.set(func() { f.workspaces.destroy = nil })
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Error(err)
	}
}

func TestCreateGoesOnWithoutItsClient(t *testing.T) {
	f := setup(t)
	began, proceed := make(chan struct{}), make(chan struct{})
	f.workspaces.provision = func(context.Context) error {
		close(began)
		<-proceed
		return nil
	}
	ctx, leave := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := f.ContainerCreate(ctx, "web", request)
		failed <- err
	}()
	<-began
	leave()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the client's cancellation", err)
	}
	c, err := f.db.Container(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ContainerStart(t.Context(), "web"); api.KindOf(err) != api.Conflict {
		t.Errorf("start while creating: got %v, want a conflict", err)
	}
	changed := f.db.Watch(c.ID)
	close(proceed)
	<-changed
	if c, err = f.db.Container(t.Context(), "web"); err != nil || c.State != store.Created {
		t.Errorf("got %v, %v; want it created", c.State, err)
	}
}

func TestList(t *testing.T) {
	f := setup(t)
	proceed := make(chan struct{})
	defer close(proceed)
	f.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		select {
		case <-proceed:
		case <-ctx.Done():
		}
		return invoker.Result{}, ctx.Err()
	}
	f.create(t, "one")
	f.create(t, "two")
	f.run(t, "one")
	for _, row := range []struct {
		opts api.ListOptions
		want string
	}{{api.ListOptions{}, "/one"}, {api.ListOptions{All: true}, "/two /one"}, {api.ListOptions{Limit: 1}, "/two"}} {
		list, err := f.ContainerList(t.Context(), row.opts)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			got = append(got, c.Names...)
			if c.Status == "" || c.Image != request.Image || c.Command != "run" {
				t.Errorf("got %+v", c)
			}
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%+v: got %v, want %s", row.opts, got, row.want)
		}
	}
}

func TestCreateRefusals(t *testing.T) {
	f := setup(t)
	f.create(t, "taken")
	const invalid, unsupported = api.InvalidParameter, api.NotImplemented
	volumes, long := map[string]struct{}{"/v": {}}, strings.Repeat("x", 128<<10)
	config := func(change func(*api.CreateRequest)) api.CreateRequest {
		r := api.CreateRequest{Config: &api.Config{Image: "r.io/app:1"}, HostConfig: &api.HostConfig{}}
		change(&r)
		return r
	}
	for name, row := range map[string]struct {
		name string
		req  api.CreateRequest
		kind api.Kind
	}{
		"empty body":     {"", api.CreateRequest{}, invalid},
		"bad name":       {"-x", request, invalid},
		"one letter":     {"x", request, invalid},
		"name with /":    {"a/b", request, invalid},
		"name in use":    {"taken", request, api.Conflict},
		"name with / up": {"/taken", request, api.Conflict},
		"binds":          {"", config(func(r *api.CreateRequest) { r.HostConfig.Binds = []string{"/a:/b"} }), unsupported},
		"volumes":        {"", config(func(r *api.CreateRequest) { r.Volumes = volumes }), unsupported},
		"privileged":     {"", config(func(r *api.CreateRequest) { r.HostConfig.Privileged = true }), unsupported},
		"reserved env":   {"", config(func(r *api.CreateRequest) { r.Env = []string{"AZF_COMMAND=[]"} }), invalid},
		"long command":   {"", config(func(r *api.CreateRequest) { r.Cmd = []string{long} }), invalid},
	} {
		if _, err := f.ContainerCreate(t.Context(), row.name, row.req); err == nil || api.KindOf(err) != row.kind {
			t.Errorf("%s: got %v, want kind %d", name, err, row.kind)
		}
	}
	if list, err := f.db.Containers(t.Context(), 0); err != nil || len(list) != 1 {
		t.Errorf("got %d containers, %v; want the one", len(list), err)
	}
}

func TestConsumptionWarns(t *testing.T) {
	f := pooled(t, 0, 1)
	f.settings = func(s *Settings) { s.ServicePlanSKU = "" }
	f.start(t)
	res, err := f.ContainerCreate(t.Context(), "", request)
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "service_plan_sku") {
		t.Errorf("got %+v, %v; want a warning that names the setting", res, err)
	}
}
