// Package workspace turns one spec into one Terraform directory and runs plan, apply and destroy on it. It is call and
// return: it starts no goroutine that outlives a call, retries nothing, and must not know of containers' states, jobs or HTTP.
// The files of every run are kept: configuration, variables, plan, redacted plan JSON, output and verdict.
//
//	m, err := workspace.New(workspace.Config{Dir: dir, Terraform: path, ...})
//	made, err := m.Provision(ctx, id, workspace.FunctionApp{...})
//	run, err := m.Destroy(ctx, id)
//
// Below Config.Dir lie foundation, containers/ID for each container and archive/ID for each removed one. Plans, variables and
// state hold secrets in clear: folders are 0700 and files 0600.
package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/tfmodules"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// Files of a workspace beside the module's own. A destroy run has the same set with the prefix "destroy".
const (
	varsFile  = "terraform.tfvars.json"
	stateFile = "terraform.tfstate"
)

// Config configures New.
type Config struct {
	// Dir is the root of all workspaces. It is made when missing.
	Dir string
	// Terraform is the path of a terraform or tofu binary.
	Terraform string
	// CLIConfig is the content of the CLI configuration file that the runs use; it says where providers are installed from.
	CLIConfig string
	// InitKey names terraform and provider as they are now: a workspace initialised under another key is initialised again.
	InitKey string
	// Package is the provider that the workspaces use; with it, terraform init runs only where it is needed.
	Package Package
	// Providers are started providers that runs use in place of terraform's own. Nil: there are none. The caller closes the pool, after
	// all runs have ended. Its environment is that of Environment, and with EagerOperations that of EagerEnvironment.
	Providers *provider.Pool
	// EagerOperations is how many runs at once may look after operations in Azure without azurerm's delay of 10 s, and without any.
	EagerOperations int
	// Backend says where states are kept. LockTimeout is how long a run waits for a lock in a remote one; 0 means 20 seconds.
	Backend     Backend
	LockTimeout time.Duration
	// Environ is the daemon's environment, from which an allow list passes to terraform. Env is added: ARM_* and the like.
	Environ []string
	Env     map[string]string
	// InterruptWait is how long an interrupted terraform may take to write its state before it is killed; 0 means InterruptWait.
	InterruptWait time.Duration
	// SubscriptionID is where everything is made.
	SubscriptionID string
	// Find asks Azure for a resource by its id, without changing anything; found is false only when Azure says that there is none.
	Find func(ctx context.Context, id string) (r Found, found bool, err error)
	// BeforeApply, when set, is called before a plan with these changes is applied, and may block; what it returns is called afterwards.
	BeforeApply func(ctx context.Context, changes Changes) (applied func(), err error)
	// Now is the clock, nil means time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// InterruptWait is for how long an interrupted terraform may go on by default.
const InterruptWait = 5 * time.Minute

// Found is a resource as Azure has it.
type Found struct {
	ID   string
	Tags map[string]string
}

// Manager owns the workspaces below one folder. Its methods are safe for concurrent use on different workspaces; on one
// workspace, Terraform's state lock makes a second run fail.
type Manager struct {
	cfg       Config
	env       map[string]string
	eager     chan struct{} // holds a token for each run that polls eagerly; nil: none does
	fallbacks atomic.Int64
}

// New checks cfg and prepares the folders.
func New(cfg Config) (*Manager, error) {
	if cfg.Dir == "" || cfg.Terraform == "" || cfg.SubscriptionID == "" || cfg.Find == nil {
		return nil, errors.New("configure workspaces: a folder, a terraform binary, a subscription and a way to find resources are needed")
	}
	dir, err := filepath.Abs(cfg.Dir) // terraform runs elsewhere
	if err != nil {
		return nil, fmt.Errorf("configure workspaces: %w", err)
	}
	cfg.Dir = dir
	if cfg.InterruptWait == 0 {
		cfg.InterruptWait = InterruptWait
	}
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = remoteLockTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	for _, d := range []string{cfg.Dir, filepath.Join(cfg.Dir, "containers"), filepath.Join(cfg.Dir, "archive")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("configure workspaces: %w", err)
		}
	}
	initKey, err := cfg.Backend.initKey()
	if err != nil {
		return nil, fmt.Errorf("configure workspaces: %w", err)
	}
	if cfg.InitKey != "" {
		cfg.InitKey += initKey
	}
	rc := filepath.Join(cfg.Dir, "terraform.rc")
	if err := writeFile(rc, []byte(cfg.CLIConfig)); err != nil {
		return nil, fmt.Errorf("configure workspaces: %w", err)
	}
	m := &Manager{cfg: cfg, env: Environment(cfg.Environ, cfg.Env)}
	if cfg.EagerOperations > 0 {
		m.eager = make(chan struct{}, cfg.EagerOperations)
	}
	m.env[cliConfigEnv] = rc
	maps.Copy(m.env, cfg.Backend.Env())
	return m, nil
}

var idPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Path is the folder of a container's workspace, whether it exists or not.
func (m *Manager) Path(id string) string { return filepath.Join(m.cfg.Dir, "containers", id) }

// ArchivePath is the folder where a container's workspace is kept after Destroy.
func (m *Manager) ArchivePath(id string) string { return filepath.Join(m.cfg.Dir, "archive", id) }

// FunctionAppOutputs is the outcome of Provision.
type FunctionAppOutputs struct {
	Operation  Operation
	ResourceID string
	HostName   string
}

// Provision makes or completes the function app of the container with the given id (64 hex digits), and blocks until
// Terraform is done. It can be called again after any failure. When ctx ends, terraform is interrupted and given time to
// write its state. A failed run is a *TerraformError.
func (m *Manager) Provision(ctx context.Context, id string, app FunctionApp) (FunctionAppOutputs, error) {
	if !idPattern.MatchString(id) {
		return FunctionAppOutputs{}, fmt.Errorf("provision: %q is not a container id", id)
	}
	dir := m.Path(id)
	if err := m.render(dir, tfmodules.FunctionApp(), app); err != nil {
		return FunctionAppOutputs{}, err
	}
	if err := m.mend(dir); err != nil {
		return FunctionAppOutputs{}, err
	}
	var run Operation
	var out struct {
		ID       output[string] `json:"id"`
		HostName output[string] `json:"default_hostname"`
	}
	err := m.attempt(ctx, dir, func(s *session) (err error) {
		if run, err = m.apply(ctx, dir, m.ownApp(id, app), s); err != nil {
			return err
		}
		return m.outputs(ctx, dir, run, s, &out)
	})
	if err != nil {
		return FunctionAppOutputs{}, err
	}
	return FunctionAppOutputs{Operation: run, ResourceID: out.ID.Value, HostName: out.HostName.Value}, nil
}

// apply makes what the workspace's files say. What is ours and exists in Azure without being in the state is imported, before the
// run and, as an answer of Azure may be lost, after one that failed, which is then repeated once.
func (m *Manager) apply(ctx context.Context, dir string, list []own, s *session) (Operation, error) {
	if err := m.pushErrored(ctx, dir, s); err != nil {
		return Operation{}, err
	}
	if _, err := m.adopt(ctx, dir, list, s); err != nil {
		return Operation{}, err
	}
	run, err := m.run(ctx, dir, applying, s)
	if err == nil || ctx.Err() != nil {
		return run, err
	}
	adopted, adoptErr := m.adopt(ctx, dir, list, s)
	if !adopted || adoptErr != nil {
		return run, err
	}
	return m.run(ctx, dir, applying, s)
}

// FoundationOutputs is the outcome of Foundation.
type FoundationOutputs struct {
	Operation          Operation
	ServicePlanID      string
	ServicePlanSKU     string
	LogAnalyticsID     string // the workspace's customer id, a UUID
	InsightsConnection string // a secret
}

func (m *Manager) foundation() string { return filepath.Join(m.cfg.Dir, "foundation") }

// Foundation makes or updates what all containers share and blocks until Terraform is done.
func (m *Manager) Foundation(ctx context.Context, f Foundation) (FoundationOutputs, error) {
	dir := m.foundation()
	if err := m.render(dir, tfmodules.Foundation(), f); err != nil {
		return FoundationOutputs{}, err
	}
	if err := m.mend(dir); err != nil {
		return FoundationOutputs{}, err
	}
	var made FoundationOutputs
	err := m.attempt(ctx, dir, func(s *session) error {
		run, err := m.apply(ctx, dir, m.ownFoundation(f), s)
		if err != nil {
			return err
		}
		made, err = m.foundationOutputs(ctx, run, s)
		return err
	})
	return made, err
}

// FoundationOutputs reads from the state what Foundation has made, and changes nothing; Operation is zero. It wraps ErrNoWorkspace when
// Foundation was never called; fields are empty where it did not get so far.
func (m *Manager) FoundationOutputs(ctx context.Context) (FoundationOutputs, error) {
	dir := m.foundation()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if !m.cfg.Backend.Remote() {
			return FoundationOutputs{}, fmt.Errorf("read outputs of %s: %w", dir, ErrNoWorkspace)
		}
		// Another daemon may have made it. Outputs need no variables.
		if err := m.render(dir, tfmodules.Foundation(), nil); err != nil {
			return FoundationOutputs{}, err
		}
	}
	var made FoundationOutputs
	err := m.attempt(ctx, dir, func(s *session) (err error) {
		made, err = m.foundationOutputs(ctx, Operation{}, s)
		return err
	})
	return made, err
}

