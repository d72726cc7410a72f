package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/server"
)

// backend answers with what a test puts in, and remembers what it was asked.
type backend struct {
	api.Backend // nil: a method that no test here needs panics
	err         error
	wait        func(ctx context.Context, accepted func()) (api.WaitResponse, error)
	stream      string
	tty         bool
	ref         string
	name        string
	request     api.CreateRequest
	logs        api.LogOptions
	list        api.ListOptions
	force       bool
	waitCond    api.WaitCondition
}

func (b *backend) Capabilities() api.Capabilities {
	return api.Capabilities{Backend: "azf", Version: "v1", Logs: true, MaxTimeoutSeconds: 600}
}

func (b *backend) ContainerCreate(_ context.Context, name string, req api.CreateRequest) (api.CreateResponse, error) {
	b.name, b.request = name, req
	return api.CreateResponse{ID: "id", Warnings: []string{}}, b.err
}

func (b *backend) ContainerInspect(_ context.Context, ref string) (out api.InspectResponse, err error) {
	b.ref = ref
	out.ID, out.AZF.FunctionApp, out.Config = "id", "skls-1", &api.Config{Tty: b.tty}
	return out, b.err
}

func (b *backend) ContainerList(_ context.Context, opts api.ListOptions) ([]api.Summary, error) {
	b.list = opts
	return []api.Summary{}, b.err
}

func (b *backend) ContainerStart(_ context.Context, ref string) error {
	b.ref = ref
	return b.err
}

func (b *backend) ContainerWait(ctx context.Context, ref string, cond api.WaitCondition, accepted func()) (api.WaitResponse, error) {
	b.ref, b.waitCond = ref, cond
	if b.wait == nil {
		return api.WaitResponse{}, b.err
	}
	return b.wait(ctx, accepted)
}

func (b *backend) ContainerLogs(_ context.Context, ref string, opts api.LogOptions) (io.ReadCloser, error) {
	b.ref, b.logs = ref, opts
	return io.NopCloser(strings.NewReader(b.stream)), b.err
}

func (b *backend) ContainerRemove(_ context.Context, ref string, force bool) error {
	b.ref, b.force = ref, force
	return b.err
}

func newHandler(b *backend, log io.Writer) http.Handler {
	return server.New(server.Config{Backend: b, Log: zerolog.New(log)})
}

