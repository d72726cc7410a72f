// Package engine is the backend: it implements Docker's verbs (api.Backend) as durable jobs on River over the store,
// the Terraform workspaces, the invoker and the logs. One transaction inserts a container's row and the job that
// realises it. A request waits for its job. The job goes on when the client leaves. The package must not know of
// HTTP, and it reaches Azure only through the adapters in its Config.
//
//	e, err := engine.New(ctx, engine.Config{...})
//	err = e.Start(ctx)  // recovers what dead daemons left, and starts to work
//	defer e.Close()
package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/jonboulle/clockwork"
	"github.com/riverqueue/river"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Workspaces runs Terraform. *workspace.Manager is one.
type Workspaces interface {
	Foundation(
		ctx context.Context, f workspace.Foundation, dead workspace.DeadHolder,
	) (workspace.FoundationOutputs, error)
	FoundationOutputs(ctx context.Context) (workspace.FoundationOutputs, error)
	Provision(
		ctx context.Context, id string, app workspace.FunctionApp, dead workspace.DeadHolder,
	) (workspace.FunctionAppOutputs, error)
	Destroy(
		ctx context.Context, c workspace.Container, dead workspace.DeadHolder,
	) (workspace.Operation, error)
	ProvisionServicePlan(
		ctx context.Context, id string, p workspace.ServicePlan, dead workspace.DeadHolder,
	) (workspace.ServicePlanOutputs, error)
	DestroyServicePlan(
		ctx context.Context, p workspace.PlanRemoval, dead workspace.DeadHolder,
	) (workspace.Operation, error)
	HoldsServicePlan(ctx context.Context, p workspace.PlanRemoval) (bool, error)
	ServicePlanIDs() ([]string, error)
	ServicePlanPath(id string) string
	ArchiveServicePlan(id string) error
	Path(id string) string
	IDs() ([]string, error)
	Expired(before time.Time, limit int) (paths []string, err error)
	RemoveExpired(paths []string) error
	Holds(ctx context.Context, c workspace.Container) (bool, error)
	Archive(id string) error
}

// Invoker calls function apps. *invoker.Invoker is one.
type Invoker interface {
	Run(ctx context.Context, t invoker.Target, r invoker.Request) (invoker.Result, error)
	Forget(t invoker.Target)
}

// LogReader reads container logs from Log Analytics. *logs.Reader is one.
type LogReader interface {
	Lines(ctx context.Context, q logs.Query) ([]logs.Line, error)
	Ended(ctx context.Context, q logs.EndedQuery) (logs.Ended, error)
}

// Registries asks image registries. *registry.Client is one.
type Registries interface {
	Resolve(ctx context.Context, ref reference.Named, auth api.AuthConfig, platform string) (registry.Image, error)
	Login(ctx context.Context, auth api.AuthConfig) error
}

