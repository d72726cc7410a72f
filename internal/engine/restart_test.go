package engine

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/store"
)

func TestNextDaemonGoesOn(t *testing.T) {
	f := setup(t)
	began := make(chan struct{})
	f.workspaces.provision = func(ctx context.Context) error {
		close(began)
		<-ctx.Done() // as Terraform does when it is interrupted
		return ctx.Err()
	}
	failed := make(chan error)
	go func() {
		_, err := f.ContainerCreate(t.Context(), "web", request)
		failed <- err
	}()
	<-began
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; api.KindOf(err) != api.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	c, err := f.db.Container(t.Context(), "web")
	if err != nil || c.State != store.Creating {
		t.Fatalf("got %v, %v; want it creating", c.State, err)
	}
	f.workspaces.set(func() { f.workspaces.provision = nil })
	f.start(t)
	for c.State == store.Creating {
		changed := f.db.Watch(c.ID)
		if c, err = f.db.Container(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		if c.State == store.Creating {
			<-changed
		}
	}
	if c.State != store.Created || len(f.workspaces.removals) != 0 {
		t.Errorf("got %v, destroyed %d times; want it created", c.State, len(f.workspaces.removals))
	}
}

func TestNextDaemonJoinsTheRun(t *testing.T) {
	f := setup(t)
	began := make(chan struct{})
	f.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		close(began)
		<-ctx.Done()
		return invoker.Result{}, ctx.Err()
	}
	f.create(t, "web")
	f.run(t, "web")
	<-began
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := f.db.Container(t.Context(), "web"); err != nil || c.State != store.Running {
		t.Fatalf("got %v, %v; want it running", c.State, err)
	}
	f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		return invoker.Result{ExitCode: 3}, nil
	}
	f.start(t)
	if res := f.wait(t, "web", ""); res.StatusCode != 3 {
		t.Errorf("got %+v, want exit code 3", res)
	}
	if len(f.invoker.requests) != 2 || f.invoker.requests[0].RunID != f.invoker.requests[1].RunID ||
		f.invoker.requests[0].Resume || !f.invoker.requests[1].Resume {
		t.Errorf("got %+v, want the same run started, then resumed", f.invoker.requests)
	}
}

// TestImagesSurviveARestart opens the database again, as the next daemon does.
func TestImagesSurviveARestart(t *testing.T) {
	f := setup(t)
	f.registry.answers("a", 0, nil)
	f.pull(t, "alpine")
	before, err := f.ImageInspect(t.Context(), "alpine")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var path string
	row := f.db.SQL().QueryRowContext(t.Context(), "SELECT file FROM pragma_database_list WHERE name = 'main'")
	if err := row.Scan(&path); err != nil {
		t.Fatal(err)
	}
	if err := f.db.Close(); err != nil {
		t.Fatal(err)
	}
	next := &fixture{workspaces: f.workspaces, invoker: f.invoker, logs: f.logs, registry: f.registry, azure: f.azure}
	if next.db, err = store.Open(t.Context(), store.Config{Path: filepath.Clean(path)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := next.db.Close(); err != nil {
			t.Error(err)
		}
	})
	next.start(t)
	after, err := next.ImageInspect(t.Context(), before.ID)
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
