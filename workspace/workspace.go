package workspace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/workspace/provider"
)

// Config configures New.
type Config struct {
	// Dir is the root of all workspaces. It is created when missing.
	Dir string
	// Terraform is the path of a terraform or tofu binary.
	Terraform string
	// CLIConfig is the content of Terraform's CLI configuration file, which names the source of providers.
	CLIConfig string
	// InitKey names the present terraform and provider: a workspace initialised under another key is initialised again.
	InitKey string
	// Package is the provider that the workspaces use. With it, terraform init runs only where it is needed.
	Package Package
	// Providers are started providers, which operations use in place of Terraform's own. Nil: there are none. The caller
	// closes the pool after all operations have ended. The pool's environment is that of Environment, and with
	// EagerOperations that of EagerEnvironment.
	Providers *provider.Pool
	// EagerOperations is the number of operations that may poll Azure at the same time without any delay. The others wait
	// 10 s before the first poll, as azurerm does.
	EagerOperations int
	// Backend names the place of states. LockTimeout is the time that an operation waits for a lock in a remote one; 0
	// means 20 seconds.
	Backend     Backend
	LockTimeout time.Duration
	// Environ is the daemon's environment, from which an allow list passes to terraform. Env is added: ARM_* and the like.
	Environ []string
	Env     map[string]string
	// InterruptWait is the time that an interrupted terraform has to write its state before it is killed; 0 means
	// InterruptWait.
	InterruptWait time.Duration
	// SubscriptionID is the subscription of all resources.
	SubscriptionID string
	// Find looks a resource up in Azure by its id and changes nothing. found is false only when Azure reports that there
	// is none.
	Find func(ctx context.Context, id string) (r Found, found bool, err error)
	// BeforeApply, when set, is called before a plan with these changes is applied, and may block. The function that it
	// returns is called afterwards.
	BeforeApply func(ctx context.Context, changes Changes) (applied func(), err error)
	// Record, when set, is called with each step of an operation. Nothing is applied when it fails for the steps before.
	Record func(ctx context.Context, step Step) error
	// DigestKey is the key of Step.Change.
	DigestKey []byte
	// KeepSecrets leaves variables, plan files and states in the archive.
	KeepSecrets bool
	// Now is the clock, nil means time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// InterruptWait is the default of Config.InterruptWait.
const InterruptWait = 5 * time.Minute

// Found is a resource in Azure.
type Found struct {
	ID   string
	Tags map[string]string
}

// Manager owns the workspaces below one folder. Its methods are safe for concurrent use on different workspaces. On one
// workspace, Terraform's state lock makes a second operation fail.
type Manager struct {
	cfg       Config
	env       map[string]string
	eager     chan struct{} // holds a token for each operation that polls eagerly; nil: none does
	fallbacks atomic.Int64
	founding  sync.Mutex // held by Foundation
}

// New checks cfg and prepares the folders.
func New(cfg Config) (*Manager, error) {
	if cfg.Dir == "" || cfg.Terraform == "" || cfg.SubscriptionID == "" || cfg.Find == nil {
		return nil, errors.New(
			"configure workspaces: a folder, a terraform binary, a subscription and a way to find resources are needed")
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
	for _, d := range []string{cfg.Dir, filepath.Join(cfg.Dir, containersDir), filepath.Join(cfg.Dir, plansDir),
		filepath.Join(cfg.Dir, "archive")} {
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

// Folders of workspaces in use, beside the foundation's.
const (
	containersDir = "containers"
	plansDir      = "plans"
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Path returns the folder of a container's workspace, whether it exists or not.
func (m *Manager) Path(id string) string { return filepath.Join(m.cfg.Dir, containersDir, id) }

// ArchivePath returns the folder where a container's workspace is kept after Destroy.
func (m *Manager) ArchivePath(id string) string { return filepath.Join(m.cfg.Dir, "archive", id) }
