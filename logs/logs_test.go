package logs

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim/monitor"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	workspace = "11111111-2222-3333-4444-555555555555"
	app       = "skls-0123456789abcdef0123"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

type credential struct{ err error }

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: strings.Join(o.Scopes, " "), ExpiresOn: time.Now().Add(time.Hour)}, c.err
}

// reader returns a Reader whose service is h.
func reader(t *testing.T, h http.Handler) *Reader {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	return readerOf(t, srv.URL, srv.Client(), credential{})
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

// trace is a row as the Functions host writes one for a line of its custom handler.
func trace(at time.Time, severity int, message string) map[string]any {
	return map[string]any{
		"TimeGenerated": at, "SeverityLevel": severity, "Message": message, "AppRoleName": strings.ToUpper(app), "TenantId": workspace,
		"Properties": map[string]any{"Category": "Host.Function.Console"},
	}
}

// printed is a line as azf-handler prints it.
func printed(run string, seq int, stream, text string) string {
	b, err := json.Marshal(protocol.Line{RunID: run, Seq: seq, Stream: stream, Time: noon.Add(time.Duration(seq) * time.Millisecond), Text: text})
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

func TestLinesOfHandler(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // the same order in every run
	var rows []map[string]any
	var want []Line
	for seq := 1; seq <= 200; seq++ {
		l := Line{Time: noon.Add(time.Duration(seq) * time.Millisecond), Stream: Stdout, Seq: seq, Text: fmt.Sprintf("line %d \"quoted\" \\ {}", seq)}
		s, severity := protocol.Stdout, 1
		if seq%3 == 0 {
			l.Stream, s, severity = Stderr, protocol.Stderr, 3
		}
		want = append(want, l)
		// The host logs in the background: time and order of its rows say little.
		at := noon.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
		rows = append(rows, trace(at, severity, printed("run-2", seq, s, l.Text)))
		if seq%5 == 0 { // Application Insights delivers at least once
			rows = append(rows, trace(at, severity, printed("run-2", seq, s, l.Text)))
		}
		rows = append(rows, trace(at, 1, printed("run-1", seq, protocol.Stdout, "of the run before")))
	}
	rows = append(rows,
		trace(noon, 1, "azf-handler: listening"),
		trace(noon, 1, `{"run":"run-2","s":"out","seq":201,"m":"cut o`),
		trace(noon, 1, `{"run":"run-2","s":"both","seq":202,"m":"no such stream"}`),
	)
	other := trace(noon, 1, printed("run-2", 1, protocol.Stdout, "of another app"))
	other["AppRoleName"] = "skls-other"
	host := trace(noon, 1, printed("run-2", 1, protocol.Stdout, "of the host"))
	host["Properties"] = map[string]any{"Category": "Host.Startup"}
	rows = append(rows, other, host)
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	r := reader(t, store(rows...))

	for name, q := range map[string]Query{
		"by run id":        {RunID: "run-2"},
		"clocks differ":    {RunID: "run-2", From: noon.Add(40 * time.Second), To: noon.Add(50 * time.Second)},
		"of the last run":  {},
		"in a wide window": {RunID: "run-2", From: noon.Add(-time.Hour), To: noon.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			q.WorkspaceID, q.App = workspace, app
			if name == "of the last run" { // run-1 has the same times, so give run-2 a later line
				want := append(want[:len(want):len(want)], Line{Time: noon.Add(201 * time.Millisecond), Stream: Stdout, Seq: 201, Text: "last"})
				r := reader(t, store(append(rows, trace(noon, 1, printed("run-2", 201, protocol.Stdout, "last")))...))
				check(t, r, q, want)
				return
			}
			check(t, r, q, want)
		})
	}
	t.Run("outside of the window", func(t *testing.T) {
		check(t, r, Query{WorkspaceID: workspace, App: app, RunID: "run-2", From: noon.Add(2 * time.Minute)}, nil)
	})
	t.Run("of an unknown run", func(t *testing.T) {
		check(t, r, Query{WorkspaceID: workspace, App: app, RunID: "run-3"}, []Line{})
	})
	t.Run("of another workspace", func(t *testing.T) {
		check(t, r, Query{WorkspaceID: "22222222-2222-3333-4444-555555555555", App: app, RunID: "run-2"}, nil)
	})
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

func TestLinesOfOtherHandlers(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	r := reader(t, store(
		trace(at(-2), 1, "of the run before"),
		trace(at(3), 3, "third"),
		trace(at(0), 1, "first"),
		trace(at(3), 2, "fourth: a warning"),
		trace(at(1), 1, `{"level":"info"}`),
		trace(at(5), 1, "of the run after"),
	))
	check(t, r, Query{WorkspaceID: workspace, App: app, RunID: "run-1", From: at(0), To: at(3)}, []Line{
		{Time: at(0), Stream: Stdout, Seq: 1, Text: "first"},
		{Time: at(1), Stream: Stdout, Seq: 2, Text: `{"level":"info"}`},
		{Time: at(3), Stream: Stderr, Seq: 3, Text: "third"},
		{Time: at(3), Stream: Stderr, Seq: 4, Text: "fourth: a warning"},
	})
}

func TestGoldenQueries(t *testing.T) {
	for name, q := range map[string]Query{
		"window":    {From: noon.Add(123456700), To: noon.In(time.FixedZone("", 3600)).Add(time.Hour)},
		"no-window": {RunID: `x" or true //`},
		"from-only": {From: noon},
	} {
		t.Run(name, func(t *testing.T) {
			q.WorkspaceID, q.App = workspace, app
			got, err := kql(q)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".kql")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("query (-want +got), -update to accept:\n%s", d)
			}
		})
	}
}

