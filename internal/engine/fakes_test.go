package engine

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/workspace"
)

// The fakes stand in for adapters, mostly to fail as real Terraform and Azure do not on demand. What works is tested
// with the real adapters.

type fakeWorkspaces struct {
	mu         sync.Mutex
	provision  func(ctx context.Context) error
	destroy    func(ctx context.Context) error
	foundation error
	outputs    string // the customer id of Log Analytics
	unread     error  // of FoundationOutputs
	// provisionPlan and destroyPlan work on service plans; nil succeeds.
	provisionPlan, destroyPlan func(ctx context.Context, id string) error
	removals                   []workspace.Container // that Destroy was called with
	founded                    int
	unlocked                   []string
	founding                   int // at this moment
	most                       int // founding at a time
	app                        workspace.FunctionApp
	plansOnDisk                []string
	// onDisk has the ids of workspaces, and whether each holds resources. archived are those that went to the archive.
	onDisk   map[string]bool
	archived []string
	expired  []string // what Expired returns
}

func (f *fakeWorkspaces) Foundation(
	context.Context, workspace.Foundation, workspace.DeadHolder,
) (workspace.FoundationOutputs, error) {
	f.mu.Lock()
	f.founding++
	f.most = max(f.most, f.founding)
	f.mu.Unlock()
	runtime.Gosched()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.founding--
	f.founded++
	return workspace.FoundationOutputs{LogAnalyticsID: "workspace"}, f.foundation
}

func (f *fakeWorkspaces) FoundationOutputs(context.Context) (workspace.FoundationOutputs, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outputs == "" {
		return workspace.FoundationOutputs{}, f.unread
	}
	return workspace.FoundationOutputs{
		LogAnalyticsID: f.outputs, InsightsConnection: "connection",
	}, f.unread
}

func (f *fakeWorkspaces) Provision(
	ctx context.Context, id string, app workspace.FunctionApp, dead workspace.DeadHolder,
) (workspace.FunctionAppOutputs, error) {
	f.mu.Lock()
	provision := f.provision
	f.app = app
	f.mu.Unlock()
	if provision != nil {
		err := provision(ctx)
		if lock, ok := workspace.LockOf(err); ok && dead != nil {
			isDead, ownerErr := dead(ctx, lock)
			if ownerErr != nil {
				return workspace.FunctionAppOutputs{}, ownerErr
			}
			if isDead {
				f.set(func() { f.unlocked = append(f.unlocked, id+" "+lock.ID) })
				err = provision(ctx)
			}
		}
		if err != nil {
			return workspace.FunctionAppOutputs{}, err
		}
	}
	return workspace.FunctionAppOutputs{
		ResourceID: "/sites/" + app.Name, HostName: app.Name + ".azurewebsites.net",
		Operation: workspace.Operation{Plan: workspace.Changes{Add: 1}},
	}, nil
}

func (f *fakeWorkspaces) Destroy(
	ctx context.Context, c workspace.Container, _ workspace.DeadHolder,
) (workspace.Operation, error) {
	f.mu.Lock()
	destroy := f.destroy
	f.removals = append(f.removals, c)
	f.mu.Unlock()
	if destroy != nil {
		if err := destroy(ctx); err != nil {
			return workspace.Operation{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.onDisk, c.ID)
	return workspace.Operation{}, nil
}

func (f *fakeWorkspaces) ProvisionServicePlan(
	ctx context.Context, id string, p workspace.ServicePlan, _ workspace.DeadHolder,
) (workspace.ServicePlanOutputs, error) {
	f.mu.Lock()
	provision := f.provisionPlan
	f.mu.Unlock()
	if provision != nil {
		if err := provision(ctx, id); err != nil {
			return workspace.ServicePlanOutputs{}, err
		}
	}
	return workspace.ServicePlanOutputs{ResourceID: "/plans/" + id, SKU: p.SKU}, nil
}

func (f *fakeWorkspaces) DestroyServicePlan(
	ctx context.Context, p workspace.PlanRemoval, _ workspace.DeadHolder,
) (workspace.Operation, error) {
	f.mu.Lock()
	destroy := f.destroyPlan
	f.mu.Unlock()
	if destroy != nil {
		return workspace.Operation{}, destroy(ctx, p.ID)
	}
	return workspace.Operation{}, nil
}

func (f *fakeWorkspaces) HoldsServicePlan(context.Context, workspace.PlanRemoval) (bool, error) {
	return true, nil
}

func (f *fakeWorkspaces) ServicePlanIDs() ([]string, error) { return f.plansOnDisk, nil }

func (f *fakeWorkspaces) ServicePlanPath(id string) string { return "/workspaces/plans/" + id }

func (f *fakeWorkspaces) ArchiveServicePlan(string) error { return nil }

func (f *fakeWorkspaces) Path(id string) string { return "/workspaces/" + id }

func (f *fakeWorkspaces) IDs() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.onDisk)), nil
}

