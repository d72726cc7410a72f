// Package funchost is the program that stands for the Azure Functions host in the simulator's images. It runs in the
// container, finds the functions and their custom handler from host.json and function.json as the real host does,
// starts the handler and passes requests on to it. It must not know of App Service, Resource Manager or other apps.
//
// Each program that imports this package is a Functions host when it is started under the name Program. Subpackage
// webhost is such a program, and nothing else.
package funchost

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
)

// Program is the name of the Functions host's executable, and Folder that of its folder in Microsoft's images
// (github.com/Azure/azure-functions-docker, host/4).
const (
	Program = "Microsoft.Azure.WebJobs.Script.WebHost"
	Folder  = "/azure-functions-host"
)

// SimulatorEnv is the variable in which the simulator passes a Simulator, as JSON, to the host of a container. The real
// host finds the same in its storage account and at Application Insights.
const SimulatorEnv = "AzureFunctionsWebHost__Simulator"

// Simulator is what the host needs to know of the simulated Azure.
type Simulator struct {
	// App is the app's name, the role of its telemetry.
	App  string
	Keys Keys
	// Telemetry is the URL that takes Rows; "" drops them.
	Telemetry string
	// Root is the folder of the unpacked image where the container has no root of its own; otherwise "".
	Root string
}

// Keys open the app's functions: Master all of them and /admin, Default those of level function.
type Keys struct{ Master, Default string }

// maxErrors is the number of handler errors after which the Functions host shuts down (Functions host: "Exceeded http
// worker restart retry count").
const maxErrors = 3

// host is a running host.
type host struct {
	Simulator
	environ   []string
	client    *http.Client
	telemetry *telemetry
	work      sync.WaitGroup
	restart   chan *process // takes the process of a function that ran out of time, to be replaced

	current atomic.Pointer[app]
}

// app is the part of a host that answers requests, once it is up.
type app struct {
	site    *site
	process *process
}

func init() { reexec.Register(Program, Main) }

// Main runs the program until it gets a signal, and returns its exit code. It reads its settings from the environment.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Environ()); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func run(ctx context.Context, environ []string) (err error) {
	h := &host{environ: environ, restart: make(chan *process, 1), client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if err := json.Unmarshal([]byte(h.getenv(SimulatorEnv)), &h.Simulator); err != nil {
		return fmt.Errorf("read %s: %w", SimulatorEnv, err)
	}
	h.telemetry = newTelemetry(h.Telemetry)
	defer h.telemetry.close()
	listener, err := net.Listen("tcp", h.address())
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	h.work.Go(func() { _ = server.Serve(listener) }) // until it is closed
	defer h.work.Wait()
	defer func() { err = errors.Join(err, server.Close()) }()
	site, err := h.load()
	if err == nil {
		err = h.keepRunning(ctx, site)
	}
	if err != nil && ctx.Err() == nil {
		h.trace("Host.Startup", failure, err.Error())
	}
	return err
}

// address is where the host listens: on the port of ASPNETCORE_URLS, which is 80 in Microsoft's image. The simulator's
// containers share a network, so that App Service's 80 is whatever PORT says.
func (h *host) address() string {
	port := "80"
	listen := strings.NewReplacer("//+", "//localhost", "//*", "//localhost").Replace(h.getenv("ASPNETCORE_URLS"))
	if at, err := url.Parse(listen); err == nil && at.Port() != "" {
		port = at.Port()
	}
	if port == "80" {
		port = cmp.Or(h.getenv("PORT"), port)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// getenv returns a variable of the host's environment, "" if there is none.
func (h *host) getenv(name string) (value string) {
	for _, entry := range h.environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// keepRunning keeps the handler running, by the host's restart rules, until ctx ends or the host gives up.
func (h *host) keepRunning(ctx context.Context, site *site) error {
	if site.executable == "" {
		h.current.Store(&app{site: site})
		<-ctx.Done()
		return ctx.Err()
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
			return ctx.Err()
		case timedOut || p.code == 200: // an intended restart does not count
		case p.code == 0:
			// Functions host: a handler that ends well is not started again, and later invocations fail.
			<-ctx.Done()
			return ctx.Err()
		default:
			if failures++; failures >= maxErrors {
				return errTooManyRestarts
			}
		}
		h.current.Store(nil)
	}
}

// trace writes an AppTraces row. Console lines have no operation id: the host logs them outside any invocation.
func (h *host) trace(category string, severity int, message string) {
	h.telemetry.append("AppTraces", map[string]any{
		"TimeGenerated": time.Now(), "Message": message, "SeverityLevel": severity,
		"AppRoleName": strings.ToLower(h.App), "OperationId": "",
		"Properties": map[string]any{"Category": category},
	})
}
