package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// held makes runs wait for release, and tells when each begins.
func (f *fixture) held() (began chan string, release chan int) {
	began, release = make(chan string, 10), make(chan int)
	f.invoker.run = func(ctx context.Context, r invoker.Request) (invoker.Result, error) {
		began <- r.RunID
		select {
		case code := <-release:
			return invoker.Result{ExitCode: code}, nil
		case <-ctx.Done():
			return invoker.Result{}, context.Cause(ctx)
		}
	}
	return began, release
}

func (f *fixture) run(t *testing.T, name string) {
	t.Helper()
	if err := f.ContainerStart(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func TestStopAndKillLeaveTheRunAlone(t *testing.T) {
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
		f.ContainerKill(t.Context(), "web", ""), f.ContainerKill(t.Context(), "web", "SIGTERM"), f.ContainerKill(t.Context(), "web", "9"),
		f.ContainerKill(t.Context(), "web", "rtmin+3"),
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
	if err := f.ContainerRestart(t.Context(), "web", nil); err != nil { // starts what does not run
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
	// Although the container runs again by now, the first run's end is what was waited for.
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

func TestAutoRemove(t *testing.T) {
	f := setup(t)
	_, release := f.held()
	destroying, destroy := make(chan struct{}), make(chan struct{})
	f.workspaces.destroy = func(context.Context) error {
		close(destroying)
		<-destroy
		return nil
	}
	req := request
	req.HostConfig = &api.HostConfig{AutoRemove: true}
	if _, err := f.ContainerCreate(t.Context(), "web", req); err != nil {
		t.Fatal(err)
	}
	f.run(t, "web")
	codes := make(chan int64, 3)
	conditions := []api.WaitCondition{api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved}
	accepted := make(chan struct{}, len(conditions))
	for _, cond := range conditions {
		go func() {
			res, err := f.ContainerWait(t.Context(), "web", cond, func() { accepted <- struct{}{} })
			if err != nil {
				t.Errorf("wait %s: %v", cond, err)
			}
			codes <- res.StatusCode
		}()
	}
	for range conditions {
		<-accepted
	}
	release <- 5
	<-destroying
	for range 2 { // the end of the run is enough for two of them
		if code := <-codes; code != 5 {
			t.Errorf("got %d, want 5", code)
		}
	}
	close(destroy)
	if code := <-codes; code != 5 {
		t.Errorf("wait for removal: got %d, want 5", code)
	}
	if _, err := f.ContainerInspect(t.Context(), "web"); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want it gone", err)
	}
}

func TestForcedRemovalIsAnExit(t *testing.T) {
	f := setup(t)
	began, _ := f.held()
	f.create(t, "web")
	f.run(t, "web")
	<-began
	accepted, answer := make(chan struct{}), make(chan api.WaitResponse)
	go func() {
		res, err := f.ContainerWait(t.Context(), "web", "", func() { close(accepted) })
		if err != nil {
			t.Error(err)
		}
		answer <- res
	}()
	<-accepted
	if err := f.ContainerRemove(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	if res := <-answer; res.StatusCode != 137 {
		t.Errorf("got %+v, want 137", res)
	}
}

func TestWaitForRemovalThatFails(t *testing.T) {
	f := setup(t)
	f.workspaces.destroy = func(context.Context) error { return errors.New("no answer") }
	f.create(t, "web")
	accepted, answer := make(chan struct{}), make(chan api.WaitResponse)
	go func() {
		res, err := f.ContainerWait(t.Context(), "web", api.WaitRemoved, func() { close(accepted) })
		if err != nil {
			t.Error(err)
		}
		answer <- res
	}()
	<-accepted
	if err := f.ContainerRemove(t.Context(), "web", false); err == nil {
		t.Fatal("no error")
	}
	if res := <-answer; res.Error == nil || !strings.Contains(res.Error.Message, "no answer") {
		t.Errorf("got %+v, want the failure", res)
	}
}

func TestRename(t *testing.T) {
	f := setup(t)
	id := f.create(t, "one")
	f.create(t, "two")
	for name, want := range map[string]api.Kind{"two": api.Conflict, "/two": api.Conflict, "": api.InvalidParameter, "/": api.InvalidParameter, "a b": api.InvalidParameter, "one": api.InvalidParameter} {
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
	// What cannot be removed is told of when nothing could be, and stays.
	f.workspaces.set(func() { f.workspaces.destroy = func(context.Context) error { return workspace.ErrNoState } })
	if report, err := f.ContainerPrune(t.Context(), nil); err == nil || len(report.ContainersDeleted) != 0 {
		t.Errorf("got %+v, %v; want the failure", report, err)
	}
	if info, err := f.ContainerInspect(t.Context(), "running"); err != nil || !info.State.Dead {
		t.Errorf("got %v, want it dead", err)
	}
	for _, filters := range []api.Filters{{"until": {"soon"}}, {"until": {"1h", "2h"}}, {"name": {"x"}}} {
		if _, err := f.ContainerPrune(t.Context(), filters); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%v: got %v, want invalid", filters, err)
		}
	}
}
