package toolchain

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The modules are kept under other names than go.mod and go.sum: a folder with a go.mod cannot be embedded. Each lists the program as a
// tool, which makes "go mod tidy" keep all that its build needs.
//
//go:embed modules
var modules embed.FS

// module is a program that is built from the Go module proxy.
type module struct {
	name    string // of modules/NAME.mod and modules/NAME.sum, unless mod and sum are given
	pkg     string
	ldflags string
	mod     []byte
	sum     []byte
}

var openTofu = module{
	name: "opentofu", pkg: "github.com/opentofu/opentofu/cmd/tofu",
	// Anything but "no" makes it a development build, which warns and names itself 1.12.6-dev.
	ldflags: "-X github.com/opentofu/opentofu/version.dev=no",
}

var azurerm = module{
	name: "azurerm", pkg: "github.com/hashicorp/terraform-provider-azurerm",
	ldflags: "-X github.com/hashicorp/terraform-provider-azurerm/version.ProviderVersion=" + ProviderVersion,
}

// passed are the variables that a build may see: where to find programs and folders, and how to reach a module proxy.
var passed = []string{
	"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN", "GOROOT",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// build builds a module's program with the go on PATH and keeps it as target.
func (p *preparer) build(ctx context.Context, m module, target string) error {
	goBinary, ok := p.lookPath("go")
	if !ok {
		return fmt.Errorf("build %s: go is not on PATH: install Go, or put %s there yourself", m.name, filepath.Base(target))
	}
	dir := filepath.Join(p.scratch(), m.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build %s: %w", m.name, err)
	}
	if m.mod == nil {
		var err, sumErr error
		m.mod, err = modules.ReadFile("modules/" + m.name + ".mod")
		m.sum, sumErr = modules.ReadFile("modules/" + m.name + ".sum")
		if err = errors.Join(err, sumErr); err != nil {
			return fmt.Errorf("build %s: %w", m.name, err)
		}
	}
	for file, content := range map[string][]byte{"go.mod": m.mod, "go.sum": m.sum} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			return fmt.Errorf("build %s: %w", m.name, err)
		}
	}
	binary := filepath.Join(dir, "binary")
	cmd := exec.CommandContext(ctx, goBinary, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w "+m.ldflags, "-o", binary, m.pkg)
	cmd.Dir = dir
	cmd.Env = []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}
	for _, entry := range p.environ {
		for _, name := range passed {
			if strings.HasPrefix(entry, name+"=") {
				cmd.Env = append(cmd.Env, entry)
			}
		}
	}
	// An interrupted go removes its own temporary folders.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("build %s: %w", m.name, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ticker := time.NewTicker(p.progressTick)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return fmt.Errorf("build %s: %w", m.name, context.Cause(ctx))
			}
			if err != nil {
				return fmt.Errorf("build %s: %w\n%s", m.name, err, tail(out.Bytes()))
			}
			p.say("%s is built, after %s", m.name, time.Since(started).Round(time.Second))
			return p.keep(binary, target)
		case <-ticker.C:
			p.say("building %s, %s so far", m.name, time.Since(started).Round(time.Second))
		}
	}
}

// tail is the end of a command's output, where its reason is.
func tail(out []byte) []byte {
	const limit = 4 << 10
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return bytes.TrimSpace(out)
}
