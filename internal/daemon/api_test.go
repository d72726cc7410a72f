package daemon_test

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// exchange is one request of the route test, and its answer.
type exchange struct {
	// route is the route of docs/api.md that it stands for, path the requested path when that differs.
	route, path string
	body        string
	status      int
	// want is the whole message of an error, or a part of any other body.
	want string
	// check looks at the body of a success.
	check func(t *testing.T, body []byte)
}

// send makes one request and returns status, headers and body.
func (p *playground) send(t *testing.T, method, path, body string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://daemon"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, content
}

// decoded returns a check of one JSON value.
func decoded[T any](check func(t *testing.T, v T)) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		t.Helper()
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			t.Errorf("%v in %s", err, body)
			return
		}
		check(t, v)
	}
}

const (
	others   = ". CI runners require exec-capable backends (ecs, cloudrun, aca, docker)."
	noExec   = "This backend (azf) does not support exec" + others
	noAttach = "This backend (azf) does not support attach" + others
)

func unsupported(capability string) string {
	return "This backend (azf) does not support " + capability + "."
}

// TestExitStatus has runs end in different ways on real function hosts.
func TestExitStatus(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Azure.Timeout = 1e9 })
	p.create(t, "slow", api.Config{Cmd: []string{"/bin/sh", "-c", "echo started; exec sleep 100"}})
	p.must(t, http.MethodPost, "/containers/slow/start", nil, nil)
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/slow/wait", nil, &res)
	var info api.InspectResponse
	p.must(t, http.MethodGet, "/containers/slow", nil, &info)
	if res.StatusCode != 124 || res.Error == nil || info.State.ExitCode != 124 ||
		!strings.Contains(info.State.Error, "time limit") {
		t.Errorf("time limit: got %+v, %+v", res, info.State)
	}
	if info.State.StartedAt >= info.State.FinishedAt {
		t.Errorf("started at %s, finished at %s", info.State.StartedAt, info.State.FinishedAt)
	}
	// The app refuses every call, even with its own key.
	p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{
		{Path: regexp.MustCompile("^/api/"), Status: http.StatusUnauthorized},
	}})
	p.must(t, http.MethodPost, "/containers/slow/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/slow/wait", nil, &res)
	if res.StatusCode != 125 || res.Error == nil || !strings.Contains(res.Error.Message, "host key") {
		t.Errorf("not invoked: got %+v", res)
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.must(t, http.MethodDelete, "/containers/slow", nil, nil)
}
