// Package worker is what App Service's workers do for one function app in the simulated Azure: it pulls the app's
// image, unpacks it, runs its entrypoint in a container and passes requests on to it, once anything in it answers. It
// must not know of Resource Manager, service plans or other apps, nor of what is in the image.
//
//	app := worker.Start(worker.Config{Name: "app", Image: ref, Settings: settings, Pull: pull, ...})
//	defer app.Close()
//	app.ServeHTTP(w, r)
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
	"github.com/sockerless/backend-azf/internal/azuresim/rootfs"
)

// Sink takes telemetry rows. It must not block for long.
type Sink interface {
	Append(table string, row map[string]any)
}

// Config describes a function app. Name, Image, Dir and Pull are required.
type Config struct {
	Name  string
	Image string
	// Settings are the app settings, which become variables of the container.
	Settings map[string]string
	// Platform holds variables that App Service sets itself.
	Platform map[string]string
	Keys     funchost.Keys
	// Dir is a folder of this app alone; the image is unpacked there. The caller removes it after Close.
	Dir  string
	Pull func(ctx context.Context, ref string) (v1.Image, error)
	// Shared are folders of this machine that the container sees at the same path.
	Shared []string
	// WithoutRoot runs the entrypoint as a process of this machine, as where the system refuses namespaces.
	WithoutRoot bool
	// ColdStart delays the start.
	ColdStart time.Duration
	// StartLimit is the time that a container has to answer; 0 is App Service's 230 s.
	StartLimit time.Duration
	// ResponseCut is the time that App Service's front end waits for an answer; 0 is its 230 s.
	ResponseCut time.Duration
	// Now is the clock of telemetry; nil means time.Now.
	Now func() time.Time
	// Telemetry takes AppTraces and AppRequests rows; nil drops them.
	Telemetry Sink
	Log       zerolog.Logger
}

const (
	// responseCut is App Service's limit on the time to an HTTP answer.
	responseCut = 230 * time.Second
	// startLimit is the one to the first answer of a container (WEBSITES_CONTAINER_START_TIME_LIMIT in
	// learn.microsoft.com/azure/app-service/reference-app-settings).
	startLimit = 230 * time.Second
	// stopLimit is the time that a container has to end after TERM (WEBSITES_CONTAINER_STOP_TIME_LIMIT).
	stopLimit = 5 * time.Second
	// pingInterval is the time between two looks whether a container answers.
	pingInterval = 10 * time.Millisecond
)

// errArchitecture is as the container's log has it (github.com/Azure/azure-functions-core-tools/issues/2422).
var errArchitecture = errors.New("exec format error: the image is for another architecture")

// App is a function app whose container runs, or will. Its methods may be called from any goroutine.
type App struct {
	cfg    Config
	cancel context.CancelFunc
	work   sync.WaitGroup
	client *http.Client

	mu     sync.Mutex // held while a request becomes active, so that none does while Close waits
	closed bool
	active sync.WaitGroup

	ready  atomic.Bool
	target atomic.Pointer[target]
}

// Start begins to pull, unpack and run the image, and returns at once. The caller must call Close.
func Start(cfg Config) *App {
	if cfg.ResponseCut == 0 {
		cfg.ResponseCut = responseCut
	}
	if cfg.StartLimit == 0 {
		cfg.StartLimit = startLimit
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &App{cfg: cfg, cancel: cancel, client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil},
	}}
	a.work.Go(func() {
		if err := a.run(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn().Err(err).Msg("container is not running")
		}
	})
	return a
}

// Ready reports whether the Functions host in the container answers requests to functions.
func (a *App) Ready() bool { return a.ready.Load() }

// Close ends the container, and blocks until it and all requests have ended.
func (a *App) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.work.Wait()
	a.active.Wait()
	return nil
}

// begin counts a request as active, unless the app is closing. It reports whether it did.
func (a *App) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.active.Add(1)
	}
	return !a.closed
}

