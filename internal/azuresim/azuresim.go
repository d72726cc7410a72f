// Package azuresim is Azure small enough for a test and a demo. It serves, over TLS and on loopback only,
//
//   - cloud metadata and Entra tokens that azurerm and azidentity accept,
//   - the part of Azure Resource Manager that the Terraform modules in tfmodules use through azurerm 5.2,
//   - the function apps created that way, on their own host names, by running their images (subpackages worker and
//     funchost),
//   - the Log Analytics query API over what those apps logged (subpackage monitor),
//   - an OCI registry that the images are pushed to and pulled from, and the same images on NAME.azurecr.io, which
//     wants a token, and on mcr.microsoft.com, which wants none.
//
// It is strict: it answers and logs a route or API version that it does not know as 501, and guesses nothing. It is as
// unkind as Azure: an app without storage account or Functions host does not come up, every second PUT of a site is
// answered before it is done, and ids come back in another case. A service plan takes one write at a time, its own or
// that of an app on it. It takes more apps than it has memory for, and then none of them answers; Overfilled lists
// such plans, and ScaledOut apps with more than one instance. Faults switches failures on, and Config.RateLimits the
// limits on requests. The package must not know who uses it: it imports nothing of the product, and the product knows
// it only as another cloud configuration. It is linked into the product's demo, so it must not import testing. Tests
// start it by internal/azuretest/cloudtest.
//
//	sim, err := azuresim.Start(azuresim.Config{Dir: dir, Log: log})
//	defer sim.Close()
//	access := sim.Access() // what clients need, in this process or another one
//	// azurerm:     environment access.TerraformEnv()
//	// Azure's SDK: endpoints as in access.URL + "/metadata/endpoints", HTTP transport sim.Transport()
package azuresim

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim/container"
)

// The values of Config's empty fields.
const (
	DefaultSubscriptionID = "5c1e0001-0000-4000-8000-000000000001"
	DefaultTenantID       = "5c1e0002-0000-4000-8000-000000000002"
	DefaultClientID       = "5c1e0003-0000-4000-8000-000000000003"
	DefaultClientSecret   = "azuresim-client-secret"
	DefaultResourceGroup  = "sockerless-rg"
	DefaultLocation       = "westeurope"
	DefaultStorageAccount = "sockerlessstore"
	DefaultIdentity       = "sockerless-identity"
)

// Programs returns the folders of this machine with programs and their libraries, for Config.Shared: it lets images
// without any be used with those of this machine.
func Programs() []string { return []string{"/bin", "/lib", "/lib64", "/usr/bin", "/usr/lib"} }

// Config describes the simulated Azure. Only Dir is required.
type Config struct {
	// Dir is a folder that the caller owns and removes after Close. It holds the CA certificate, pushed images and
	// unpacked images. Start creates it if it is missing.
	Dir string
	// Listen is the loopback address to serve on, HOST:PORT; "" is 127.0.0.1 with a free port.
	Listen string

	// SubscriptionID, TenantID, ClientID and ClientSecret are the one subscription and the one service principal.
	SubscriptionID, TenantID, ClientID, ClientSecret string

	// ResourceGroup, StorageAccount and Identity (a user-assigned managed identity) exist from the start, in Location.
	ResourceGroup, Location, StorageAccount, Identity string

	// FunctionsHost is the path of the executable in the image azure-functions/base:4 of the registry, which behaves as
	// package funchost says; "" is the running one.
	FunctionsHost string
	// Shared are folders of this machine that each container sees at the same path, over the image's. Those that are
	// missing are left out.
	Shared []string

	// HostMemory is what the Functions host of an idle app takes of its service plan's memory, in MB; 0 is
	// DefaultHostMemory.
	HostMemory int

	// RateLimits has Resource Manager answer 429 when its limits on requests are reached: reads 250 and 25 a second,
	// writes and deletes 200 and 10 a second. The headers that count down to it are there in any case.
	RateLimits bool

	// Faults are the first faults; see SetFaults.
	Faults Faults

	// Wrap, if set, wraps the handler of all calls, to observe them.
	Wrap func(http.Handler) http.Handler

	// Now is the clock of tokens, logs, rate limits and the call list; nil means time.Now.
	Now func() time.Time
	// Sleep waits for injected latency, until ctx ends at the latest; nil waits by the real clock.
	Sleep func(ctx context.Context, d time.Duration)

	Log zerolog.Logger
}

