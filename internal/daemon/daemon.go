// Package daemon wires the parts of the program, starts and stops them in order, and finds the credential of both
// sides. It must not do the work of its parts.
//
//	d, err := daemon.New(ctx, daemon.Config{Config: settings, Credential: credential, Cloud: cloud, ...})
//	err = d.Run(ctx) // until ctx ends
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/gofrs/flock"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit/sink"
	"github.com/sockerless/backend-azf/internal/azurecloud"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/inventory"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/internal/wrap"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// Config configures New.
type Config struct {
	config.Config
	// Version is the version of the program.
	Version string
	// Shown is the configuration as config print shows it, for the audit trail.
	Shown      string
	Credential Credential
	// Cloud is the one that CloudName names.
	Cloud azurecloud.Cloud
	// Transport carries calls to Azure, AppTransport calls to function apps and registries; nil means the default.
	Transport    policy.Transporter
	AppTransport http.RoundTripper
	Tools        toolchain.Tools
	// Architecture is that of the images that run, in Go's words; "" means amd64, as on Azure.
	Architecture string
	// TakeOverAfter is the time without a sign of life of a job after which another daemon takes the job over; 0 means the
	// engine's default.
	TakeOverAfter time.Duration
	// ReadyTimeout limits the wait for an app to come up; 0 means the invoker's default.
	ReadyTimeout time.Duration
	Environ      []string
	// TerraformEnv is added to terraform's environment.
	TerraformEnv map[string]string
	Log          zerolog.Logger
}

// Daemon is the wired program. It listens, and answers once Run is called.
type Daemon struct {
	cfg      Config
	lock     *flock.Flock
	db       *store.DB
	sinks    []*sink.Sink
	gate     *gate.Gate
	pool     *provider.Pool // nil when there is none
	wrapping *wrapping      // nil when images are never wrapped
	engine   *engine.Engine
	server   *server.Server
	listener net.Listener
}

// answerTimeout is the time that requests have for their answers once what they wait for is interrupted.
const answerTimeout = 5 * time.Second