// run brings the container up, and blocks until it has ended.
func (a *App) run(ctx context.Context) (err error) {
	if err := wait(ctx, a.cfg.ColdStart); err != nil {
		return err
	}
	for _, name := range []string{"WEBSITES_PORT", "PORT"} {
		// Sources differ for PORT alone (github.com/MicrosoftDocs/azure-docs/issues/46401 and 87100). The host listens on 80.
		if port, ok := a.cfg.Settings[name]; ok && port != "80" {
			return fmt.Errorf("container didn't respond to HTTP pings on port: %s", port)
		}
	}
	image, err := a.pull(ctx)
	if err != nil {
		return err
	}
	port, err := funchost.FreePort(ctx)
	if err != nil {
		return err
	}
	rows, err := receive(a.cfg.Telemetry, a.cfg.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.close()) }()
	var output tail
	c, err := a.start(image, port, rows.url, &output)
	if err != nil {
		return err
	}
	defer c.Stop(stopLimit)
	a.target.Store(&target{"127.0.0.1:" + port})
	defer a.target.Store(nil)
	defer a.ready.Store(false)
	a.work.Go(func() { a.ping(ctx, c, port) })
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Done():
		return fmt.Errorf("container has exited with code %d: %s", c.ExitCode(), output.text())
	}
}

// pull pulls and unpacks the image, and returns its configuration.
func (a *App) pull(ctx context.Context) (v1.Config, error) {
	img, err := a.cfg.Pull(ctx, a.cfg.Image)
	if err != nil {
		return v1.Config{}, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return v1.Config{}, fmt.Errorf("read image config: %w", err)
	}
	if file.Architecture != runtime.GOARCH {
		return v1.Config{}, errArchitecture
	}
	return file.Config, rootfs.Unpack(img, a.root())
}

func (a *App) root() string { return filepath.Join(a.cfg.Dir, "rootfs") }

// start starts the container as App Service does: by the image's entrypoint, with the app settings over the image's
// environment.
func (a *App) start(image v1.Config, port, telemetry string, output *tail) (*container.Container, error) {
	simulator := funchost.Simulator{App: a.cfg.Name, Keys: a.cfg.Keys, Telemetry: telemetry}
	cfg := container.Config{
		Root: a.root(), Args: slices.Concat(image.Entrypoint, image.Cmd), Dir: image.WorkingDir, User: image.User,
		Shared: a.cfg.Shared, Output: output,
	}
	if len(cfg.Args) == 0 {
		return nil, errors.New("the image has neither an entrypoint nor a command")
	}
	if a.cfg.Settings["WEBSITES_ENABLE_APP_SERVICE_STORAGE"] != "false" {
		cfg.Empty = []string{"/home"} // App Service: the shared mount hides the image's
	}
	isolation, _ := container.Supported() // the simulator has said why there is none
	withoutRoot := a.cfg.WithoutRoot || isolation == container.None
	if withoutRoot {
		simulator.Root = cfg.Root
	}
	content, err := json.Marshal(simulator)
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	cfg.Env = a.environment(image.Env, map[string]string{"PORT": port, funchost.SimulatorEnv: string(content)})
	if withoutRoot {
		return container.StartWithoutRoot(cfg)
	}
	return container.Start(cfg)
}

// ping looks whether the container answers. A container that does not in time ends.
func (a *App) ping(ctx context.Context, c *container.Container, port string) {
	late := time.NewTimer(a.cfg.StartLimit)
	defer late.Stop()
	limit := late.C
	for !a.ready.Load() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/", nil)
		if err != nil {
			return
		}
		if res, err := a.client.Do(req); err == nil {
			limit = nil // any answer will do
			a.ready.Store(res.StatusCode < http.StatusInternalServerError)
			_ = res.Body.Close()
		}
		select {
		case <-ctx.Done():
			return
		case <-c.Done():
			return
		case <-limit:
			a.cfg.Log.Warn().Msg("container didn't respond to HTTP pings on port: 80, failing site start")
			c.Stop(stopLimit)
			return
		case <-time.After(pingInterval):
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tail keeps the end of what a container writes, for the log.
type tail struct {
	mu   sync.Mutex
	last []byte
}

const maxTail = 2000

func (t *tail) Write(content []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, content...)
	t.last = t.last[max(0, len(t.last)-maxTail):]
	return len(content), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
