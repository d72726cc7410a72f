package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func TestStopAndKillDoNotEndTheRun(t *testing.T) {
	f := setup(t)
	began, release := f.held()
	f.create(t, "web")
	if err := f.ContainerStop(t.Context(), "web", nil); api.KindOf(err) != api.NotModified {
		t.Errorf("stop before a run: got %v, want not modified", err)
	}
	if err := f.ContainerKill(t.Context(), "web", "KILL"); api.KindOf(err) != api.Conflict {
		t.Errorf("kill before a run: got %v, want a conflict", err)
	}
	f.run(t, "web")
	<-began
	for _, err := range []error{
		f.ContainerStop(t.Context(), "web", nil), f.ContainerStop(t.Context(), "web", nil),
		f.ContainerKill(t.Context(), "web", ""), f.ContainerKill(t.Context(), "web", "SIGTERM"),
		f.ContainerKill(t.Context(), "web", "9"), f.ContainerKill(t.Context(), "web", "rtmin+3"),
	} {
		if err != nil {
			t.Errorf("got %v, want success", err)
		}
	}
	for _, signal := range []string{"0", "-9", "123", "TE RM", "SIG;", "SIGFOO"} {
		if err := f.ContainerKill(t.Context(), "web", signal); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("signal %q: got %v, want invalid", signal, err)
		}
	}
	if c, err := f.db.Container(t.Context(), "web"); err != nil || c.State != store.Running {
		t.Errorf("got %v, %v; want it running", c.State, err)
	}
	release <- 0
	f.wait(t, "web", "")
}

func TestRestartWaitsForTheRun(t *testing.T) {
	f := setup(t)
	began, release := f.held()
	f.create(t, "web")
	if err := f.ContainerRestart(t.Context(), "web", nil); err != nil { // nothing runs, so it starts at once
		t.Fatal(err)
	}
	first := <-began
	restarted := make(chan error)
	go func() { restarted <- f.ContainerRestart(t.Context(), "web", nil) }()
	accepted, codes := make(chan struct{}), make(chan int64)
	go func() {
		res, err := f.ContainerWait(t.Context(), "web", api.WaitNotRunning, func() { close(accepted) })
		if err != nil {
			t.Error(err)
		}
		codes <- res.StatusCode
	}()
	<-accepted
	release <- 4
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	if second := <-began; second == first {
		t.Error("the restart has the first run's id")
	}
	// The container runs again by now. The wait is for the first run's end.
	if code := <-codes; code != 4 {
		t.Errorf("wait: got %d, want 4", code)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if err := f.ContainerRestart(ctx, "web", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the client's cancellation", err)
	}
	release <- 0
	f.wait(t, "web", "")
	if len(f.invoker.requests) != 2 {
		t.Errorf("there were %d runs, want 2", len(f.invoker.requests))
	}
}

func TestRename(t *testing.T) {
	f := setup(t)
	id := f.create(t, "one")
	f.create(t, "two")
	for name, want := range map[string]api.Kind{
		"two": api.Conflict, "/two": api.Conflict, "": api.InvalidParameter, "/": api.InvalidParameter,
		"a b": api.InvalidParameter, "one": api.InvalidParameter,
	} {
		if err := f.ContainerRename(t.Context(), "one", name); err == nil || api.KindOf(err) != want {
			t.Errorf("to %q: got %v, want kind %d", name, err, want)
		}
	}
	if err := f.ContainerRename(t.Context(), id[:12], "/three"); err != nil {
		t.Fatal(err)
	}
	if info, err := f.ContainerInspect(t.Context(), "three"); err != nil || info.Name != "/three" || info.ID != id {
		t.Errorf("got %s, %v", info.Name, err)
	}
	f.create(t, "one") // the old name is free
}
