package logs

import (
	"encoding/json"
	"fmt"
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

// TestManyRuns asks for more runs than one query can name, of azf-handler and of another handler.
func TestManyRuns(t *testing.T) {
	const runs = 2*maxRuns + 50
	var rows []map[string]any
	var want, others []Line
	q := query()
	for i := range runs {
		id, at := fmt.Sprintf("run-%03d", i), noon.Add(time.Duration(i)*time.Second)
		q.Runs = append(q.Runs, Run{ID: id, From: at, To: at.Add(time.Second)}) // to the start of the next
		rows = append(rows, trace(at, 1, printed(id, 1, protocol.Stdout, "of "+id)))
		want = append(want, Line{RunID: id, Time: noon.Add(time.Millisecond), Stream: Stdout, Seq: 1, Text: "of " + id})
		others = append(others, Line{RunID: id, Time: at, Stream: Stdout, Text: "of " + id})
	}
	calls := 0
	counted := func(s *monitor.Store) *Reader {
		return reader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls++
			s.ServeHTTP(w, r)
		}))
	}
	r := counted(store(rows...))
	check(t, r, q, want)
	if calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
	calls = 0
	check(t, r, q.with(func(q *Query) { q.Tail = 10 }), want[runs-10:])
	if calls != 1 {
		t.Errorf("%d calls for the last lines, want 1", calls)
	}
	check(t, r, q.with(func(q *Query) { q.Tail = maxRuns + 7 }), want[runs-maxRuns-7:])
	rows = nil
	for _, l := range others {
		rows = append(rows, trace(l.Time, 1, l.Text))
	}
	check(t, counted(store(rows...)), q, others)
}
