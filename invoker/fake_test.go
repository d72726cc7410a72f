package invoker

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	testKey  = "s3cret-host-key=="
	testHost = "example.com" // a name in httptest's certificate
	testRun  = "run-1"
)

var target = Target{ResourceGroup: "rg", App: "skls-app", HostName: testHost}

// step answers one request to the fake.
type step func(f *fake, w http.ResponseWriter, r *http.Request)

// script holds the fake's answers: the nth request of a kind gets the nth step, and the last step repeats.
type script struct {
	keys, root, post, poll []step
	// dial fails the nth connection to the app when it returns an error.
	dial func(n int) error
}

// fake serves Azure Resource Manager and one function app. Only sleeps and steps advance its clock.
type fake struct {
	script
	srv  *httptest.Server
	logs syncBuffer

	mu     sync.Mutex
	at     time.Time
	calls  map[string]int
	posts  []recorded
	polls  []recorded
	slept  []time.Duration
	limits []time.Duration
	cancel context.CancelFunc // of the latest request
}

type recorded struct {
	header http.Header
	url    string
	length int64
	coding []string
	start  protocol.StartRequest
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newFake(t *testing.T, s script) (*fake, *Invoker) {
	t.Helper()
	if s.keys == nil {
		s.keys = []step{keys(testKey)}
	}
	if s.root == nil {
		s.root = []step{status(http.StatusOK)}
	}
	f := &fake{script: s, at: time.Unix(1_700_000_000, 0).UTC(), calls: map[string]int{}}
	f.srv = httptest.NewTLSServer(f)
	t.Cleanup(f.srv.Close)

	// Connections to the app's name go to the server, after the script's dial.
	transport := f.srv.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		if f.dial != nil {
			if err := f.dial(f.count("dial")); err != nil {
				return nil, err
			}
		}
		return (&net.Dialer{}).DialContext(ctx, network, f.srv.Listener.Addr().String())
	}
	inv, err := New(Config{
		Credential: azuretest.Credential{}, SubscriptionID: "sub",
		Transport: f.srv.Client(), HTTP: &http.Client{Transport: transport},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: f.srv.URL, Audience: "https://management.test"},
		}},
		ReadyTimeout: time.Minute,
		Now:          f.now,
		Sleep:        f.sleep,
		Log:          zerolog.New(&f.logs).Level(zerolog.DebugLevel),
	})
	if err != nil {
		t.Fatal(err)
	}
	inv.withTimeout = func(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.limits, f.cancel = append(f.limits, d), cancel
		return ctx, cancel
	}
	return f, inv
}

func (f *fake) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *fake) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = f.at.Add(d)
}

func (f *fake) sleep(ctx context.Context, d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.slept = f.at.Add(d), append(f.slept, d)
	return ctx.Err()
}

func (f *fake) count(kind string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[kind]++
	return f.calls[kind]
}

func (f *fake) total(kind string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[kind]
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := recorded{header: r.Header, url: r.URL.String(), length: r.ContentLength, coding: r.TransferEncoding}
	_ = json.NewDecoder(r.Body).Decode(&rec.start) // only a POST has a body
	var kind string
	var steps []step
	switch {
	case strings.HasSuffix(r.URL.Path, "/sites/skls-app/host/default/listkeys"):
		kind, steps = "keys", f.keys
	case r.URL.Path == "/" && r.Method == http.MethodGet:
		kind, steps = "root", f.root
	case r.URL.Path == protocol.RunPath && r.Method == http.MethodPost:
		kind, steps = "post", f.post
		f.mu.Lock()
		f.posts = append(f.posts, rec)
		f.mu.Unlock()
	case r.URL.Path == protocol.RunsPath+testRun && r.Method == http.MethodGet:
		kind, steps = "poll", f.poll
		f.mu.Lock()
		f.polls = append(f.polls, rec)
		f.mu.Unlock()
	}
	n := f.count(kind)
	if len(steps) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	steps[min(n, len(steps))-1](f, w, r)
}

// keys answers listkeys.
func keys(key string) step {
	return func(_ *fake, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"masterKey": "master", "functionKeys": map[string]string{"default": key},
		})
	}
}

// status answers like the host or a gateway.
func status(code int) step { return body(code, http.StatusText(code)) }

func body(code int, text string) step {
	return func(_ *fake, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

// handler answers like azf-handler.
func handler(code int, v any) step {
	return func(_ *fake, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(protocol.Header, protocol.Version)
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
}

// ended answers with the end of the run.
func ended(exit int) step {
	return handler(http.StatusOK, protocol.Run{
		RunID: testRun, Done: true, ExitCode: exit, StartedAt: time.Unix(1, 0).UTC(), FinishedAt: time.Unix(2, 0).UTC(),
		Lines: []protocol.Line{{Stream: protocol.Stdout, Seq: 1, Text: "hi"}},
	})
}

// running answers that the run goes on.
func running() step { return handler(http.StatusAccepted, protocol.Run{RunID: testRun}) }

// after lets d pass before s.
func after(d time.Duration, s step) step {
	return func(f *fake, w http.ResponseWriter, r *http.Request) {
		f.advance(d)
		s(f, w, r)
	}
}

// broken closes the connection without an answer.
func broken(_ *fake, w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = conn.Close() // the close is the fault
}

// expired answers only after the client's own limit on the request has passed.
func expired(f *fake, _ http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	cancel := f.cancel
	f.mu.Unlock()
	cancel()
	<-r.Context().Done()
	panic(http.ErrAbortHandler) // a client that is about to close could still read an answer
}

// stoppedPage answers like App Service for an app that is stopped, forbidden for one whose access restrictions refuse
// the client, login and challenge for one with authentication.
var (
	stoppedPage = body(http.StatusForbidden, "<html><h1>Error 403 - This web app is stopped.</h1></html>")
	forbidden   = answering(http.StatusForbidden, "X-Ms-Forbidden-Ip", "192.0.2.7")
	login       = answering(http.StatusFound, "Location", "https://login.microsoftonline.com/tenant/oauth2/authorize?x=y")
	challenge   = answering(http.StatusUnauthorized, "Www-Authenticate", `Bearer realm="skls-app.azurewebsites.net"`)
)

// answering answers with one header.
func answering(code int, name, value string) step {
	return func(_ *fake, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(name, value)
		w.WriteHeader(code)
	}
}