// Config configures New. All adapters are required; the engine closes none of them.
type Config struct {
	Store      *store.DB
	Workspaces Workspaces
	Invoker    Invoker
	Logs       LogReader
	Registry   Registries
	Azure      Azure
	Settings   Settings
	Version    string
	// Components are the tools that Version lists.
	Components []api.ComponentVersion
	// ShutdownTimeout is the time that Close leaves Terraform runs to finish before it interrupts them; 0 interrupts them
	// at once.
	ShutdownTimeout time.Duration
	// RemoteState means that Terraform's states are in a remote backend. Home names the daemon's state folder, which
	// one daemon uses at a time.
	RemoteState bool
	Home        string
	// TakeOverAfter is the time without work on a job after which another daemon takes the job over; 0 means 15 seconds.
	TakeOverAfter time.Duration
	// QueuePoll is the interval at which the daemon looks for jobs that have become due; 0 means 5 seconds. It looks for
	// inserted jobs at once.
	QueuePoll time.Duration
	// Limits bound what the engine does at once; the zero value means DefaultLimits.
	Limits Limits
	// ReconcileInterval is the time between two comparisons of rows, jobs, workspaces and Azure; 0 means 5 minutes. With a
	// negative one, Start compares rows and jobs, and nothing is compared after that.
	ReconcileInterval time.Duration
	// DeleteOrphans makes the engine destroy what carries its tags and has no container, if the database knows that the
	// container was removed, and OrphanGrace after it was first seen; 0 means an hour. Otherwise it only reports it.
	DeleteOrphans bool
	OrphanGrace   time.Duration
	// AttachOutput makes an attach show the output of a run. Otherwise every attach is refused.
	AttachOutput bool
	// ReplaceFoundation allows one plan that deletes, replaces or shrinks what containers share.
	ReplaceFoundation bool
	// HoldFoundation keeps changes from what containers share until FoundationCreate is called with their digest.
	HoldFoundation bool
	// RetryAfter returns the delay before retrying a removal that failed the given number of times, at most an hour; nil
	// doubles the delay from 5 minutes on.
	RetryAfter func(failures int) time.Duration
	Audit      AuditConfig
	// Gate asks the policies; nil means that there are none.
	Gate *gate.Gate
	// Wrapper derives images for those without a Functions host; nil means that they are left as they are.
	Wrapper Wrapper
	// WrapKeep is the time for which derived images are kept that no container uses; 0 is for ever.
	WrapKeep time.Duration
	// Clock measures TakeOverAfter, ReconcileInterval and the pauses of waiting requests; nil means the real time. Times
	// of rows come from the store's clock.
	Clock clockwork.Clock
	Log   zerolog.Logger
}

// concurrentInvocations bounds the open HTTP calls, not the runs in Azure.
const concurrentInvocations = 1000

// Engine is the backend. Its methods are safe for concurrent use.
type Engine struct {
	api.Unsupported

	cfg      Config
	river    *river.Client[*sql.Tx]
	listener *listener // nil on PostgreSQL
	stopping chan struct{}
	// interrupted is closed when Close interrupts the jobs that still run. Requests stop waiting for them then.
	interrupted chan struct{}
	stopOnce    sync.Once
	stopErr     error
	jobs        ownJobs
	attached    attachments
	creating    sync.Map // the ids of the containers for whose create a client of this daemon waits
	atWork      atWork

	background    sync.WaitGroup
	endBackground context.CancelFunc

	foundationMu chan struct{} // holds one token; a channel, so that waiting for it ends with the context
	outputs      *workspace.FoundationOutputs

	poolMu chan struct{} // holds one token, as foundationMu
	pooled bool          // the store has its pool
	runs   chan struct{} // holds a value for each Terraform run for a container or a service plan
	strays strays

	held atomic.Pointer[workspace.Held] // nil: no change is held, as far as is known

	logAnalyticsID atomic.Pointer[string] // nil while it is unknown

	compareNow chan struct{} // asks for a comparison

	anchorProblem  atomic.Pointer[string] // nil: there is none
	derivedProblem atomic.Pointer[string] // nil: there is none
}

var _ api.Backend = (*Engine)(nil)