func (m *Manager) foundationOutputs(ctx context.Context, run Operation, s *session) (FoundationOutputs, error) {
	var out struct {
		PlanID         output[string] `json:"service_plan_id"`
		ServicePlanSKU output[string] `json:"service_plan_sku"`
		Logs           output[string] `json:"log_analytics_workspace_id"`
		Insights       output[string] `json:"application_insights_connection_string"`
	}
	if err := m.outputs(ctx, m.foundation(), run, s, &out); err != nil {
		return FoundationOutputs{}, err
	}
	return FoundationOutputs{
		Operation: run, ServicePlanID: out.PlanID.Value, ServicePlanSKU: out.ServicePlanSKU.Value,
		LogAnalyticsID: out.Logs.Value, InsightsConnection: out.Insights.Value,
	}, nil
}

// ErrNoWorkspace is wrapped by Destroy when there is no workspace of the container, neither in use nor in the archive, and by
// FoundationOutputs.
var ErrNoWorkspace = errors.New("terraform workspace is missing")

// ErrNoState is wrapped by Destroy when a workspace that Terraform may have made something from has no state. Nothing is
// destroyed then, and the workspace stays.
var ErrNoState = errors.New("terraform state is missing")

// Destroy destroys what the workspace's state holds, checks that nothing is left, and moves the workspace to the archive.
// An app that a killed or failed apply left behind without state is imported first. It works from the files in the workspace, not
// from today's module. A workspace that is in the archive already is no error;
// one that is missing is ErrNoWorkspace, and one whose state was lost is ErrNoState.
func (m *Manager) Destroy(ctx context.Context, id string) (Operation, error) {
	dir := m.Path(id)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(m.ArchivePath(id)); err == nil {
			return Operation{}, nil
		}
		return Operation{}, fmt.Errorf("workspace %s: %w: restore the folder, or delete the function app by hand", dir, ErrNoWorkspace)
	}
	if err := m.mend(dir); err != nil {
		return Operation{}, err
	}
	var run Operation
	err := m.attempt(ctx, dir, func(s *session) (err error) {
		run, err = m.destroy(ctx, id, s)
		return err
	})
	if err != nil {
		return Operation{}, err
	}
	return run, m.Archive(id)
}

// destroy empties the workspace's state.
func (m *Manager) destroy(ctx context.Context, id string, s *session) (Operation, error) {
	dir := m.Path(id)
	spec, rendered, err := readSpec(dir)
	if err != nil {
		return Operation{}, err
	}
	if err := m.pushErrored(ctx, dir, s); err != nil {
		return Operation{}, err
	}
	if rendered {
		if _, err := m.adopt(ctx, dir, m.ownApp(id, spec), s); err != nil && !errors.Is(err, ErrForeign) {
			return Operation{}, err
		}
	}
	known, err := m.readState(ctx, dir, s)
	if errors.Is(err, fs.ErrNotExist) {
		last, err := lastOperation(dir, applying)
		if err != nil {
			return Operation{}, err
		}
		if last.leftState() {
			return Operation{}, fmt.Errorf("workspace %s: %w: restore %s, or delete the function app by hand", dir, ErrNoState, m.stateName(dir))
		}
		return Operation{}, nil
	}
	if err != nil || len(known.managed()) == 0 {
		return Operation{}, err
	}
	// azurerm reads the plan that the variables name even when it plans a destroy, and an app that was imported may have another.
	if plan := known.plan(); rendered && plan != "" && plan != spec.ServicePlanID {
		spec.ServicePlanID = plan
		if err := writeVars(dir, spec); err != nil {
			return Operation{}, fmt.Errorf("render workspace %s: %w", dir, err)
		}
	}
	run, err := m.run(ctx, dir, destroying, s)
	if err != nil {
		return Operation{}, err
	}
	if known, err = m.readState(ctx, dir, s); err != nil {
		return Operation{}, err
	}
	if left := known.managed(); len(left) > 0 {
		return Operation{}, fmt.Errorf("workspace %s: %s is still in the state after destroy", dir, strings.Join(left, ", "))
	}
	if known.content != nil {
		// The archive holds the last state whatever the backend is.
		return run, writeFile(filepath.Join(dir, stateFile), known.content)
	}
	return run, nil
}

// render writes a module's files and its variables, unless they are nil, into dir.
func render(dir string, module fs.FS, vars any) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := fs.Glob(module, "*.tf")
	if err != nil {
		return err
	}
	for _, name := range files {
		content, err := fs.ReadFile(module, name)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	if vars == nil {
		return nil
	}
	return writeVars(dir, vars)
}

func writeVars(dir string, vars any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(vars); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, varsFile), buf.Bytes())
}

// temporary is the form of the names of files that are being written.
const temporary = ".tmp-*"

// writeFile replaces a file whole, so that a crash leaves the old or the new content.
func writeFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), temporary) // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	// The name, too, must outlive a power failure.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
