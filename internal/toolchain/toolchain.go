// Package toolchain finds, installs or builds what Terraform runs need: a terraform (or tofu) binary and the azurerm
// provider in an unpacked filesystem mirror. It keeps each artefact in a cache folder with its SHA-256, and checks
// that at every use. It must not know what the tools are used for.
//
//	tools, err := toolchain.Prepare(ctx, toolchain.Config{Progress: os.Stderr})
//	// run tools.Terraform with a CLI configuration file that holds tools.CLIConfig()
//
// The order for terraform: the configured one; one on PATH of a supported version; the one in the cache; a verified
// download; OpenTofu, built from source over the Go module proxy, if terraform's site is out of reach. The order
// for the provider: the cache; its registry; a build. Builds need go on PATH, pin every module by its checksum, and
// happen once.
//
// Each artefact has a lock of its own. A process waits only for another that is obtaining the same artefact, and an
// artefact that is ready needs no lock.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// Versions that are installed or built. Another terraform that is found is used when it is at least of the minimum
// version.
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
	// Tofu selects OpenTofu, from PATH, the cache or source, even if there is a terraform.
	Tofu bool
	// Progress receives what is being obtained, how far it is and how long it has taken: one line that is rewritten in
	// place on a terminal, otherwise a line at most every 15 s. nil discards it.
	Progress io.Writer
	// ProbeTimeout limits the wait for a download site's answer, after which the site counts as out of reach; 0 means
	// 5 s.
	ProbeTimeout time.Duration

	// For tests; the zero value is the real thing.
	environ    []string
	releases   string // base URL of terraform's downloads
	registries map[string]string
	tofu       *module
	provider   *module

	progressTick     time.Duration // how often a terminal's line is renewed
	progressInterval time.Duration // at most one progress line per interval elsewhere
}

// Tools holds what Prepare found.
type Tools struct {
	// Terraform is the path of the binary. Tofu reports whether it is OpenTofu.
	Terraform        string
	TerraformVersion string
	Tofu             bool
	// Mirror is the root of the filesystem mirror; ProviderPath is the provider's binary in it.
	Mirror          string
	ProviderPath    string
	ProviderVersion string
	ProviderSHA256  string
}

// CLIConfig returns the content of a CLI configuration file that installs azurerm from the mirror, asks no registry
// and never calls home.
func (t Tools) CLIConfig() string {
	// A Go string literal is one in HCL too, except for HCL's templates.
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

// PackagePath returns the path of the provider's package below the mirror. It is the same below
// .terraform/providers in a folder that terraform has initialised.
func (t Tools) PackagePath() string {
	registry := terraformRegistry
	if t.Tofu {
		registry = openTofuRegistry
	}
	return filepath.Dir(providerPath("", registry, t.ProviderVersion))
}

// LockFile returns the dependency lock file that terraform init writes for the provider. Its hash is that of the
// package, which holds the one binary (h1: as in golang.org/x/mod/sumdb/dirhash).
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

// Prepare obtains the tools that are missing and returns the paths of all. It blocks: on a machine that can reach
// nothing but a Go module proxy, about ten minutes the first time. Any number of processes may call it at once. One
// of them obtains a missing artefact, and the others that need the same one wait for it.
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
		cfg.progressTick = time.Second
	}
	if cfg.progressInterval == 0 {
		cfg.progressInterval = 15 * time.Second
	}
	p := &preparer{Config: cfg, progress: newProgress(cfg.Progress, cfg.progressInterval)}
	defer p.progress.done()
	var tools Tools
	if err := p.findTerraform(ctx, &tools); err != nil {
		return Tools{}, fmt.Errorf("prepare tools: %w", err)
	}
	if err := p.findProvider(ctx, &tools); err != nil {
		return Tools{}, fmt.Errorf("prepare tools: %w", err)
	}
	return tools, nil
}

type preparer struct {
	Config
	progress *progress
	holder   *artefact // whose lock this process holds
}

// reachable reports whether a site answers in time.
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
