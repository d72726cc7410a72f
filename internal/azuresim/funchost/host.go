// Package funchost is one simulated Azure Functions host: it pulls one function app's image, unpacks it and runs its
// custom handler as the real host does, from host.json and function.json. It must not know of Resource Manager, service
// plans or other apps.
//
//	h := funchost.Start(funchost.Config{Name: "app", Image: ref, Settings: settings, Pull: pull, ...})
//	defer h.Close()
//	h.ServeHTTP(w, r)
//
// One limit against the real thing: there is no chroot. The host finds the handler in the unpacked image, and its PATH
// begins with the image's bin folders. But an absolute path that the handler itself opens is one of this machine.
package funchost

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rs/zerolog"
)

// Sink takes telemetry rows. It must not block for long.
type Sink interface {
	Append(table string, row map[string]any)
}

// Keys open the app's functions: Master all of them and /admin, Default those of level function.
type Keys struct{ Master, Default string }

// Config describes a function app. Name, Image, Dir and Pull are required.
type Config struct {
	Name  string
	Image string
	// Settings are the app settings, which become the handler's environment.
	Settings map[string]string
	// Platform holds variables that App Service sets itself.
	Platform map[string]string
	Keys     Keys
	// Dir is a folder of this host alone; the image is unpacked there. The caller removes it after Close.
	Dir  string
	Pull func(ctx context.Context, ref string) (v1.Image, error)
	// ColdStart delays the start.
	ColdStart time.Duration
	// ResponseCut is the time that App Service's front end waits for an answer; 0 is its 230 s.
	ResponseCut time.Duration
	// Now is the clock of telemetry; nil means time.Now.
	Now func() time.Time
	// Telemetry takes AppTraces and AppRequests rows; nil drops them.
	Telemetry Sink
	Log       zerolog.Logger
}

// responseCut is App Service's limit on the time to an HTTP answer.
const responseCut = 230 * time.Second

// maxErrors is the number of handler errors after which the Functions host shuts down (Functions host: "Exceeded http
// worker restart retry count").
const maxErrors = 3

// Host is a running host. Its methods may be called from any goroutine.
type Host struct {
	cfg     Config
	cancel  context.CancelFunc
	work    sync.WaitGroup
	client  *http.Client
	restart chan *process // takes the process of a function that ran out of time, to be replaced

	mu     sync.Mutex // held while a request becomes active, so that none does while Close waits
	closed bool
	active sync.WaitGroup

	current atomic.Pointer[app]
}

// app is the part of a host that answers requests, once it is up.
type app struct {
	site    *site
	process *process
}

// Start begins to pull, unpack and run the image, and returns at once. The caller must call Close.
func Start(cfg Config) *Host {
	if cfg.ResponseCut == 0 {
		cfg.ResponseCut = responseCut
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{cfg: cfg, cancel: cancel, restart: make(chan *process, 1), client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	h.work.Go(func() {
		if err := h.run(ctx); err != nil && ctx.Err() == nil {
			h.cfg.Log.Warn().Err(err).Msg("function host is not running")
			if !errors.Is(err, errNoHost) && !errors.Is(err, errArchitecture) { // no host has run that could say so
				h.trace(time.Time{}, "Host.Startup", 3, err.Error())
			}
		}
	})
	return h
}

// Ready reports whether the host answers requests.
func (h *Host) Ready() bool { return h.current.Load() != nil }

// Close ends the handler and its children, and blocks until they and all requests have ended.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.work.Wait()
	h.active.Wait()
	return nil
}

// begin counts a request as active, unless the host is closing. It reports whether it did.
func (h *Host) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.active.Add(1)
	}
	return !h.closed
}

// run brings the host up and keeps the handler running, by the host's restart rules, until ctx ends or the host gives
// up.
func (h *Host) run(ctx context.Context) error {
	if err := wait(ctx, h.cfg.ColdStart); err != nil {
		return err
	}
	site, err := h.load(ctx)
	if err != nil {
		return err
	}
	failures := 0
	for {
		p, err := h.startProcess(ctx, site)
		if err != nil {
			return err
		}
		if p.waitReady(ctx, h.client) {
			h.current.Store(&app{site, p})
		}
		timedOut := false
		select {
		case <-ctx.Done():
		case <-p.ended:
		case late := <-h.restart:
			timedOut = late == p
		}
		if timedOut || ctx.Err() != nil {
			p.stop()
			<-p.ended
		}
		switch {
		case ctx.Err() != nil:
			h.current.Store(nil)
			return ctx.Err()
		case timedOut || p.code == 200: // an intended restart does not count
		case p.code == 0:
			// Functions host: a handler that ends well is not started again, and later invocations fail.
			<-ctx.Done()
			h.current.Store(nil)
			return ctx.Err()
		default:
			if failures++; failures >= maxErrors {
				h.current.Store(nil)
				return errTooManyRestarts
			}
		}
		h.current.Store(nil)
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

// trace writes an AppTraces row. Console lines have no operation id: the host logs them outside any invocation.
func (h *Host) trace(at time.Time, category string, severity int, message string) {
	if h.cfg.Telemetry == nil {
		return
	}
	if at.IsZero() {
		at = h.cfg.Now()
	}
	h.cfg.Telemetry.Append("AppTraces", map[string]any{
		"TimeGenerated": at.UTC(), "Message": message, "SeverityLevel": severity,
		"AppRoleName": strings.ToLower(h.cfg.Name), "OperationId": "",
		"Properties": map[string]any{"Category": category},
	})
}
