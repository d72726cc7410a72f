// Package toolchain finds, installs or builds what Terraform runs need: a terraform (or tofu) binary and the azurerm provider
// in an unpacked filesystem mirror. What it obtains is kept in a cache folder with its SHA-256, which is checked at every use.
// It must not know what the tools are used for.
//
//	tools, err := toolchain.Prepare(ctx, toolchain.Config{Progress: os.Stderr})
//	// run tools.Terraform with a CLI configuration file that holds tools.CLIConfig()
//
// terraform is the configured one, else one on PATH of a supported version, else the one in the cache, else it is downloaded and
// verified; where its site cannot be reached, OpenTofu is built from source over the Go module proxy. The provider comes from the
// cache, else from the registry, else it is built the same way. Builds need go on PATH, pin every module by its checksum, and are
// done once.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// Versions that are installed or built. Another terraform that is found is used when it is at least of the minimum version.
const (
	TerraformVersion = "1.11.4"
	OpenTofuVersion  = "1.12.6"
	ProviderVersion  = "5.2.0"

	minTerraform = "1.9.0"
	minOpenTofu  = "1.10.0"
)

// Config configures Prepare. The zero value is ready to use.
type Config struct {
	// CacheDir keeps what is downloaded or built; empty means sockerless-backend-azf in the user's cache folder.
	CacheDir string
	// Terraform is the path of the binary to use; empty means to look for one.
	Terraform string
	// Tofu takes OpenTofu: from PATH, the cache or source, whatever terraform there is.
	Tofu bool
	// Progress takes a line for each thing that takes long, and how long it has taken; nil means nobody is told.
	Progress io.Writer
	// ProbeTimeout is how long a download site may take to answer before it counts as out of reach; 0 means 5 s.
	ProbeTimeout time.Duration

	// For tests; the zero value is the real thing.
	environ      []string
	releases     string // base URL of terraform's downloads
	registries   map[string]string
	tofu         *module
	provider     *module
	progressTick time.Duration
}

// Tools is what Prepare found.
type Tools struct {
	// Terraform is the path of the binary, Tofu tells whether it is OpenTofu.
	Terraform        string
	TerraformVersion string
	Tofu             bool
	// Mirror is the root of the filesystem mirror; ProviderPath is the provider's binary in it.
	Mirror          string
	ProviderPath    string
	ProviderVersion string
	ProviderSHA256  string
}

// CLIConfig is the content of a CLI configuration file that installs azurerm from the mirror, asks no registry and never calls home.
func (t Tools) CLIConfig() string {
	// A path in a Go string literal is one in HCL too, but for HCL's templates.
	path := templateEscaper.Replace(strconv.Quote(t.Mirror))
	return fmt.Sprintf(`disable_checkpoint = true

provider_installation {
  filesystem_mirror {
    path    = %s
    include = ["registry.terraform.io/hashicorp/azurerm", "registry.opentofu.org/hashicorp/azurerm"]
  }
}
`, path)
}

// PackagePath is where the provider's package lies in the mirror, and below .terraform/providers in a folder that terraform has initialised.
func (t Tools) PackagePath() string {
	registry := terraformRegistry
	if t.Tofu {
		registry = openTofuRegistry
	}
	return filepath.Dir(providerPath("", registry))
}

// LockFile is the dependency lock file that terraform init writes for the provider, with the hash of its package (h1: as in
// golang.org/x/mod/sumdb/dirhash), which holds the one binary.
func (t Tools) LockFile() string {
	address, program := filepath.Dir(filepath.Dir(t.PackagePath())), "terraform"
	if t.Tofu {
		program = "tofu"
	}
	hash := sha256.Sum256(fmt.Appendf(nil, "%s  %s\n", t.ProviderSHA256, filepath.Base(t.ProviderPath)))
	return fmt.Sprintf(`# This file is maintained automatically by "%s init".
# Manual edits may be lost in future updates.

provider %q {
  version     = %q
  constraints = %q
  hashes = [
    "h1:%s",
  ]
}
`, program, address, t.ProviderVersion, t.ProviderVersion, base64.StdEncoding.EncodeToString(hash[:]))
}

// Prepare makes the tools ready and returns where they are. It blocks: on a machine that can reach nothing but a Go module proxy, about ten
// minutes the first time. Any number of processes may call it at once; one does the work and the others wait.
func Prepare(ctx context.Context, cfg Config) (Tools, error) {
	if cfg.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return Tools{}, fmt.Errorf("find cache folder: %w", err)
		}
		cfg.CacheDir = filepath.Join(dir, "sockerless-backend-azf")
	}
	dir, err := filepath.Abs(cfg.CacheDir)
	if err != nil {
		return Tools{}, fmt.Errorf("find cache folder: %w", err)
	}
	cfg.CacheDir = dir
	if cfg.ProbeTimeout == 0 {
		cfg.ProbeTimeout = 5 * time.Second
	}
	if cfg.environ == nil {
		cfg.environ = os.Environ()
	}
	if cfg.releases == "" {
		cfg.releases = "https://releases.hashicorp.com"
	}
	if cfg.tofu == nil {
		cfg.tofu = &openTofu
	}
	if cfg.provider == nil {
		cfg.provider = &azurerm
	}
	if cfg.progressTick == 0 {
		cfg.progressTick = 15 * time.Second
	}
	p := &preparer{Config: cfg}
	var tools Tools
	err = p.locked(ctx, func() error {
		if err := p.findTerraform(ctx, &tools); err != nil {
			return err
		}
		return p.findProvider(ctx, &tools)
	})
	if err != nil {
		return Tools{}, fmt.Errorf("prepare tools: %w", err)
	}
	return tools, nil
}

type preparer struct {
	Config
	mu sync.Mutex // guards writes to Progress
}

// say prints a progress line.
func (p *preparer) say(format string, args ...any) {
	if p.Progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.Progress, format+"\n", args...) // nobody reads it: no reason to fail
}

// locked runs f while this process alone changes the cache, and removes what a killed process left half done.
func (p *preparer) locked(ctx context.Context, f func() error) (err error) {
	if err := os.MkdirAll(p.CacheDir, 0o755); err != nil {
		return fmt.Errorf("make cache folder: %w", err)
	}
	lock := flock.New(filepath.Join(p.CacheDir, "lock"))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		p.say("waiting for another process that prepares the tools in %s", p.CacheDir)
		_, err = lock.TryLockContext(ctx, 200*time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("lock cache folder: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := os.RemoveAll(p.scratch()); err != nil {
		return fmt.Errorf("clean cache folder: %w", err)
	}
	if err := os.MkdirAll(p.scratch(), 0o755); err != nil {
		return fmt.Errorf("clean cache folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.scratch())) }()
	return f()
}

// scratch is where things are made before they are renamed into place.
func (p *preparer) scratch() string { return filepath.Join(p.CacheDir, "scratch") }

// reachable tells whether a site answers in time.
func (p *preparer) reachable(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, p.ProbeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}

func platform() string { return runtime.GOOS + "_" + runtime.GOARCH }
