package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/server"
)

// backend gives the answers of its fields and records the arguments of its calls.
type backend struct {
	api.Backend // nil: a method that no test here needs will panic
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

func (b *backend) ContainerWait(
	ctx context.Context, ref string, cond api.WaitCondition, accepted func(),
) (api.WaitResponse, error) {
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

func newHandlerOf(b api.Backend) http.Handler {
	return server.New(server.Config{Backend: b, Log: zerolog.Nop()})
}

func do(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

func TestErrorsBecomeStatuses(t *testing.T) {
	for kind, want := range map[api.Kind]int{
		api.InvalidParameter: 400, api.NotFound: 404, api.Conflict: 409, api.NotModified: 304,
		api.NotImplemented: 501, api.Unavailable: 503, api.Internal: 500,
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
		got := w.Body.String()
		if w.Code != row.status || !strings.Contains(got, row.message) || !strings.HasPrefix(got, `{"message":`) {
			t.Errorf("%s %s %.30s: got %d %s; want %d and %q",
				row.method, row.target, row.body, w.Code, got, row.status, row.message)
		}
	}
}

func TestCapabilities(t *testing.T) {
	w := do(newHandler(&backend{}, io.Discard), "GET", "/internal/v1/capabilities", "")
	want := `{"backend":"azf","version":"v1","agent_required":false,"exec":false,"attach":false,"logs":true,` +
		`"logs_follow":false,"volumes":false,"networks":false,"health_checks":false,"max_timeout_seconds":600}`
	if strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("got %s", w.Body)
	}
}

func TestCreateIsDecoded(t *testing.T) {
	b := &backend{}
	body := `{"Image": "i", "Env": ["A=b"], "Unknown": 1, "HostConfig": {"AutoRemove": true}}`
	w := do(newHandler(b, io.Discard), "POST", "/internal/v1/containers?name=web", body)
	if w.Code != 201 || strings.TrimSpace(w.Body.String()) != `{"Id":"id","Warnings":[]}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if b.name != "web" || b.request.Image != "i" || b.request.Env[0] != "A=b" || !b.request.HostConfig.AutoRemove {
		t.Errorf("asked for %q %+v", b.name, b.request)
	}
}

func TestListIsDecoded(t *testing.T) {
	b := &backend{}
	target := "/internal/v1/containers?all=true&limit=3&filters={%22name%22:[%22a%22,%22b%22]}"
	if w := do(newHandler(b, io.Discard), "GET", target, ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	want := api.ListOptions{All: true, Limit: 3, Filters: api.Filters{"name": {"a", "b"}}}
	if !reflect.DeepEqual(b.list, want) {
		t.Errorf("asked for %+v, want %+v", b.list, want)
	}
}

func TestInspectIsEncoded(t *testing.T) {
	w := do(newHandler(&backend{}, io.Discard), "GET", "/internal/v1/containers/web", "")
	if w.Code != 200 {
		t.Errorf("got %d", w.Code)
	}
	for _, want := range []string{`"Id":"id"`, `"AZF":{"FunctionApp":"skls-1"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("got %s, want %s", w.Body, want)
		}
	}
}

func TestStartAndRemoveAreDecoded(t *testing.T) {
	b := &backend{}
	h := newHandler(b, io.Discard)
	if w := do(h, "POST", "/internal/v1/containers/web/start", ""); w.Code != 204 || b.ref != "web" {
		t.Errorf("start: got %d for %q", w.Code, b.ref)
	}
	if w := do(h, "DELETE", "/internal/v1/containers/web?force=1", ""); w.Code != 204 || !b.force {
		t.Errorf("remove: got %d, force %v", w.Code, b.force)
	}
	if w := do(h, "DELETE", "/internal/v1/containers/web?force=False", ""); w.Code != 204 || b.force {
		t.Errorf("remove: got %d, force %v", w.Code, b.force)
	}
}

func TestLogsAreDecoded(t *testing.T) {
	b := &backend{}
	h := newHandler(b, io.Discard)
	for query, want := range map[string]api.LogOptions{
		"stdout=1&tail=5&since=1700000000.5&until=2026-11-23T00:00:00Z&timestamps=1": {
			Stdout: true, Timestamps: true, Tail: 5,
			Since: time.Unix(1700000000, 5e8).UTC(), Until: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		},
		"stderr=1&tail=all&since=0": {Stderr: true, Tail: -1},
	} {
		if do(h, "GET", "/internal/v1/containers/web/logs?"+query, ""); b.logs != want {
			t.Errorf("%s: asked for %+v, want %+v", query, b.logs, want)
		}
	}
}

func TestContainersAreNamedInThePath(t *testing.T) {
	b := &backend{}
	s := server.New(server.Config{Backend: b, Log: zerolog.Nop()})
	for _, prefix := range []string{"/internal/v1/containers/", "/containers/", "/v1.44/containers/"} {
		for ref, want := range map[string]string{
			"web": "web", "/web": "web", "%2Fweb": "web", "%2fweb": "web", "w%65b": "web", "a%2Fb": "a/b", "%zz": "",
		} {
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
