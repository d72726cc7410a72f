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
	"slices"
	"strings"
	"sync"
	"time"
)

// The modules have other names than go.mod and go.sum: a folder with a go.mod cannot be embedded. Each lists the
// program as a tool, so that "go mod tidy" keeps all that its build needs.
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
	// Any value except "no" marks a development build, which warns and names itself 1.12.6-dev.
	ldflags: "-X github.com/opentofu/opentofu/version.dev=no",
}

var azurerm = module{
	name: "azurerm", pkg: "github.com/hashicorp/terraform-provider-azurerm",
	ldflags: "-X github.com/hashicorp/terraform-provider-azurerm/version.ProviderVersion=" + ProviderVersion,
}

// passed names the variables that a build may see: where to find programs and folders, and how to reach a module
// proxy.
var passed = []string{
	"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME", "GOPATH", "GOCACHE", "GOMODCACHE",
	"GOPROXY", "GONOPROXY", "GOPRIVATE", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN", "GOROOT",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// build builds a module's program in the scratch folder with the go on PATH, and returns its path.
func (p *preparer) build(ctx context.Context, m module, a artefact, scratch string) (string, error) {
	goBinary, ok := p.lookPath("go")
	if !ok {
		return "", fmt.Errorf("build %s: go is not on PATH: install Go, or put %s there yourself",
			m.name, filepath.Base(a.path))
	}
	if err := m.write(scratch); err != nil {
		return "", fmt.Errorf("build %s: %w", m.name, err)
	}
	b := &builder{preparer: p, name: a.name, dir: scratch, goBinary: goBinary, started: time.Now()}
	// An error is not lost: go build meets it too, and reports it.
	_ = b.run(ctx, b.graph.readLine, "list", "-mod=readonly", "-deps", "-f", graphFormat, m.pkg)
	binary := filepath.Join(scratch, "binary")
	err := b.run(ctx, nil, "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w "+m.ldflags, "-o", binary, m.pkg)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("build %s: %w", m.name, err)
	}
	p.progress.say("built %s in %s", a.name, b.elapsed())
	return binary, nil
}

// write puts the module's go.mod and go.sum into a folder.
func (m module) write(dir string) error {
	if m.mod == nil {
		var err, sumErr error
		m.mod, err = modules.ReadFile("modules/" + m.name + ".mod")
		m.sum, sumErr = modules.ReadFile("modules/" + m.name + ".sum")
		if err = errors.Join(err, sumErr); err != nil {
			return err
		}
	}
	for file, content := range map[string][]byte{"go.mod": m.mod, "go.sum": m.sum} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// builder runs go for one artefact and shows how far it is.
type builder struct {
	*preparer
	name     string
	dir      string
	goBinary string
	started  time.Time

	graph     graph
	downloads int
}

// run runs go and blocks until it ends. stdout, if not nil, receives the lines of its output. The error holds the
// end of what go printed to stderr.
func (b *builder) run(ctx context.Context, stdout func(line string), args ...string) error {
	cmd := exec.CommandContext(ctx, b.goBinary, args...)
	cmd.Dir, cmd.Env = b.dir, b.goEnv()
	// An interrupted go removes its own temporary folders.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var mu sync.Mutex // guards the builder's counts: two goroutines read go's output
	var reasons bytes.Buffer
	out := &lines{take: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if stdout != nil {
			stdout(line)
		}
	}}
	messages := &lines{take: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if !b.progressed(line) {
			reasons.WriteString(line + "\n")
		}
	}}
	cmd.Stdout, cmd.Stderr = out, messages
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(b.progressTick)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			out.flush()
			messages.flush()
			if err != nil {
				return fmt.Errorf("%w\n%s", err, tail(reasons.Bytes()))
			}
			return nil
		case <-ticker.C:
			mu.Lock()
			line := b.line()
			mu.Unlock()
			b.working(line)
		}
	}
}

// progressed counts a line of go that reports progress, and reports whether it is one.
func (b *builder) progressed(line string) bool {
	if strings.HasPrefix(line, "go: downloading ") {
		b.downloads++
		return true
	}
	return b.graph.reached(line)
}

// line returns the progress line.
func (b *builder) line() string {
	switch done, all := b.graph.done(), b.graph.all(); {
	case all == 0 && b.downloads > 0:
		return fmt.Sprintf("building %s: %d modules downloaded, %s", b.name, b.downloads, b.elapsed())
	case all == 0:
		return fmt.Sprintf("building %s: reading its packages, %s", b.name, b.elapsed())
	case done == all:
		return fmt.Sprintf("building %s: linking %d packages, %s", b.name, all, b.elapsed())
	default:
		return fmt.Sprintf("building %s: %d of %d packages, %s", b.name, done, all, b.elapsed())
	}
}

func (b *builder) elapsed() time.Duration { return time.Since(b.started).Round(time.Second) }

// goEnv returns the environment of go: nothing of the caller's decides what is built.
func (b *builder) goEnv() []string {
	environ := []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}
	for _, entry := range b.environ {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(passed, name) {
			environ = append(environ, entry)
		}
	}
	return environ
}

// tail returns the end of a command's output, where its reason is.
func tail(out []byte) []byte {
	const limit = 4 << 10
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return bytes.TrimSpace(out)
}
