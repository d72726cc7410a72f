package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/store"
)

// fixture is an engine on fakes and a database of its own.
type fixture struct {
	*Engine
	db         *store.DB
	workspaces *fakeWorkspaces
	invoker    *fakeInvoker
	logs       *fakeLogs
	registry   *fakeRegistry
	azure      *fakeAzure
	clock      *azuretest.ShiftedClock // the store's
	limits     Limits                  // of the next engine
	orphans    bool                    // whether the next engine deletes orphans
	settings   func(*Settings)         // adapts those of the next engine, nil leaves them
	attach     bool                    // whether the next engine shows output to attached clients
	gate       *gate.Gate              // of the next engine: see governed
	wrapper    Wrapper                 // of the next engine
	log        bytes.Buffer
}

func testSettings() Settings {
	return Settings{
		ResourceGroup: "rg", Location: "westeurope", StorageAccount: "store", ServicePlanSKU: "B1", Owner: "test",
		Timeout: time.Minute, MaxServicePlans: 100,
	}
}

// setup starts an engine on a fresh database.
func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		workspaces: &fakeWorkspaces{}, invoker: &fakeInvoker{}, logs: &fakeLogs{}, registry: &fakeRegistry{},
		azure: &fakeAzure{}, clock: &azuretest.ShiftedClock{},
	}
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "state.db"), Now: f.clock.Now})
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

// start starts an engine on the fixture's database. After Close, it is the next daemon.
func (f *fixture) start(t *testing.T) {
	t.Helper()
	f.prepare(t)
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// prepare gives the fixture an engine on the fixture's database that is not started.
func (f *fixture) prepare(t *testing.T) {
	t.Helper()
	settings := testSettings()
	if f.wrapper != nil {
		settings.Registry = "registry.example.com"
	}
	if f.settings != nil {
		f.settings(&settings)
	}
	e, err := New(t.Context(), Config{
		Store: f.db, Workspaces: f.workspaces, Invoker: f.invoker, Logs: f.logs, Registry: f.registry, Azure: f.azure,
		Settings: settings, Limits: f.limits, ReconcileInterval: -1, DeleteOrphans: f.orphans, AttachOutput: f.attach,
		Gate: f.gate, Wrapper: f.wrapper, Log: zerolog.New(zerolog.SyncWriter(&f.log)).Level(zerolog.WarnLevel),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Engine = e
}

// place inserts a container that is being created on an existing service plan, with this job.
func (f *fixture) place(ctx context.Context, c store.Container, enqueue store.InTx) error {
	<-f.poolMu
	defer func() { f.poolMu <- struct{}{} }()
	pool := store.Pool{
		Existing: []store.ServicePlan{{Name: "there", ResourceID: "/plans/there", SKU: "B1", Capacity: 100}}, SKU: "B1",
		CapacityOf: func(string) int { return 100 }, Provision: func(string) store.InTx { return enqueue },
	}
	err := errors.Join(f.db.SetPool(ctx, pool), f.db.CreateContainer(ctx, c))
	for err == nil {
		// Another daemon of the test may have set its own pool in between.
		now, findErr := f.db.Container(ctx, c.ID)
		if api.KindOf(findErr) == api.NotFound || now.ServicePlan != "" {
			break // it may have come to its end already
		}
		err = errors.Join(findErr, f.db.SetPool(ctx, pool))
	}
	f.pooled = false // the next create is the engine's
	return err
}

func (f *fixture) insertPlaced(t *testing.T, c store.Container, enqueue store.InTx) {
	t.Helper()
	if err := f.place(t.Context(), c, enqueue); err != nil {
		t.Fatal(err)
	}
}

// request is the body of a create.
var request = api.CreateRequest{
	Config: &api.Config{Image: "registry.example.com/team/app:1", Cmd: []string{"run"}},
}

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

// read returns the stream of ContainerLogs.
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

// held makes each run wait for release, and sends the run's id to began when the run begins.
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
