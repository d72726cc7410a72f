package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// The fakes stand for failures that real Terraform and Azure cannot be made to have on demand. What works is tested with the real ones.

type fakeWorkspaces struct {
	mu         sync.Mutex
	provision  func(ctx context.Context) error
	destroy    func(ctx context.Context) error
	foundation error
	outputs    string // the customer id of Log Analytics
	unread     error  // of FoundationOutputs
	destroyed  int
	founded    int
	unlocked   []string
	founding   int // now, and the most at a time
	most       int
	app        workspace.FunctionApp
	// onDisk are the workspaces, with whether each holds something; archived and reclaimed are what happened to them.
	onDisk    map[string]bool
	archived  []string
	reclaimed []workspace.FunctionApp
}

func (f *fakeWorkspaces) Foundation(context.Context, workspace.Foundation) (workspace.FoundationOutputs, error) {
	f.mu.Lock()
	f.founding++
	f.most = max(f.most, f.founding)
	f.mu.Unlock()
	runtime.Gosched()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.founding--
	f.founded++
	return workspace.FoundationOutputs{ServicePlanID: "plan", ServicePlanSKU: "B1", LogAnalyticsID: "workspace"}, f.foundation
}

func (f *fakeWorkspaces) FoundationOutputs(context.Context) (workspace.FoundationOutputs, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return workspace.FoundationOutputs{LogAnalyticsID: f.outputs}, f.unread
}

func (f *fakeWorkspaces) Provision(ctx context.Context, id string, app workspace.FunctionApp) (workspace.FunctionAppOutputs, error) {
	f.mu.Lock()
	provision := f.provision
	f.app = app
	f.mu.Unlock()
	if provision != nil {
		if err := provision(ctx); err != nil {
			return workspace.FunctionAppOutputs{}, err
		}
	}
	return workspace.FunctionAppOutputs{ResourceID: "/sites/" + app.Name, HostName: app.Name + ".azurewebsites.net", Operation: workspace.Operation{Plan: workspace.Changes{Add: 1}}}, nil
}

func (f *fakeWorkspaces) Destroy(ctx context.Context, _ string) (workspace.Operation, error) {
	f.mu.Lock()
	destroy := f.destroy
	f.destroyed++
	f.mu.Unlock()
	if destroy != nil {
		return workspace.Operation{}, destroy(ctx)
	}
	return workspace.Operation{}, nil
}

func (f *fakeWorkspaces) Restore(_ string, _ bool, app func() (workspace.FunctionApp, error)) error {
	_, err := app()
	return err
}

func (f *fakeWorkspaces) Unlock(_ context.Context, id string, lock workspace.Lock) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlocked = append(f.unlocked, id+" "+lock.ID)
	return nil
}

func (f *fakeWorkspaces) Path(id string) string { return "/workspaces/" + id }

func (f *fakeWorkspaces) IDs() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.onDisk)), nil
}

func (f *fakeWorkspaces) Holds(_ context.Context, id string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.onDisk[id], nil
}

func (f *fakeWorkspaces) Archive(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.archived = append(f.archived, id)
	delete(f.onDisk, id)
	return nil
}

func (f *fakeWorkspaces) DestroyOrphan(_ context.Context, _ string, app workspace.FunctionApp) (workspace.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reclaimed = append(f.reclaimed, app)
	return workspace.Operation{}, nil
}

func (f *fakeWorkspaces) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

type fakeInvoker struct {
	mu       sync.Mutex
	run      func(ctx context.Context, r invoker.Request) (invoker.Result, error)
	requests []invoker.Request
	early    error // before the call
}

func (f *fakeInvoker) Run(ctx context.Context, _ invoker.Target, r invoker.Request) (invoker.Result, error) {
	f.mu.Lock()
	run := f.run
	f.requests = append(f.requests, r)
	early := f.early
	f.mu.Unlock()
	if early != nil {
		return invoker.Result{}, early
	}
	if !r.Resume && r.BeforeStart != nil {
		if err := r.BeforeStart(ctx); err != nil {
			return invoker.Result{}, err
		}
	}
	if run == nil {
		return invoker.Result{}, nil
	}
	return run(ctx, r)
}

func (f *fakeInvoker) Forget(invoker.Target) {}

type fakeLogs struct {
	LogReader // answers while err is nil
	err       error
	queries   []logs.Query
	ended     logs.Ended
	asked     []logs.EndedQuery
}

func (f *fakeLogs) Ended(_ context.Context, q logs.EndedQuery) (logs.Ended, error) {
	f.asked = append(f.asked, q)
	return f.ended, f.err
}

func (f *fakeLogs) Lines(ctx context.Context, q logs.Query) ([]logs.Line, error) {
	f.queries = append(f.queries, q)
	if f.err != nil {
		return nil, f.err
	}
	return f.LogReader.Lines(ctx, q)
}

