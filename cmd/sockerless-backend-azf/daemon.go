package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/gofrs/flock"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/internal/inventory"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// daemonConfig is everything that a daemon is made of. Which cloud it is comes with it.
type daemonConfig struct {
	Listen         server.ListenConfig
	StateDir       string
	SubscriptionID string
	Settings       engine.Settings
	// ShutdownTimeout is how long requests and Terraform runs may go on when the daemon is stopped.
	ShutdownTimeout time.Duration
	// Limits bound what is done at once; a zero value means the engine's own.
	Limits engine.Limits
	// ReconcileInterval is how often rows, jobs, workspaces and Azure are compared, and GC what happens to what has no container.
	ReconcileInterval time.Duration
	GC                string
	Credential        credential
	Cloud             cloud.Configuration
	// Transport carries calls to Azure, AppTransport calls to function apps and registries; nil means the default.
	Transport    policy.Transporter
	AppTransport http.RoundTripper
	Tools        toolchain.Tools
	Providers    providerSettings
	// Database is the URL of a PostgreSQL database; empty is SQLite in the state folder.
	Database string
	Backend  workspace.Backend
	// TakeOverAfter is for how long nobody must have worked on a job until another daemon does; 0 is the engine's own choice.
	TakeOverAfter time.Duration
	Environ       []string
	// TerraformEnv is added to terraform's environment.
	TerraformEnv map[string]string
	Log          zerolog.Logger
}

// daemon is the wired program, listening but not yet answering.
type daemon struct {
	cfg      daemonConfig
	lock     *flock.Flock
	db       *store.DB
	pool     *provider.Pool // nil: there is none
	engine   *engine.Engine
	server   *server.Server
	listener net.Listener
}

// answerTimeout is how long requests may take to be answered once what they wait for is interrupted.
const answerTimeout = 5 * time.Second

// newDaemon wires the parts, takes the state folder for itself and listens. The caller calls run, or close.
func newDaemon(ctx context.Context, cfg daemonConfig) (d *daemon, err error) {
	d = &daemon{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
			d = nil
		}
	}()
	if cfg.Limits == (engine.Limits{}) {
		cfg.Limits = engine.DefaultLimits()
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return d, fmt.Errorf("prepare state folder: %w", err)
	}
	d.lock = flock.New(filepath.Join(cfg.StateDir, "daemon.lock"), flock.SetPermissions(0o600))
	locked, err := d.lock.TryLock()
	if err != nil {
		return d, fmt.Errorf("lock state folder: %w", err)
	}
	if !locked {
		return d, fmt.Errorf("state folder %s is in use by another daemon: stop it or choose another --state-dir", cfg.StateDir)
	}
	if d.db, err = store.Open(ctx, store.Config{Path: filepath.Join(cfg.StateDir, "state.db"), URL: cfg.Database}); err != nil {
		return d, err
	}
	home, err := homeID(cfg.StateDir)
	if err != nil {
		return d, err
	}
	env := cfg.terraformEnv()
	inv, err := cfg.newInvoker()
	if err != nil {
		return d, err
	}
	if d.pool, err = cfg.newPool(env); err != nil {
		return d, err
	}
	azure, err := cfg.newAzureView()
	if err != nil {
		return d, err
	}
	workspaces, err := workspace.New(workspace.Config{
		Dir: filepath.Join(cfg.StateDir, "workspaces"), Terraform: cfg.Tools.Terraform, CLIConfig: cfg.Tools.CLIConfig(),
		InitKey:   cfg.Tools.TerraformVersion + " " + cfg.Tools.Terraform + " " + cfg.Tools.ProviderSHA256,
		Package:   workspace.Package{Dir: filepath.Dir(cfg.Tools.ProviderPath), Path: cfg.Tools.PackagePath(), LockFile: cfg.Tools.LockFile()},
		Providers: d.pool, EagerOperations: cfg.Providers.eagerRuns(),
		Backend: cfg.Backend, Environ: cfg.Environ, Env: env, SubscriptionID: cfg.SubscriptionID, Find: azure.Find,
		BeforeApply: engine.NewGate(cfg.Limits).BeforeApply, Log: cfg.Log,
	})
	if err != nil {
		return d, err
	}
	// The lock is ours, so whatever still runs in the workspaces belongs to a daemon that is dead.
	if err := workspaces.EndLeftoverProcesses(); err != nil {
		return d, err
	}
	reader, err := logs.New(logs.Config{Credential: cfg.Credential.Token, Cloud: cfg.Cloud, Transport: cfg.Transport})
	if err != nil {
		return d, err
	}
	images := registry.New(registry.Config{
		Host: cfg.Settings.Registry, Username: cfg.Settings.RegistryUsername, Password: cfg.Settings.RegistryPassword,
		Credential: cfg.Credential.Token, Transport: cfg.AppTransport,
	})
	d.engine, err = engine.New(ctx, engine.Config{
		Store: d.db, Workspaces: workspaces, Invoker: inv, Logs: reader, Registry: images, Azure: azure, Settings: cfg.Settings,
		Version: buildVersion(), ShutdownTimeout: cfg.ShutdownTimeout, TakeOverAfter: cfg.TakeOverAfter,
		Limits: cfg.Limits, RemoteState: cfg.Backend.Remote(), Home: home,
		ReconcileInterval: cfg.ReconcileInterval, DeleteOrphans: cfg.GC == gcDelete, Log: cfg.Log,
		Components: []api.ComponentVersion{{Name: "terraform", Version: cfg.Tools.TerraformVersion}, {Name: "azurerm", Version: cfg.Tools.ProviderVersion}},
	})
	if err != nil {
		return d, err
	}
	// Requests that wait for jobs are told at once, and need a moment to say so.
	d.server = server.New(server.Config{Backend: d.engine, ShutdownTimeout: cfg.ShutdownTimeout + answerTimeout, Log: cfg.Log})
	d.listener, err = server.Listen(cfg.Listen)
	return d, err
}