// Sim is a running simulator. Its methods may be called from any goroutine, and after Close.
type Sim struct {
	cfg      Config
	log      zerolog.Logger
	url      string
	registry http.Handler
	tokenKey []byte
	tls      tlsFiles
	routes   []route
	server   *http.Server
	proxy    *http.Server
	proxyURL string
	pulls    *http.Transport // of function hosts that pull from the registry

	ctx    context.Context // ends at Close; of work that no request waits for
	cancel context.CancelFunc
	work   sync.WaitGroup // requests in progress, the server and closing function hosts

	faults  faultState
	calls   callList
	buckets buckets

	mu     sync.Mutex
	closed bool
	state  state
}

// Start listens and serves. The caller must call Close.
func Start(cfg Config) (*Sim, error) {
	setDefault := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	setDefault(&cfg.Listen, "127.0.0.1:0")
	setDefault(&cfg.SubscriptionID, DefaultSubscriptionID)
	setDefault(&cfg.TenantID, DefaultTenantID)
	setDefault(&cfg.ClientID, DefaultClientID)
	setDefault(&cfg.ClientSecret, DefaultClientSecret)
	setDefault(&cfg.ResourceGroup, DefaultResourceGroup)
	setDefault(&cfg.Location, DefaultLocation)
	setDefault(&cfg.StorageAccount, DefaultStorageAccount)
	setDefault(&cfg.Identity, DefaultIdentity)
	cfg.HostMemory = cmp.Or(cfg.HostMemory, DefaultHostMemory)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Dir == "" {
		return nil, errors.New("start azuresim: no folder: set Config.Dir")
	}
	if cfg.HostMemory < 0 {
		return nil, fmt.Errorf("start azuresim: %d MB is not a valid size of a Functions host", cfg.HostMemory)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create azuresim folder: %w", err)
	}
	if err := checkLoopback(cfg.Listen); err != nil {
		return nil, err
	}

	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for azuresim: %w", err)
	}
	s, err := newSim(cfg, listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for azuresim's proxy: %w", err), listener.Close())
	}
	s.proxyURL = "http://" + proxy.Addr().String()
	s.proxy = &http.Server{
		Handler: http.HandlerFunc(s.serveProxy), ReadHeaderTimeout: s.server.ReadHeaderTimeout, ErrorLog: s.server.ErrorLog,
	}
	if _, err := container.Supported(); err != nil {
		s.log.Warn().Err(err).Msg("commands run on this machine, and see its files")
	}
	s.work.Go(func() { s.ended(s.server.ServeTLS(listener, "", "")) })
	s.work.Go(func() { s.ended(s.proxy.Serve(proxy)) })
	return s, nil
}

// ended logs why a server ended, unless Close ended it.
func (s *Sim) ended(err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		s.log.Error().Err(err).Msg("azuresim stopped serving")
	}
}

