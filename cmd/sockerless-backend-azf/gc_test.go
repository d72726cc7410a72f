package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/server"
)

// orphanage answers as a daemon with orphans and a foundation does. It records what is confirmed.
func orphanage(t *testing.T, listener net.Listener, list []api.Orphan, confirmed *[]string) {
	t.Helper()
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, status int, body any) {
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET "+server.Prefix+"/gc", func(w http.ResponseWriter, _ *http.Request) { send(w, 200, list) })
	mux.HandleFunc("POST "+server.Prefix+"/gc/confirm", func(w http.ResponseWriter, r *http.Request) {
		var req api.ConfirmRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		if req.IDs[0] == "nobody" {
			send(w, 404, map[string]string{"message": `No such orphan: "nobody"`})
			return
		}
		*confirmed = req.IDs
		due := list[0]
		due.State, due.Reason = api.OrphanDue, "its removal was confirmed"
		send(w, 200, []api.Orphan{due})
	})
	mux.HandleFunc("POST "+server.Prefix+"/foundation", func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, api.Foundation{LogAnalyticsWorkspace: "w"})
	})
	s := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	s.Start()
	t.Cleanup(s.Close)
}

func TestGC(t *testing.T) {
	dir := azuretest.ShortDir(t)
	since := time.Date(2026, 11, 26, 6, 0, 0, 0, time.UTC)
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	list := []api.Orphan{
		{ID: a, Kind: "function app", Name: "web", Place: "/subscriptions/s/sites/skls-" + a[:20], FirstSeen: since,
			State: api.OrphanHeld, Reason: "the database forgot"},
		{ID: b, Kind: "workspace", Place: "/w/" + b, FirstSeen: since, State: api.OrphanReported, Reason: "gc is report"},
	}
	var confirmed []string
	socket, none := filepath.Join(dir, "s"), filepath.Join(dir, "n")
	var lc net.ListenConfig
	for path, orphans := range map[string][]api.Orphan{socket: list, none: {}} {
		listener, err := lc.Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		orphanage(t, listener, orphans, &confirmed)
	}
	port, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	orphanage(t, port, list, &confirmed)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("listen: "+socket+"\nmax_queue: nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	table := "ID            NAME  SEEN SINCE            ORPHAN                                  STATE\n" +
		"aaaaaaaaaaaa  web   2026-11-26T06:00:00Z  function app skls-aaaaaaaaaaaaaaaaaaaa  held: the database forgot\n" +
		"bbbbbbbbbbbb  -     2026-11-26T06:00:00Z  workspace /w/" + b + "  reported: gc is report\n"
	squeezed := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	due := "function app skls-aaaaaaaaaaaaaaaaaaaa due: its removal was confirmed"
	for _, row := range []struct{ args, environ, want, confirmed string }{
		{args: "gc --listen unix://" + socket, want: table},
		{args: "gc --listen tcp://" + port.Addr().String(), want: table},
		{args: "gc --config " + file, want: table},
		{args: "gc", environ: "SOCKERLESS_AZF_CONFIG=" + file, want: table},
		{args: "gc", environ: "SOCKERLESS_AZF_LISTEN=" + socket, want: table},
		{args: "gc --listen " + none, want: "no orphans"},
		{args: "foundation --listen " + socket, want: "Log Analytics workspace: w"},
		{args: "gc confirm --all --listen " + none, want: "no orphans"},
		{args: "gc confirm aaa skls-b --listen " + socket, want: due, confirmed: "aaa skls-b"},
		{args: "gc --listen " + socket + " confirm --all", want: due, confirmed: a + " " + b},
	} {
		confirmed = nil
		var stdout, stderr strings.Builder
		err := run(t.Context(), strings.Fields(row.args), []string{row.environ}, &stdout, &stderr)
		if err != nil || !strings.Contains(squeezed(stdout.String()), squeezed(row.want)) || stderr.Len() > 0 ||
			strings.Join(confirmed, " ") != row.confirmed {
			t.Errorf("%s: %v, confirmed %v, printed\n%s%s", row.args, err, confirmed, &stdout, &stderr)
		}
	}
}

func TestGCRefusals(t *testing.T) {
	dir := azuretest.ShortDir(t)
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	orphanage(t, listener, nil, new([]string))
	tls := filepath.Join(dir, "tls.yaml")
	content := "listen: tcp://0.0.0.0:2376\ntls_cert: /c.crt\ntls_key: /c.key\n"
	if err := os.WriteFile(tls, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args, want string
		status     int
	}{
		{"gc now", "gc takes no arguments", 2},
		{"gc confirm", "confirm takes the ids of orphans, or --all", 2},
		{"gc confirm a --all", "confirm takes the ids of orphans, or --all", 2},
		{"gc --listen nowhere", "is not a valid address", 2},
		{"gc --config " + dir + "/missing", "give the address as --listen", 2},
		{"gc --listen " + dir + "/nobody", "--listen gives another address", 1},
		{"gc --config " + tls, "over TLS", 1},
		{"gc confirm nobody --listen " + dir + "/s", `No such orphan: "nobody"`, 1},
	} {
		err := run(t.Context(), strings.Fields(row.args), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), row.want) || command.ExitStatus(err) != row.status {
			t.Errorf("%s: got %v, want %q", row.args, err, row.want)
		}
	}
}
