package handler

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

func TestRefusals(t *testing.T) {
	f := setup(t, "exit 0")
	for _, row := range []struct {
		method, target, body string
		status               int
		message              string
	}{
		{"GET", "/api/run", "", 405, "POST"},
		{"POST", "/api/run", "", 400, "Content-Length"},
		{"POST", "/api/run", "x", 400, "not a valid start request"},
		{"POST", "/api/run", "{}", 400, "run_id"},
		{"POST", "/api/run", `{"run_id": "` + strings.Repeat("x", 129) + `"}`, 400, "run_id"},
		{"POST", "/api/run", `{"run_id": "r", "timeout_seconds": -1}`, 400, "negative"},
		{"POST", "/api/run", `{"run_id": "r", "wait_seconds": -1}`, 400, "negative"},
		{"POST", "/api/run", `{"run_id": "` + strings.Repeat("x", 2<<20) + `"}`, 400, "too large"},
		{"POST", "/api/runs/r", "", 405, "GET"},
		{"GET", "/api/runs/r", "", 404, "knows no run"},
		{"GET", "/api/runs/r?wait=x", "", 400, "wait"},
		{"GET", "/api/runs/r?wait=-1", "", 400, "wait"},
		{"POST", "/run", `{"Data": {}, "Metadata": {}}`, 400, "enableForwardingHttpRequest"},
		{"GET", "/api/other", "", 404, "only"},
	} {
		w := f.do(row.method, row.target, row.body)
		if w.Code != row.status || !strings.Contains(w.Body.String(), row.message) {
			t.Errorf("%s %s %.40s: got %d %s, want %d and %q",
				row.method, row.target, row.body, w.Code, w.Body, row.status, row.message)
		}
		if w.Header().Get(protocol.Header) == "" {
			t.Errorf("%s %s %.40s: the answer lacks the header", row.method, row.target, row.body)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for _, entry := range []string{
		"AZF_COMMAND=ls -l", `AZF_COMMAND={"a":1}`, "AZF_OUTPUT_LIMIT=0", "AZF_OUTPUT_LIMIT=many",
	} {
		if _, err := readConfig(nil, []string{entry}, nil); err == nil {
			t.Errorf("%s: no error", entry)
		}
	}
}

func TestServe(t *testing.T) {
	err := Run(t.Context(), nil, nil, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "FUNCTIONS_CUSTOMHANDLER_PORT") {
		t.Errorf("got %v, want an error about the port", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		environ := []string{"FUNCTIONS_CUSTOMHANDLER_PORT=" + port}
		ended <- Run(ctx, []string{"/bin/sleep", "600"}, environ, io.Discard, io.Discard)
	}()
	base := "http://127.0.0.1:" + port
	azuretest.Eventually(t, "the handler listens", func() bool {
		res, err := http.Get(base + "/")
		if err != nil {
			return false
		}
		if res.StatusCode != http.StatusOK || res.Body.Close() != nil {
			t.Errorf("probe: got %s", res.Status)
		}
		return true
	})
	res, err := http.Post(base+protocol.RunPath, "application/json", strings.NewReader(`{"run_id": "r"}`))
	if err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("got %v, %v", res, err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("got %v, want a clean end with a run under way", err)
	}
}