// homeID names a state folder; the name is in it. The caller has the folder's lock.
func homeID(stateDir string) (string, error) {
	path := filepath.Join(stateDir, "daemon.id")
	content, err := os.ReadFile(path)
	if err == nil && len(content) > 0 {
		return string(content), nil
	}
	id := uuid.NewString()
	if errors.Is(err, fs.ErrNotExist) || err == nil {
		err = os.WriteFile(path, []byte(id), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("name the state folder: %w", err)
	}
	return id, nil
}

// terraformEnv is what terraform gets beside the allow list of the daemon's environment.
func (cfg daemonConfig) terraformEnv() map[string]string {
	env := map[string]string{"ARM_SUBSCRIPTION_ID": cfg.SubscriptionID}
	maps.Copy(env, cfg.Credential.Terraform)
	maps.Copy(env, cfg.TerraformEnv)
	return env
}

// poolIdleAfter is how long after the last run the processes of the pool are kept.
const poolIdleAfter = 10 * time.Minute

// newPool makes the pool of azurerm processes, which get the environment that Terraform runs get.
func (cfg daemonConfig) newPool(env map[string]string) (*provider.Pool, error) {
	if cfg.Providers.Pool == poolOff {
		return nil, nil
	}
	environment := workspace.Environment
	if cfg.Providers.Eager {
		environment = workspace.EagerEnvironment
	}
	return provider.New(provider.Config{
		Path: cfg.Tools.ProviderPath, Env: environment(cfg.Environ, env), Dir: filepath.Join(cfg.StateDir, "providers"),
		Size: cfg.Providers.Size, Reuse: cfg.Providers.Reuse, MaxAge: cfg.Providers.MaxAge, IdleAfter: poolIdleAfter, Log: cfg.Log,
	})
}

func (cfg daemonConfig) newInvoker() (*invoker.Invoker, error) {
	return invoker.New(invoker.Config{
		Credential: cfg.Credential.Token, Cloud: cfg.Cloud, Transport: cfg.Transport, HTTP: &http.Client{Transport: cfg.AppTransport},
		SubscriptionID: cfg.SubscriptionID, Log: cfg.Log,
	})
}

// azureView shows the inventory to the engine and its workspaces.
type azureView struct{ inventory *inventory.Inventory }

func (cfg daemonConfig) newAzureView() (azureView, error) {
	inv, err := inventory.New(inventory.Config{Credential: cfg.Credential.Token, Cloud: cfg.Cloud, Transport: cfg.Transport, SubscriptionID: cfg.SubscriptionID})
	return azureView{inv}, err
}

func (v azureView) Find(ctx context.Context, id string) (workspace.Found, bool, error) {
	r, found, err := v.inventory.Find(ctx, id)
	return workspace.Found(r), found, err
}

func (v azureView) FunctionApps(ctx context.Context, resourceGroup string) ([]workspace.Found, error) {
	apps, err := v.inventory.FunctionApps(ctx, resourceGroup)
	out := make([]workspace.Found, len(apps))
	for i, app := range apps {
		out[i] = workspace.Found(app)
	}
	return out, err
}

// run answers requests until ctx ends, then stops everything in order and closes the daemon.
func (d *daemon) run(ctx context.Context) error {
	err := d.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return d.close() // told to stop before it began
		}
		return errors.Join(err, d.close())
	}
	d.cfg.Log.Info().Stringer("address", d.listener.Addr()).Str("credential", d.cfg.Credential.Method).Msg("listening")
	var g errgroup.Group
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	g.Go(func() error {
		defer stopServing() // a server that failed stops the jobs too
		return d.server.Serve(serving, d.listener)
	})
	// Requests wait for jobs, so jobs must be told to stop while requests are drained, not after.
	g.Go(func() error {
		<-serving.Done()
		return d.engine.Close()
	})
	err = g.Wait()
	d.cfg.Log.Info().Msg("stopped")
	d.listener = nil // closed by Serve
	return errors.Join(err, d.close())
}

// start starts what works in the background.
func (d *daemon) start(ctx context.Context) error {
	if d.pool != nil {
		if err := d.pool.Start(); err != nil {
			return err
		}
	}
	return d.engine.Start(ctx)
}

// close releases what newDaemon took. It must not be called while run goes on.
func (d *daemon) close() error {
	var errs []error
	if d.listener != nil {
		errs = append(errs, d.listener.Close())
	}
	if d.pool != nil {
		errs = append(errs, d.pool.Close())
	}
	if d.db != nil {
		errs = append(errs, d.db.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}
