package logs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim/monitor"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	workspace = "11111111-2222-3333-4444-555555555555"
	app       = "skls-0123456789abcdef0123"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// reader returns a Reader that calls h.
func reader(t *testing.T, h http.Handler) *Reader {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	return readerOf(t, srv.URL, srv.Client(), azuretest.Credential{})
}

func readerOf(t *testing.T, url string, client *http.Client, cred azcore.TokenCredential) *Reader {
	t.Helper()
	r, err := New(Config{Credential: cred, Transport: client, Cloud: cloud.Configuration{
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			ServiceName: {Endpoint: url + "/v1", Audience: "https://logs.test"},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// trace returns the row of the Functions host for a line of its custom handler.
func trace(at time.Time, severity int, message string) map[string]any {
	return map[string]any{
		"TimeGenerated": at, "SeverityLevel": severity, "Message": message,
		"AppRoleName": strings.ToUpper(app), "TenantId": workspace,
		"Properties": map[string]any{"Category": "Host.Function.Console"},
	}
}

// printed returns a line in azf-handler's form.
func printed(run string, seq int, stream, text string) string {
	at := noon.Add(time.Duration(seq) * time.Millisecond)
	b, err := json.Marshal(protocol.Line{RunID: run, Seq: seq, Stream: stream, Time: at, Text: text})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func store(rows ...map[string]any) *monitor.Store {
	s := monitor.New(monitor.Config{Now: func() time.Time { return noon.Add(time.Hour) }})
	for _, r := range rows {
		s.Append("AppTraces", r)
	}
	return s
}

// query returns the query for all lines of runs, whose windows begin at noon.
func query(runs ...string) Query {
	q := Query{WorkspaceID: workspace, App: app, Stdout: true, Stderr: true}
	for _, id := range runs {
		q.Runs = append(q.Runs, Run{ID: id, From: noon, To: noon.Add(time.Second)})
	}
	return q
}

// with returns a changed copy of q.
func (q Query) with(change func(*Query)) Query {
	q.Runs = slices.Clone(q.Runs)
	change(&q)
	return q
}

func check(t *testing.T, r *Reader, q Query, want []Line) {
	t.Helper()
	got, err := r.Lines(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}