// New checks the settings and prepares the queue's tables in the store's database. Nothing runs before Start.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	if err := cfg.Settings.check(); err != nil {
		return nil, err
	}
	cfg.Logs = correlatedLogs{cfg.Logs}
	if cfg.TakeOverAfter == 0 {
		cfg.TakeOverAfter = defaultTakeOverAfter
	}
	if cfg.QueuePoll == 0 {
		cfg.QueuePoll = defaultQueuePoll
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if cfg.ReconcileInterval == 0 {
		cfg.ReconcileInterval = defaultReconcileInterval
	}
	if cfg.OrphanGrace == 0 {
		cfg.OrphanGrace = defaultOrphanGrace
	}
	if cfg.Clock == nil {
		cfg.Clock = clockwork.NewRealClock()
	}
	if cfg.RetryAfter == nil {
		cfg.RetryAfter = retryAfter
	}
	if cfg.Gate == nil {
		var err error
		if cfg.Gate, err = gate.New(ctx, gate.Config{Store: cfg.Store}); err != nil {
			return nil, err
		}
	}
	e := &Engine{
		cfg:           cfg,
		stopping:      make(chan struct{}),
		interrupted:   make(chan struct{}),
		endBackground: func() {},
		foundationMu:  make(chan struct{}, 1),
		poolMu:        make(chan struct{}, 1),
		runs:          make(chan struct{}, cfg.Limits.TerraformRuns),
		compareNow:    make(chan struct{}, 1),
	}
	e.jobs.cancels, e.atWork.ids = map[int64]context.CancelCauseFunc{}, map[string]bool{}
	e.foundationMu <- struct{}{}
	e.poolMu <- struct{}{}
	if err := e.openQueue(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// Start resumes the jobs that dead daemons left and starts to work. It does not block. ctx bounds the start only.
func (e *Engine) Start(ctx context.Context) error {
	// A SQLite database has one daemon, so a running job belongs to a daemon that died. On PostgreSQL another daemon may
	// still work on it, and takeOverJobs finds out.
	if e.cfg.Store.Pool() == nil {
		n, err := e.cfg.Store.ReleaseJobs(ctx)
		if err != nil {
			return fmt.Errorf("recover jobs: %w", err)
		}
		if n > 0 {
			e.cfg.Log.Info().Int64("jobs", n).Msg("resumed the jobs of the daemon before")
		}
	}
	if err := e.cfg.Store.PublishPolicies(ctx, e.cfg.Gate.Digest(), nil); err != nil {
		return err
	}
	if err := e.startTrail(ctx); err != nil {
		return err
	}
	if err := e.checkInsights(ctx); err != nil {
		return err
	}
	if err := e.compareJobs(ctx); err != nil {
		return err
	}
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	e.endBackground = end
	e.background.Go(func() { e.stayConnected(background) })
	e.background.Go(func() { e.takeOverJobs(background) })
	e.background.Go(func() { e.keepTrail(background) })
	for _, s := range e.cfg.Audit.Sinks {
		e.background.Go(func() { s.Deliver(background, e.cfg.Store, e.cfg.Clock.After, e.cfg.Log) })
	}
	if err := e.river.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start job queue: %w", err)
	}
	if e.cfg.Wrapper != nil && e.cfg.WrapKeep > 0 {
		e.background.Go(func() { e.keepDerived(background) })
	}
	if e.cfg.HoldFoundation {
		e.background.Go(func() { e.findHeld(background) })
	}
	e.background.Go(func() { e.keepPool(background) })
	if e.cfg.ReconcileInterval > 0 {
		e.background.Go(func() { e.reconcileRegularly(background) })
	}
	return nil
}

// Close stops the work and blocks until it has stopped. Waiting requests end with an Unavailable error. Calls to
// function apps end, and the next daemon joins the runs. Terraform runs may finish within ShutdownTimeout; then Close
// interrupts them. Calling Close again does nothing.
func (e *Engine) Close() error {
	e.stopOnce.Do(func() {
		close(e.stopping)
		timer := time.AfterFunc(e.cfg.ShutdownTimeout, func() { close(e.interrupted) })
		if err := e.river.Stop(context.Background()); err != nil {
			e.stopErr = fmt.Errorf("stop job queue: %w", err)
		}
		if timer.Stop() {
			close(e.interrupted)
		}
		// Only now may other daemons take over the jobs that remain.
		e.endBackground()
		e.background.Wait()
	})
	return e.stopErr
}

var (
	errStopping = errors.New("the daemon is stopping")
	errRemoved  = errors.New("the container is being removed")
)

// Capabilities implements api.Backend.
func (e *Engine) Capabilities() api.Capabilities {
	return api.Capabilities{
		Backend: "azf", Version: e.cfg.Version, Logs: true, Attach: e.cfg.AttachOutput,
		MaxTimeoutSeconds: int(e.cfg.Settings.Timeout / time.Second),
	}
}