func do(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

func TestErrorsBecomeStatuses(t *testing.T) {
	for kind, want := range map[api.Kind]int{
		api.InvalidParameter: 400, api.NotFound: 404, api.Conflict: 409, api.NotModified: 304, api.NotImplemented: 501, api.Unavailable: 503, api.Internal: 500,
	} {
		var log bytes.Buffer
		b := &backend{err: api.Errorf(kind, "why: %w", errors.New("the cause"))}
		w := do(newHandler(b, &log), "POST", "/internal/v1/containers/x/start", "")
		if w.Code != want {
			t.Errorf("kind %d: got %d, want %d", kind, w.Code, want)
		}
		var body struct{ Message string }
		if want == 304 {
			if w.Body.Len() != 0 {
				t.Errorf("304 has a body: %s", w.Body)
			}
		} else if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Message != "why: the cause" {
			t.Errorf("kind %d: got %s, %v", kind, w.Body, err)
		}
		if logged := strings.Contains(log.String(), "request failed"); logged != (want == 500 || want == 503) {
			t.Errorf("kind %d: logged %v:\n%s", kind, logged, &log)
		}
	}
}

func TestErrorsThatAreNotOurs(t *testing.T) {
	w := do(newHandler(&backend{err: errors.New("disk full")}, io.Discard), "GET", "/internal/v1/containers/x", "")
	if w.Code != 500 || !strings.Contains(w.Body.String(), `{"message":"disk full"}`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestBadRequests(t *testing.T) {
	h := newHandler(&backend{}, io.Discard)
	for _, row := range []struct {
		method, target, body string
		status               int
		message              string
	}{
		{"GET", "/nowhere", "", 404, "page not found"},
		{"GET", "/internal/v1/nowhere", "", 404, "page not found"},
		{"PATCH", "/internal/v1/containers", "", 405, "Method Not Allowed"},
		{"POST", "/internal/v1/containers", "", 400, "got EOF"},
		{"POST", "/internal/v1/containers", "{", 400, "unexpected EOF"},
		{"POST", "/internal/v1/containers", `{"Image": 7}`, 400, "Image takes no number"},
		{"POST", "/internal/v1/containers", `{"Image": "a",}`, 400, "at byte 15"},
		{"POST", "/internal/v1/containers", `{} {}`, 400, "after the JSON body"},
		{"POST", "/internal/v1/containers", `[]`, 400, "takes no array"},
		{"POST", "/internal/v1/containers", `{"Image": "` + strings.Repeat("x", 5<<20) + `"}`, 413, "too large"},
		{"GET", "/internal/v1/containers?limit=x", "", 400, "limit"},
		{"GET", "/internal/v1/containers?filters={\"name\":7}", "", 400, "takes a list"},
		{"GET", "/internal/v1/containers/x/logs?stdout=1&tail=x", "", 400, "tail"},
		{"GET", "/internal/v1/containers/x/logs?stdout=1&since=yesterday", "", 400, "since"},
		{"GET", "/internal/v1/containers/x/logs?stdout=1&until=-1", "", 400, "until"},
		{"GET", "/internal/v1/containers/x/logs?stdout=1&until=1.x", "", 400, "until"},
	} {
		w := do(h, row.method, strings.ReplaceAll(row.target, `"`, "%22"), row.body)
		if w.Code != row.status || !strings.Contains(w.Body.String(), row.message) || !strings.HasPrefix(w.Body.String(), `{"message":`) {
			t.Errorf("%s %s %.30s: got %d %s; want %d and %q", row.method, row.target, row.body, w.Code, w.Body, row.status, row.message)
		}
	}
}

func TestCapabilities(t *testing.T) {
	w := do(newHandler(&backend{}, io.Discard), "GET", "/internal/v1/capabilities", "")
	want := `{"backend":"azf","version":"v1","agent_required":false,"exec":false,"attach":false,"logs":true,"logs_follow":false,"volumes":false,"networks":false,"health_checks":false,"max_timeout_seconds":600}`
	if strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("got %s", w.Body)
	}
}

func TestRequestsAreDecoded(t *testing.T) {
	b := &backend{}
	h := newHandler(b, io.Discard)
	w := do(h, "POST", "/internal/v1/containers?name=web", `{"Image": "i", "Env": ["A=b"], "Unknown": 1, "HostConfig": {"AutoRemove": true}}`)
	if w.Code != 201 || strings.TrimSpace(w.Body.String()) != `{"Id":"id","Warnings":[]}` {
		t.Errorf("create: got %d %s", w.Code, w.Body)
	}
	if b.name != "web" || b.request.Image != "i" || b.request.Env[0] != "A=b" || !b.request.HostConfig.AutoRemove {
		t.Errorf("create asked for %q %+v", b.name, b.request)
	}
	if w := do(h, "GET", "/internal/v1/containers?all=true&limit=3&filters={%22name%22:[%22a%22,%22b%22]}", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != "[]" || !reflect.DeepEqual(b.list, api.ListOptions{All: true, Limit: 3, Filters: api.Filters{"name": {"a", "b"}}}) {
		t.Errorf("list: got %d %s, asked for %+v", w.Code, w.Body, b.list)
	}
	if w := do(h, "GET", "/internal/v1/containers/web", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"Id":"id"`) || !strings.Contains(w.Body.String(), `"AZF":{"FunctionApp":"skls-1"`) {
		t.Errorf("inspect: got %d %s", w.Code, w.Body)
	}
	if w := do(h, "POST", "/internal/v1/containers/web/start", ""); w.Code != 204 || b.ref != "web" {
		t.Errorf("start: got %d for %q", w.Code, b.ref)
	}
	if w := do(h, "DELETE", "/internal/v1/containers/web?force=1", ""); w.Code != 204 || !b.force {
		t.Errorf("remove: got %d, force %v", w.Code, b.force)
	}
	if w := do(h, "DELETE", "/internal/v1/containers/web?force=False", ""); w.Code != 204 || b.force {
		t.Errorf("remove: got %d, force %v", w.Code, b.force)
	}
	do(h, "GET", "/internal/v1/containers/web/logs?stdout=1&tail=5&since=1700000000.5&until=2026-11-23T00:00:00Z&timestamps=1", "")
	want := api.LogOptions{Stdout: true, Timestamps: true, Tail: 5, Since: time.Unix(1700000000, 5e8).UTC(), Until: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	if b.logs != want {
		t.Errorf("logs asked for %+v, want %+v", b.logs, want)
	}
	if do(h, "GET", "/internal/v1/containers/web/logs?stderr=1&tail=all&since=0", ""); b.logs != (api.LogOptions{Stderr: true, Tail: -1}) {
		t.Errorf("logs asked for %+v", b.logs)
	}
}

func TestLogStreams(t *testing.T) {
	b := &backend{stream: "lines"}
	h := newHandler(b, io.Discard)
	for tty, want := range map[bool]string{false: "application/vnd.docker.multiplexed-stream", true: "application/vnd.docker.raw-stream"} {
		b.tty = tty
		w := do(h, "GET", "/internal/v1/containers/x/logs?stdout=1", "")
		if w.Body.String() != "lines" || w.Header().Get("Content-Type") != want {
			t.Errorf("terminal %v: got %q as %s", tty, w.Body, w.Header().Get("Content-Type"))
		}
	}
}

// serve runs a server on a socket in a short folder.
func serve(t *testing.T, b *backend, log io.Writer) (*http.Client, func() error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "s")
	l, err := server.Listen(server.ListenConfig{Address: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- server.New(server.Config{Backend: b, Log: zerolog.New(log), ShutdownTimeout: time.Minute}).Serve(ctx, l)
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
	return client, func() error {
		cancel()
		client.CloseIdleConnections()
		err := <-done
		if _, statErr := os.Stat(path); !errors.Is(statErr, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", statErr)
		}
		return err
	}
}

func TestWaitSendsHeadersAtOnce(t *testing.T) {
	proceed := make(chan error)
	b := &backend{wait: func(_ context.Context, accepted func()) (api.WaitResponse, error) {
		accepted()
		return api.WaitResponse{StatusCode: 3}, <-proceed
	}}
	client, stop := serve(t, b, io.Discard)
	for _, row := range []struct {
		err  error
		want string
	}{
		{nil, `{"StatusCode":3,"Error":null}`},
		{errors.New("the daemon is stopping"), `{"StatusCode":-1,"Error":{"Message":"the daemon is stopping"}}`},
	} {
		res, err := client.Post("http://d/internal/v1/containers/x/wait?condition=next-exit", "", nil) // returns when the headers are here
		if err != nil {
			t.Fatal(err)
		}
		proceed <- row.err
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != row.want {
			t.Errorf("got %d %s, %v; want %s", res.StatusCode, body, err, row.want)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	if b.waitCond != api.WaitNextExit {
		t.Errorf("got condition %q", b.waitCond)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStopWaitsForRequests(t *testing.T) {
	entered, proceed := make(chan struct{}), make(chan struct{})
	b := &backend{wait: func(context.Context, func()) (api.WaitResponse, error) {
		close(entered)
		<-proceed
		return api.WaitResponse{}, nil
	}}
	client, stop := serve(t, b, io.Discard)
	answered, stopped := make(chan error, 1), make(chan error, 1)
	go func() {
		res, err := client.Post("http://d/internal/v1/containers/x/wait", "", nil)
		if err == nil {
			err = res.Body.Close()
		}
		answered <- err
	}()
	<-entered
	go func() { stopped <- stop() }()
	close(proceed)
	if err := <-answered; err != nil {
		t.Errorf("the request was cut: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// lines is a log whose entries can be waited for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestDepartedClientIsNoError(t *testing.T) {
	entered := make(chan struct{})
	b := &backend{wait: func(ctx context.Context, _ func()) (api.WaitResponse, error) {
		close(entered)
		<-ctx.Done()
		return api.WaitResponse{}, context.Cause(ctx)
	}}
	log := make(lines, 10)
	client, stop := serve(t, b, log)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://d/internal/v1/containers/x/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := client.Do(req); err == nil {
			t.Error("got an answer", res.Body.Close())
		}
	}()
	<-entered
	leave()
	<-gone
	if line := <-log; !strings.Contains(line, `"status":499`) || strings.Contains(line, `"level":"error"`) {
		t.Errorf("logged %s", line)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestContainersAreNamedInThePath(t *testing.T) {
	b := &backend{}
	s := server.New(server.Config{Backend: b, Log: zerolog.Nop()})
	for _, prefix := range []string{"/internal/v1/containers/", "/containers/", "/v1.44/containers/"} {
		for ref, want := range map[string]string{"web": "web", "/web": "web", "%2Fweb": "web", "%2fweb": "web", "w%65b": "web", "a%2Fb": "a/b", "%zz": ""} {
			path := prefix + ref
			if !strings.HasPrefix(prefix, "/internal") {
				path += "/json"
			}
			b.ref = ""
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://d"+path, nil)
			if err != nil {
				if want != "" {
					t.Error(err)
				}
				continue
			}
			s.ServeHTTP(httptest.NewRecorder(), req)
			if b.ref != want {
				t.Errorf("%s: got %q, want %q", path, b.ref, want)
			}
		}
	}
}
