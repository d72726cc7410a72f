// Package engine is the backend: it implements api.Backend as durable jobs on River over the store, the Terraform workspaces,
// the invoker and the logs. A container's row and the job that realises it are inserted in one transaction; a request waits
// for its job, and the job goes on when the request is given up. The package must not know of HTTP, and talks to Azure only
// through the adapters it is given.
//
//	e, err := engine.New(ctx, engine.Config{...})
//	err = e.Start(ctx)  // recovers and begins to work
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
	"github.com/riverqueue/river"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Workspaces runs Terraform. *workspace.Manager is one.
type Workspaces interface {
	Foundation(ctx context.Context, f workspace.Foundation) (workspace.FoundationOutputs, error)
	FoundationOutputs(ctx context.Context) (workspace.FoundationOutputs, error)
	Provision(ctx context.Context, id string, app workspace.FunctionApp) (workspace.FunctionAppOutputs, error)
	Restore(id string, made bool, app func() (workspace.FunctionApp, error)) error
	Destroy(ctx context.Context, id string) (workspace.Operation, error)
	Unlock(ctx context.Context, id string, lock workspace.Lock) error
	Path(id string) string
	IDs() ([]string, error)
	Holds(ctx context.Context, id string) (bool, error)
	Archive(id string) error
	DestroyOrphan(ctx context.Context, id string, app workspace.FunctionApp) (workspace.Operation, error)
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
	// Components are the tools whose versions the answer to version names.
	Components []api.ComponentVersion
	// ShutdownTimeout is how long Close lets Terraform runs finish before they are interrupted; 0 interrupts them at once.
	ShutdownTimeout time.Duration
	// RemoteState tells that Terraform's states are in a remote backend. Home then names the daemon's state folder, in which no two daemons
	// are at a time.
	RemoteState bool
	Home        string
	// TakeOverAfter is for how long nobody must have worked on a job until another daemon does; 0 means 15 seconds.
	TakeOverAfter time.Duration
	// Limits bound what is done at once; a zero value means DefaultLimits.
	Limits Limits
	// ReconcileInterval is how often rows, jobs, workspaces and Azure are compared; 0 means 5 minutes. A negative one leaves it at the
	// rows and jobs when the engine is started.
	ReconcileInterval time.Duration
	// DeleteOrphans has what carries our tags and has no container destroyed; else it is reported only.
	DeleteOrphans bool
	// RetryAfter is when a removal is tried again that has failed so many times, at most an hour; nil doubles from 5 minutes on.
	RetryAfter func(failures int) time.Duration
	Log        zerolog.Logger
}

// concurrentInvocations bounds the open HTTP calls, not the runs in Azure.
const concurrentInvocations = 1000

// Engine is the backend. Its methods are safe for concurrent use.
type Engine struct {
	api.Unsupported

	cfg      Config
	river    *river.Client[*sql.Tx]
	stopping chan struct{}
	// interrupted is closed when the jobs that still run are interrupted: nobody waits for them longer.
	interrupted chan struct{}
	stopOnce    sync.Once
	stopErr     error
	jobs        ownJobs
	atWork      atWork

	background    sync.WaitGroup
	endBackground context.CancelFunc

	foundationMu chan struct{} // holds one token; a channel, so that waiting for it ends with the context
	made         *workspace.FoundationOutputs

	logAnalyticsID atomic.Pointer[string] // nil until it is known

	// What the last comparisons have found.
	orphanWorkspaces, orphanApps atomic.Pointer[[]string]
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
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if cfg.ReconcileInterval == 0 {
		cfg.ReconcileInterval = defaultReconcileInterval
	}
	if cfg.RetryAfter == nil {
		cfg.RetryAfter = retryAfter
	}
	e := &Engine{
		cfg:           cfg,
		stopping:      make(chan struct{}),
		interrupted:   make(chan struct{}),
		endBackground: func() {},
		foundationMu:  make(chan struct{}, 1),
	}
	e.jobs.cancels, e.atWork.ids = map[int64]context.CancelCauseFunc{}, map[string]bool{}
	e.foundationMu <- struct{}{}
	if err := e.openQueue(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// Start takes up the jobs that dead daemons left and begins to work. It does not block. ctx bounds the start only.
func (e *Engine) Start(ctx context.Context) error {
	// A SQLite database has one daemon, so a job in state running belongs to one that died. With several daemons, that shows with time.
	if e.cfg.Store.Pool() == nil {
		res, err := e.cfg.Store.SQL().ExecContext(ctx, `UPDATE river_job SET state = 'available', scheduled_at = CURRENT_TIMESTAMP
			WHERE state IN ('running', 'retryable')`)
		if err != nil {
			return fmt.Errorf("recover jobs: %w", err)
		}
		if n, err := res.RowsAffected(); err == nil && n > 0 {
			e.cfg.Log.Info().Int64("jobs", n).Msg("jobs taken up")
		}
	}
	if err := e.compareJobs(ctx); err != nil {
		return err
	}
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	e.endBackground = end
	e.background.Go(func() { e.attend(background) })
	e.background.Go(func() { e.takeOverJobs(background) })
	if err := e.river.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start job queue: %w", err)
	}
	if e.cfg.ReconcileInterval > 0 {
		e.background.Go(func() { e.reconcileAlways(background) })
	}
	return nil
}

// Close stops the work and blocks until it has stopped: waiting requests end with an Unavailable error, calls to function apps are
// left to be joined by the next daemon, Terraform runs may finish within ShutdownTimeout and are then interrupted. Calling it again
// does nothing.
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
		// Only now may others take over what is left.
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
		Backend: "azf", Version: e.cfg.Version, Logs: true,
		MaxTimeoutSeconds: int(e.cfg.Settings.Timeout / time.Second),
	}
}

// foundation makes what all containers share, once per daemon, and remembers it.
func (e *Engine) foundation(ctx context.Context) (workspace.FoundationOutputs, error) {
	select {
	case <-e.foundationMu:
	case <-ctx.Done():
		return workspace.FoundationOutputs{}, context.Cause(ctx)
	}
	defer func() { e.foundationMu <- struct{}{} }()
	if e.made != nil {
		return *e.made, nil
	}
	spec, err := e.cfg.Settings.foundationSpec()
	if err != nil {
		return workspace.FoundationOutputs{}, err
	}
	var made workspace.FoundationOutputs
	// Daemons with the same owner share it.
	err = e.cfg.Store.Exclusive(ctx, "foundation "+e.cfg.Settings.Owner, func(ctx context.Context) error {
		return e.terraform(ctx, workspace.FoundationID, func() error {
			made, err = e.cfg.Workspaces.Foundation(ctx, spec)
			return err
		})
	})
	if err != nil {
		return workspace.FoundationOutputs{}, fmt.Errorf("make foundation: %w", err)
	}
	api.Correlated(ctx, made.Operation.CorrelationID)
	if !runsImages(made.ServicePlanSKU) {
		e.cfg.Log.Warn().Str("service_plan_sku", made.ServicePlanSKU).Msg(noImagesWarning(made.ServicePlanSKU))
	}
	e.made = &made
	e.logAnalyticsID.Store(&made.LogAnalyticsID)
	return made, nil
}