// New wires the parts, takes the state folder for itself and listens. The caller calls Run, or Close.
func New(ctx context.Context, cfg Config) (d *Daemon, err error) {
	cfg.Azure.RegistrySuffix = cfg.Cloud.RegistrySuffix
	d = &Daemon{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
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
		return d, fmt.Errorf("state folder %s is in use by another daemon: stop it or choose another "+
			"--state-dir", cfg.StateDir)
	}
	home, err := homeID(cfg.StateDir)
	if err != nil {
		return d, err
	}
	d.db, err = store.Open(ctx, cfg.storeConfig(home))
	if err != nil {
		return d, err
	}
	trail, err := cfg.newTrail(ctx, d.db, home)
	if err != nil {
		return d, err
	}
	d.sinks, d.gate = trail.config.Sinks, trail.steps.Gate
	env := cfg.FullTerraformEnv()
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
		Dir: WorkspacesPath(cfg.StateDir), Terraform: cfg.Tools.Terraform, CLIConfig: cfg.Tools.CLIConfig(),
		InitKey:   cfg.Tools.TerraformVersion + " " + cfg.Tools.Terraform + " " + cfg.Tools.ProviderSHA256,
		Package:   cfg.providerPackage(),
		Providers: d.pool, EagerOperations: cfg.Providers.EagerLimit(),
		Backend: cfg.Backend, Environ: cfg.Environ, Env: env, SubscriptionID: cfg.SubscriptionID, Find: azure.Find,
		BeforeApply: engine.NewGate(cfg.Limits).BeforeApply, Record: trail.steps.Record, DigestKey: trail.key,
		KeepSecrets: cfg.ArchiveSecrets == config.ArchiveSecretsKeep, Log: cfg.Log,
	})
	if err != nil {
		return d, err
	}
	// The lock is ours, so whatever still runs in the workspaces belongs to a daemon that is dead, and so do its files.
	if err := errors.Join(workspaces.EndLeftoverProcesses(), wrap.RemoveLeftovers(cfg.StateDir)); err != nil {
		return d, err
	}
	reader, err := logs.New(logs.Config{
		Credential: cfg.Credential.Token, Cloud: cfg.Cloud.Configuration, Transport: cfg.Transport,
	})
	if err != nil {
		return d, err
	}
	images := newRegistryClient(cfg)
	var wrapper engine.Wrapper
	if cfg.Wrap.Mode == config.WrapAuto {
		if d.wrapping, err = newWrapping(cfg, images); err != nil {
			return d, err
		}
		head, err := d.db.AuditHead(ctx)
		if err != nil {
			return d, err
		}
		d.wrapping.owner = head.Log // of all that a database holds, it alone names the database
		wrapper = d.wrapping
	}
	settings := cfg.Azure
	settings.SubscriptionID = cfg.SubscriptionID
	d.engine, err = engine.New(ctx, engine.Config{
		Store: d.db, Workspaces: workspaces, Invoker: inv, Logs: reader, Registry: images,
		Wrapper: wrapper, WrapKeep: cfg.Wrap.Keep,
		Azure:    azure,
		Settings: settings, Version: cfg.Version, ShutdownTimeout: cfg.ShutdownTimeout, TakeOverAfter: cfg.TakeOverAfter,
		Limits: cfg.Limits, RemoteState: cfg.Backend.Remote(), Home: home,
		ReconcileInterval: cfg.ReconcileInterval, DeleteOrphans: cfg.GC == config.GCDelete,
		OrphanGrace: cfg.GCGrace, ReplaceFoundation: cfg.FoundationChanges == config.FoundationReplace,
		HoldFoundation: cfg.FoundationChanges == config.FoundationHold,
		AttachOutput:   cfg.Attach == config.AttachOutput, Audit: trail.config, Gate: trail.steps.Gate, Log: cfg.Log,
		Components: []api.ComponentVersion{
			{Name: "terraform", Version: cfg.Tools.TerraformVersion}, {Name: "azurerm", Version: cfg.Tools.ProviderVersion},
		},
	})
	if err != nil {
		return d, err
	}
	// Requests that wait for jobs learn of the stop at once, and need a moment to answer.
	d.server = server.New(server.Config{
		Backend: d.engine, ShutdownTimeout: cfg.ShutdownTimeout + answerTimeout, Log: cfg.Log,
	})
	d.listener, err = server.Listen(cfg.Listen)
	return d, err
}

// homeID returns the id of a state folder, which is kept in the folder. The caller has the folder's lock.
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

// FullTerraformEnv returns what terraform gets beside the allow list of the daemon's environment.
func (cfg Config) FullTerraformEnv() map[string]string {
	env := map[string]string{"ARM_SUBSCRIPTION_ID": cfg.SubscriptionID}
	maps.Copy(env, cfg.Cloud.Terraform)
	maps.Copy(env, cfg.Credential.Terraform)
	maps.Copy(env, cfg.TerraformEnv)
	return env
}

// poolIdleAfter is the time after the last Terraform run for which the pool keeps its processes.
const poolIdleAfter = 10 * time.Minute

// newPool returns the pool of azurerm processes, which get the environment that Terraform runs get. It returns nil when
// the pool is off.
func (cfg Config) newPool(env map[string]string) (*provider.Pool, error) {
	if cfg.Providers.Pool == config.PoolOff {
		return nil, nil
	}
	environment := workspace.Environment
	if cfg.Providers.Eager {
		environment = workspace.EagerEnvironment
	}
	return provider.New(provider.Config{
		Path: cfg.Tools.ProviderPath, Env: environment(cfg.Environ, env), Dir: filepath.Join(cfg.StateDir, "providers"),
		Size: cfg.Providers.Size, Reuse: cfg.Providers.Reuse, MaxAge: cfg.Providers.MaxAge, IdleAfter: poolIdleAfter,
		Log: cfg.Log,
	})
}

func (cfg Config) newInvoker() (*invoker.Invoker, error) {
	return invoker.New(invoker.Config{
		Credential: cfg.Credential.Token, Cloud: cfg.Cloud.Configuration, Transport: cfg.Transport,
		HTTP: &http.Client{Transport: cfg.AppTransport}, SubscriptionID: cfg.SubscriptionID,
		ReadyTimeout: cfg.ReadyTimeout, Log: cfg.Log,
	})
}