// TestKQLString has the service read each literal back.
func TestKQLString(t *testing.T) {
	s := store(map[string]any{})
	for _, text := range []string{
		"", "plain", `"`, `'`, `\`, `\"`, `" or 1 == 1 //`, "a\nb\r\tc\x00\x7f", "é \u2028 \u0085 \U0001F600", `@"x"`, "${x}", strings.Repeat(`\"`, 1000),
	} {
		body, err := json.Marshal(map[string]string{"query": "AppTraces | project x = " + kqlString(text)})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/workspaces/w/query", strings.NewReader(string(body)))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		var got struct{ Tables []struct{ Rows [][]string } }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Errorf("%q: status %d: %s", text, w.Code, w.Body)
			continue
		}
		if d := cmp.Diff([][]string{{text}}, got.Tables[0].Rows); d != "" {
			t.Errorf("%q (-want +got):\n%s", text, d)
		}
	}
}

func TestBadQueries(t *testing.T) {
	r := reader(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a call was made") }))
	for name, q := range map[string]Query{
		"no workspace":    {App: app},
		"no app":          {WorkspaceID: workspace},
		"app with quotes": {WorkspaceID: workspace, App: `a" or true //`},
		"app with line":   {WorkspaceID: workspace, App: "a\nb"},
		"long app":        {WorkspaceID: workspace, App: strings.Repeat("a", 61)},
		"window backward": {WorkspaceID: workspace, App: app, From: noon, To: noon.Add(-1)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.Lines(t.Context(), q); err == nil {
				t.Error("no error")
			}
		})
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New without credential")
	}
}

func TestErrors(t *testing.T) {
	// A Retry-After beyond the SDK's longest delay ends its retries at once.
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const table = `{"name":"PrimaryResult","columns":[],"rows":[]}`
	for _, c := range []struct {
		name   string
		h      http.HandlerFunc
		cause  error
		status int // of the ResponseError, 0 for none
		says   string
	}{
		{name: "throttled", h: answer(429, `{"error":{"code":"TooManyRequests"}}`), cause: ErrThrottled, status: 429},
		{name: "partial", h: answer(200, `{"tables":[`+table+`],"error":{"code":"PartialError","message":"limit of 500000 records"}}`), cause: ErrPartial, says: "limit of 500000 records"},
		{name: "forbidden", h: answer(403, `{"error":{"code":"InsufficientAccessError"}}`), status: 403, says: "Log Analytics Reader"},
		{name: "refused query", h: answer(400, `{"error":{"code":"BadArgumentError","innererror":{"code":"SemanticError"}}}`), status: 400, says: "SemanticError"},
		{name: "time-out", h: answer(504, `{"error":{"code":"GatewayTimeout"}}`), status: 504},
		{name: "no body", h: answer(200, ``), says: "no table"},
		{name: "other columns", h: answer(200, `{"tables":[{"name":"PrimaryResult","columns":[],"rows":[["x"]]}]}`), says: "1 columns"},
		{name: "no time", h: answer(200, `{"tables":[{"name":"PrimaryResult","columns":[],"rows":[[null,1,"x"]]}]}`), says: "decode row"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := reader(t, c.h).Lines(t.Context(), Query{WorkspaceID: workspace, App: app})
			if err == nil || !strings.Contains(err.Error(), app) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v", err)
			}
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("error %v does not wrap %v", err, c.cause)
			}
			if resp, ok := errors.AsType[*azcore.ResponseError](err); ok != (c.status != 0) || ok && resp.StatusCode != c.status {
				t.Errorf("error %v does not wrap a response with status %d", err, c.status)
			}
		})
	}
	t.Run("no token", func(t *testing.T) {
		cause := errors.New("az login has expired")
		r := readerOf(t, "https://logs.test", http.DefaultClient, credential{err: cause})
		if _, err := r.Lines(t.Context(), Query{WorkspaceID: workspace, App: app}); !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("plain HTTP", func(t *testing.T) {
		r := readerOf(t, "http://logs.test", http.DefaultClient, credential{})
		if _, err := r.Lines(t.Context(), Query{WorkspaceID: workspace, App: app}); err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := reader(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1)) // a handler sees a departed client only behind the body
			cancel()
			<-ctx.Done()
		}))
		if _, err := r.Lines(ctx, Query{WorkspaceID: workspace, App: app}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestTokenIsForTheAudience(t *testing.T) {
	var got string
	r := reader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNoContent)
	}))
	check(t, r, Query{WorkspaceID: workspace, App: app}, nil)
	if want := "POST /v1/workspaces/" + workspace + "/query Bearer https://logs.test/.default"; got != want {
		t.Errorf("request %q, want %q", got, want)
	}
}
