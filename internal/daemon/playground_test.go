package daemon_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// sitePath matches a function app, and nothing below it.
var sitePath = regexp.MustCompile(`/sites/[^/]+$`)

// playground is a simulator with the example image and a running daemon.
type playground struct {
	*client.Client
	sim    *azuresim.Sim
	tools  toolchain.Tools
	image  string
	dir    string
	socket string
	cfg    daemon.Config
	// database is that of one of several daemons, empty for SQLite.
	database string
	wrapping *wrapSettings          // of a daemon in a process, nil if it wraps nothing
	policy   string                 // a folder of rules of a daemon in a process, empty for none
	disk     int                    // bytes of the state folder's own file system, 0 if it has none
	clock    azuretest.ShiftedClock // of the simulator
	// stop ends the daemon; start starts the next one on the same state.
	stop  func()
	start func()

	mu      sync.Mutex
	process *process // in place of the daemon in this process: see spawn
}

func newPlayground(t *testing.T) *playground {
	t.Helper()
	return newPlaygroundWith(t, func(*daemon.Config) {})
}

// newPlaygroundWith lets change adapt the daemon's configuration at each start.
func newPlaygroundWith(t *testing.T, change func(*daemon.Config)) *playground {
	t.Helper()
	p := newAzure(t)
	p.run(t, change)
	return p
}

// run starts a daemon that ends with the test. change adapts its configuration at each start.
func (p *playground) run(t *testing.T, change func(*daemon.Config)) {
	t.Helper()
	p.start = func() {
		t.Helper()
		cfg, err := simulated(t.Context(), p.sim.Access(), p.sim.Transport(), p.dir, p.socket)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Tools, cfg.Log = p.tools, zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
		change(&cfg)
		p.cfg = cfg
		p.serve(t, cfg)
	}
	p.start()
	t.Cleanup(func() { p.stop() })
}

// simulated returns the configuration of a daemon on a simulator, without tools and log.
func simulated(
	ctx context.Context, sim azuresim.Access, transport http.RoundTripper, dir, socket string,
) (cfg daemon.Config, err error) {
	if cfg.Config, err = demo.Settings(filepath.Join(dir, "daemon"), socket); err != nil {
		return cfg, err
	}
	cfg.Version, cfg.Environ = "test", os.Environ()
	return cfg, demo.Connect(ctx, &cfg, sim, transport)
}

// stateDir returns the daemon's state folder, which the daemon may see on a file system of its own.
func (p *playground) stateDir() string {
	dir := filepath.Join(p.dir, "daemon")
	if p.disk > 0 {
		return filepath.Join("/proc", strconv.Itoa(p.process.cmd.Process.Pid), "root", dir)
	}
	return dir
}

// serve runs a daemon in this process.
func (p *playground) serve(t *testing.T, cfg daemon.Config) {
	t.Helper()
	d, err := daemon.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	p.stop = func() {
		p.Close()
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		p.stop = func() {}
	}
}

// newAzure returns a playground without a daemon: the simulator, the example image in its registry, and a client.
// changes adapt the simulator.
func newAzure(t *testing.T, changes ...func(*azuresim.Config)) *playground {
	t.Helper()
	p := &playground{tools: cloudtest.Tools(t), dir: azuretest.ShortDir(t)}
	t.Setenv("TMPDIR", p.dir)
	var err error
	cfg := azuresim.Config{
		Dir: filepath.Join(p.dir, "azuresim"), Log: zerolog.Nop(), Now: p.clock.Now,
		Shared:        append(azuresim.Programs(), p.dir),       // commands of tests use them
		FunctionsHost: filepath.Join(p.dir, "build", "webhost"), // of the example
	}
	for _, change := range changes {
		change(&cfg)
	}
	if p.sim, err = azuresim.Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.sim.Close(); err != nil {
			t.Error(err)
		}
	})
	p.image = p.sim.Registry() + "/hello:1"
	err = demo.PushExample(t.Context(), p.sim, p.image, "../..", filepath.Join(p.dir, "build"), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	p.socket = filepath.Join(p.dir, "s")
	p.Client = client.New("unix", p.socket)
	return p
}

// now returns the time as a query parameter.
func (p *playground) now() string {
	return strconv.FormatFloat(float64(time.Now().UnixNano())/1e9, 'f', 9, 64)
}

func (p *playground) must(t *testing.T, method, path string, in, out any) {
	t.Helper()
	if err := p.Call(t.Context(), method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

func (p *playground) create(t *testing.T, name string, config api.Config) string {
	t.Helper()
	if config.Image == "" {
		config.Image = p.image
	}
	var created api.CreateResponse
	p.must(t, http.MethodPost, "/containers?name="+name, api.CreateRequest{Config: &config}, &created)
	return created.ID
}

// answered reports whether err is the daemon's answer with this status.
func answered(err error, status int) bool {
	failed, ok := errors.AsType[*client.StatusError](err)
	return ok && failed.Status == status
}