// azureView adapts the inventory to the engine and its workspaces.
type azureView struct{ inventory *inventory.Inventory }

func (cfg Config) newAzureView() (azureView, error) {
	inv, err := inventory.New(inventory.Config{
		Credential: cfg.Credential.Token, Cloud: cfg.Cloud.Configuration, Transport: cfg.Transport,
		SubscriptionID: cfg.SubscriptionID,
	})
	return azureView{inv}, err
}

func (v azureView) Find(ctx context.Context, id string) (workspace.Found, bool, error) {
	r, found, err := v.inventory.Find(ctx, id)
	return workspace.Found(r), found, err
}

func (v azureView) ComponentWorkspace(ctx context.Context, group, name string) (string, bool, error) {
	return v.inventory.ComponentWorkspace(ctx, group, name)
}

func (v azureView) ServicePlan(ctx context.Context, id string) (engine.ServicePlan, bool, error) {
	p, found, err := v.inventory.ServicePlan(ctx, id)
	return engine.ServicePlan{
		SKU: p.SKU, Linux: p.Linux, Workers: p.Workers, PerSiteScaling: p.PerSiteScaling,
	}, found, err
}

func (v azureView) FunctionApps(ctx context.Context, resourceGroup string) ([]workspace.Found, error) {
	return found(v.inventory.FunctionApps(ctx, resourceGroup))
}

func (v azureView) ServicePlans(ctx context.Context, resourceGroup string) ([]workspace.Found, error) {
	return found(v.inventory.ServicePlans(ctx, resourceGroup))
}

func found(list []inventory.Resource, err error) ([]workspace.Found, error) {
	out := make([]workspace.Found, len(list))
	for i, r := range list {
		out[i] = workspace.Found(r)
	}
	return out, err
}

// Addr returns the address that the daemon listens on. It must be called before Run.
func (d *Daemon) Addr() net.Addr { return d.listener.Addr() }

// Run answers requests until ctx ends. Then it stops everything in order and closes the daemon. A HUP to the process
// reloads what Reload reads.
func (d *Daemon) Run(ctx context.Context) error {
	err := d.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return d.Close() // stopped before it began
		}
		return errors.Join(err, d.Close())
	}
	d.cfg.Log.Info().Stringer("address", d.listener.Addr()).Str("credential", d.cfg.Credential.Method).
		Str("policy_digest", d.gate.Digest()).Msg("listening")
	var g errgroup.Group
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	g.Go(func() error {
		d.reloadOn(serving, hangups)
		return nil
	})
	if d.wrapping != nil {
		g.Go(func() error {
			d.wrapping.lookUpBase(serving)
			return nil
		})
	}
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
	return errors.Join(err, d.Close())
}

// Reload reads the policies again. Those in force stay when the new ones have mistakes, which the log and docker info
// name.
func (d *Daemon) Reload(ctx context.Context) {
	if err := d.gate.Reload(api.ByDaemon(ctx, "reload")); err != nil {
		d.cfg.Log.Error().Err(err).Msg("cannot reload the policies: the earlier ones stay in force")
		return
	}
	d.cfg.Log.Info().Str("policy_digest", d.gate.Digest()).Msg("reloaded the policies")
}

// reloadOn reloads with each signal until ctx ends.
func (d *Daemon) reloadOn(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			d.Reload(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// start starts the parts that work in the background.
func (d *Daemon) start(ctx context.Context) error {
	if d.pool != nil {
		if err := d.pool.Start(); err != nil {
			return err
		}
	}
	return d.engine.Start(ctx)
}

// Close releases what New took. It must not be called during or after Run.
func (d *Daemon) Close() error {
	var errs []error
	if d.listener != nil {
		errs = append(errs, d.listener.Close())
	}
	if d.pool != nil {
		errs = append(errs, d.pool.Close())
	}
	for _, s := range d.sinks {
		errs = append(errs, s.Close())
	}
	if d.db != nil {
		errs = append(errs, d.db.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}