func (f *fakeWorkspaces) Holds(_ context.Context, c workspace.Container) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.onDisk[c.ID], nil
}

func (f *fakeWorkspaces) Expired(time.Time, int) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expired, nil
}

func (f *fakeWorkspaces) RemoveExpired([]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expired = nil
	return nil
}

func (f *fakeWorkspaces) Archive(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.archived = append(f.archived, id)
	delete(f.onDisk, id)
	return nil
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

// fakeAzure lists apps that are gone too, as Azure's list does for some minutes.
type fakeAzure struct {
	apps     []workspace.Found
	unlisted []workspace.Found // which are there, although the list lacks them
	gone     map[string]bool

	listedPlans []workspace.Found
	err         error
	// component is the Log Analytics workspace of each Application Insights component; nil means that there is none.
	component *string
	// plans are the service plans that others have made, by their ids.
	plans map[string]ServicePlan
}

func (f *fakeAzure) ServicePlan(_ context.Context, id string) (ServicePlan, bool, error) {
	p, ok := f.plans[id]
	return p, ok, f.err
}

func (f *fakeAzure) ComponentWorkspace(context.Context, string, string) (string, bool, error) {
	if f.component == nil {
		return "", false, f.err
	}
	return *f.component, true, f.err
}

func (f *fakeAzure) FunctionApps(context.Context, string) ([]workspace.Found, error) {
	return f.apps, f.err
}

func (f *fakeAzure) ServicePlans(context.Context, string) ([]workspace.Found, error) {
	return f.listedPlans, f.err
}

func (f *fakeAzure) Find(_ context.Context, id string) (workspace.Found, bool, error) {
	app := workspace.Found{ID: id}
	for _, known := range slices.Concat(f.apps, f.unlisted) {
		if known.ID == id {
			app = known
		}
	}
	return app, !f.gone[id], f.err
}

// fakeRegistry answers every question alike. Without an image and an error, it cannot be reached.
type fakeRegistry struct {
	image registry.Image
	err   error
}

func (f *fakeRegistry) Resolve(context.Context, reference.Named, api.AuthConfig, string) (registry.Image, error) {
	if f.err == nil && f.image.ID == "" {
		return registry.Image{}, api.Errorf(api.Unavailable, "the test has no registry")
	}
	return f.image, f.err
}

func (f *fakeRegistry) Login(context.Context, api.AuthConfig) error { return f.err }

var imageBuilt = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// answers makes the registry answer with image c, which was built some hours after imageBuilt.
func (f *fakeRegistry) answers(c string, hours int, labels map[string]string) {
	created := imageBuilt.Add(time.Duration(hours) * time.Hour)
	f.err = nil
	f.image = registry.Image{
		ID: "sha256:" + strings.Repeat(c, 64), Digest: "sha256:" + strings.Repeat(c, 63) + "0", Size: 12,
		Layers: []registry.Layer{
			{Digest: "sha256:" + strings.Repeat("1", 64), Size: 3}, {Digest: "sha256:" + strings.Repeat("2", 64), Size: 4},
		},
	}
	f.image.Spec.Created, f.image.Spec.OS, f.image.Spec.Architecture = &created, "linux", "amd64"
	f.image.Spec.Config.Labels = labels
}