func newSim(cfg Config, addr string) (*Sim, error) {
	s := &Sim{cfg: cfg, log: cfg.Log.With().Str("component", "azuresim").Logger(), url: "https://" + addr}
	s.buckets.left = make(map[string]bucket)
	s.tokenKey = make([]byte, 32)
	if _, err := rand.Read(s.tokenKey); err != nil {
		return nil, fmt.Errorf("create token key: %w", err)
	}
	var err error
	if s.tls, err = newTLS(filepath.Join(cfg.Dir, "ca.pem"), cfg.Now()); err != nil {
		return nil, err
	}
	registry, err := newRegistry(filepath.Join(cfg.Dir, "registry"))
	if err != nil {
		return nil, err
	}
	s.registry = s.images(registry)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.pulls = s.Transport()
	s.routes = armRoutes()
	s.seedState()
	s.faults.set(cfg.Faults)
	var handler http.Handler = s
	if cfg.Wrap != nil {
		handler = cfg.Wrap(s)
	}
	s.server = &http.Server{
		Handler:           handler,
		TLSConfig:         s.tls.server,
		ReadHeaderTimeout: 30 * time.Second,
		// The server only reports clients that do not trust the CA, and clients that left.
		ErrorLog: log.New(debugWriter{s.log}, "", 0),
	}
	return s, nil
}

// Close stops the server, ends requests in progress, stops every function host with its processes, and returns when
// nothing of the simulator runs any more. It leaves Config.Dir to its owner. A second call does nothing.
func (s *Sim) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.work.Wait()
		return nil
	}
	s.closed = true
	for _, r := range s.state.resources {
		if r.site != nil {
			s.stopHost(r.site)
		}
	}
	s.mu.Unlock()

	s.cancel()
	err := errors.Join(s.server.Close(), s.proxy.Close())
	s.work.Wait()
	s.pulls.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("stop azuresim: %w", err)
	}
	return nil
}

// URL is the endpoint of Resource Manager (audience: itself) and Entra: https://127.0.0.1:PORT. Its metadata names the
// others.
func (s *Sim) URL() string { return s.url }

// CAFile is a PEM file with the one certificate to trust.
func (s *Sim) CAFile() string { return s.tls.caFile }

// Registry is the host:port of the OCI registry, which is the simulator's own address.
func (s *Sim) Registry() string { return strings.TrimPrefix(s.url, "https://") }

// SetFaults replaces all faults, and resets their counts.
func (s *Sim) SetFaults(f Faults) { s.faults.set(f) }

// Transport returns a new transport that reaches the simulator under every host name and trusts only its CA. The name
// of a function app resolves only while that app exists, as in DNS. The caller closes its idle connections.
func (s *Sim) Transport() *http.Transport {
	dialer := &net.Dialer{}
	return &http.Transport{
		TLSClientConfig:   s.tls.client.Clone(),
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, fmt.Errorf("dial azuresim: %w", err)
			}
			if app, ok := appOfHost(host); ok && !s.hasSite(app) {
				unknown := &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				return nil, &net.OpError{Op: "dial", Net: network, Err: unknown}
			}
			return dialer.DialContext(ctx, network, s.Registry())
		},
	}
}

// ServeHTTP answers any request as the server does: by host name for function apps, otherwise by path.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.begin(w) {
		return
	}
	defer s.work.Done()

	service := serviceOf(r)
	if service == inspection {
		s.serveInspection(w, r)
		return
	}
	if service == imageRegistry {
		s.serveRegistry(w, r)
		return
	}
	recorder := &statusRecorder{ResponseWriter: w}
	started := s.cfg.Now()
	defer func() { s.calls.add(newCall(service, r, recorder, started, s.cfg.Now())) }()
	s.serveWithFaults(recorder, r, service)
}

// begin counts a request as work in progress, which the caller ends by work.Done. After Close it refuses the request.
func (s *Sim) begin(w http.ResponseWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		http.Error(w, "azuresim is closed", http.StatusServiceUnavailable)
		return false
	}
	s.work.Add(1)
	return true
}

func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("read listen address of azuresim: %w", err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address of azuresim: %q is not a loopback address: use 127.0.0.1:PORT", addr)
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// debugWriter logs what net/http's server writes to its error log.
type debugWriter struct{ log zerolog.Logger }

func (d debugWriter) Write(p []byte) (int, error) {
	d.log.Debug().Str("detail", strings.TrimSpace(string(p))).Msg("http server")
	return len(p), nil
}