// fakeAzure has the apps, and lists gone ones too, as a late list does.
type fakeAzure struct {
	apps []workspace.Found
	gone map[string]bool
	err  error
}

func (f *fakeAzure) FunctionApps(context.Context, string) ([]workspace.Found, error) {
	return f.apps, f.err
}

func (f *fakeAzure) Find(_ context.Context, id string) (workspace.Found, bool, error) {
	return workspace.Found{ID: id}, !f.gone[id], f.err
}

type fixture struct {
	*Engine
	db         *store.DB
	workspaces *fakeWorkspaces
	invoker    *fakeInvoker
	logs       *fakeLogs
	registry   *fakeRegistry
	azure      *fakeAzure
	later      *atomic.Int64 // nanoseconds by which the store's clock is ahead
	limits     Limits        // of the next engine
	orphans    bool          // whether the next engine deletes them
	log        bytes.Buffer
}

func testSettings() Settings {
	return Settings{ResourceGroup: "rg", Location: "westeurope", StorageAccount: "store", ServicePlanSKU: "B1", Owner: "test", Timeout: time.Minute}
}

// setup starts an engine on a fresh database.
func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{later: new(atomic.Int64), workspaces: &fakeWorkspaces{}, invoker: &fakeInvoker{}, logs: &fakeLogs{}, registry: &fakeRegistry{}, azure: &fakeAzure{}}
	db, err := store.Open(t.Context(), store.Config{
		Path: filepath.Join(t.TempDir(), "state.db"), Now: func() time.Time { return time.Now().Add(time.Duration(f.later.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f.db = db
	f.start(t)
	return f
}

// start starts an engine on the fixture's database; after Close it stands for the next daemon.
func (f *fixture) start(t *testing.T) {
	t.Helper()
	e, err := New(t.Context(), Config{
		Store: f.db, Workspaces: f.workspaces, Invoker: f.invoker, Logs: f.logs, Registry: f.registry, Azure: f.azure, Settings: testSettings(), Limits: f.limits, ReconcileInterval: -1, DeleteOrphans: f.orphans, Log: zerolog.New(zerolog.SyncWriter(&f.log)).Level(zerolog.WarnLevel),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Engine = e
}

var request = api.CreateRequest{Config: &api.Config{Image: "registry.example.com/team/app:1", Cmd: []string{"run"}}}

func (f *fixture) create(t *testing.T, name string) string {
	t.Helper()
	res, err := f.ContainerCreate(t.Context(), name, request)
	if err != nil {
		t.Fatal(err)
	}
	return res.ID
}

func (f *fixture) wait(t *testing.T, ref string, cond api.WaitCondition) api.WaitResponse {
	t.Helper()
	res, err := f.ContainerWait(t.Context(), ref, cond, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// read is what ContainerLogs streams.
func (f *fixture) read(t *testing.T, ref string, opts api.LogOptions) string {
	t.Helper()
	stream, err := f.ContainerLogs(t.Context(), ref, opts)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(stream)
	if err = errors.Join(err, stream.Close()); err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestLifeOfAContainer(t *testing.T) {
	f := setup(t)
	f.invoker.run = func(_ context.Context, r invoker.Request) (invoker.Result, error) {
		return invoker.Result{ExitCode: 7, Lines: []protocol.Line{{Stream: protocol.Stdout, Text: "a"}, {Stream: protocol.Stderr, Text: "b"}}}, nil
	}
	id := f.create(t, "web")
	info, err := f.ContainerInspect(t.Context(), "/web")
	if err != nil {
		t.Fatal(err)
	}
	if info.ID != id || info.State.Status != "created" || info.AZF.Plan != "1 to add, 0 to change, 0 to destroy" || info.AZF.Workspace != "/workspaces/"+id ||
		info.AZF.FunctionApp != "skls-"+id[:20] || info.Path != "run" {
		t.Errorf("got %+v", info)
	}
	if err := f.ContainerStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res := f.wait(t, "web", ""); res.StatusCode != 7 || res.Error != nil {
		t.Errorf("got %+v, want exit code 7", res)
	}
	if got := f.read(t, "web", api.LogOptions{Stdout: true, Stderr: true, Tail: -1}); got != "\x01\x00\x00\x00\x00\x00\x00\x02a\n\x02\x00\x00\x00\x00\x00\x00\x02b\n" {
		t.Errorf("got %q", got)
	}
	if got := f.invoker.requests[0]; !strings.HasPrefix(got.Traceparent, "00-") || len(got.Traceparent) != 55 || got.RunID == "" || got.Timeout != time.Minute {
		t.Errorf("got %+v", got)
	}
	// It runs again, as another run.
	if err := f.ContainerStart(t.Context(), id); err != nil {
		t.Fatal(err)
	}
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
		t.Errorf("the foundation was made %d times, want once", f.workspaces.founded)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(context.Context) error { return errors.New("no quota") }
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "no quota") {
		t.Errorf("got %v, want the cause as unavailable", err)
	}
	if f.workspaces.destroyed != 1 {
		t.Errorf("destroyed %d times, want once", f.workspaces.destroyed)
	}
	if list, err := f.db.Containers(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v; want no container", list, err)
	}
}

func TestFailedFoundation(t *testing.T) {
	f := setup(t)
	f.workspaces.set(func() { f.workspaces.foundation = errors.New("forbidden") })
	f.workspaces.destroy = func(context.Context) error { return workspace.ErrNoWorkspace }
	if _, err := f.ContainerCreate(t.Context(), "web", request); api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "forbidden") {
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
	made := f.db.Watch(c.ID)
	close(proceed)
	<-made
	if c, err = f.db.Container(t.Context(), "web"); err != nil || c.State != store.Created {
		t.Errorf("got %v, %v; want it created", c.State, err)
	}
}

func TestNextDaemonGoesOn(t *testing.T) {
	f := setup(t)
	began := make(chan struct{})
	f.workspaces.provision = func(ctx context.Context) error {
		close(began)
		<-ctx.Done() // as an interrupted terraform
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
	if c.State != store.Created || f.workspaces.destroyed != 0 {
		t.Errorf("got %v, destroyed %d times; want it created", c.State, f.workspaces.destroyed)
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
	if err := f.ContainerStart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
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
	if len(f.invoker.requests) != 2 || f.invoker.requests[0].RunID != f.invoker.requests[1].RunID || f.invoker.requests[0].Resume || !f.invoker.requests[1].Resume {
		t.Errorf("got %+v, want the same run started, then resumed", f.invoker.requests)
	}
}

func TestNotInvoked(t *testing.T) {
	f := setup(t)
	f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		return invoker.Result{}, errors.New("401: the key is wrong")
	}
	f.create(t, "web")
	if err := f.ContainerStart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if res := f.wait(t, "web", ""); res.StatusCode != 125 || res.Error == nil || !strings.Contains(res.Error.Message, "401") {
		t.Errorf("got %+v, want 125 with the cause", res)
	}
}

func TestForcedRemoveEndsTheRun(t *testing.T) {
	f := setup(t)
	began := make(chan struct{})
	f.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		close(began)
		<-ctx.Done()
		return invoker.Result{}, context.Cause(ctx)
	}
	f.create(t, "web")
	if err := f.ContainerStart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if err := f.ContainerStart(t.Context(), "web"); api.KindOf(err) != api.NotModified {
		t.Errorf("second start: got %v, want not modified", err)
	}
	<-began
	if err := f.ContainerRemove(t.Context(), "web", false); api.KindOf(err) != api.Conflict {
		t.Errorf("got %v, want a conflict without force", err)
	}
	accepted, removed := make(chan struct{}), make(chan error)
	go func() {
		_, err := f.ContainerWait(t.Context(), "web", api.WaitRemoved, func() { close(accepted) })
		removed <- err
	}()
	<-accepted
	if err := f.ContainerRemove(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	if err := <-removed; err != nil {
		t.Errorf("wait for removal: %v", err)
	}
}

func TestWait(t *testing.T) {
	f := setup(t)
	proceed := make(chan struct{})
	f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		<-proceed
		return invoker.Result{ExitCode: 4}, nil
	}
	f.create(t, "web")
	if res := f.wait(t, "web", api.WaitNotRunning); res.StatusCode != 0 {
		t.Errorf("got %+v, want 0 at once for a container that never ran", res)
	}
	accepted, codes := make(chan struct{}, 2), make(chan int64, 2)
	for range 2 {
		go func() {
			res, err := f.ContainerWait(t.Context(), "web", api.WaitNextExit, func() { accepted <- struct{}{} })
			if err != nil {
				t.Error(err)
			}
			codes <- res.StatusCode
		}()
	}
	<-accepted
	<-accepted
	if err := f.ContainerStart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	if _, err := f.ContainerWait(ctx, "web", "", leave); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the client's cancellation", err)
	}
	close(proceed)
	for range 2 {
		if code := <-codes; code != 4 {
			t.Errorf("got %d, want 4", code)
		}
	}
	if _, err := f.ContainerWait(t.Context(), "web", "healthy", func() {}); api.KindOf(err) != api.InvalidParameter {
		t.Errorf("got %v, want invalid", err)
	}
	if _, err := f.ContainerWait(t.Context(), "nobody", "", func() {}); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want not found", err)
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
	if err := f.ContainerStart(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
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
