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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

// query asks for all lines of runs, whose windows begin at noon.
func query(runs ...string) Query {
	q := Query{WorkspaceID: workspace, App: app, Stdout: true, Stderr: true}
	for _, id := range runs {
		q.Runs = append(q.Runs, Run{ID: id, From: noon, To: noon.Add(time.Second)})
	}
	return q
}

// with is a query with a change.
func (q Query) with(change func(*Query)) Query {
	q.Runs = slices.Clone(q.Runs)
	change(&q)
	return q
}

// TestLinesOfHandler has three runs of 200 lines in an order that says nothing, repeated and among others.
func TestLinesOfHandler(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // the same order in every run
	var rows []map[string]any
	want := map[string][]Line{}
	at := func(seq int) time.Time { return noon.Add(time.Duration(seq) * time.Millisecond) }
	for _, run := range []string{"run-9", "run-2", "run-1"} {
		for seq := 1; seq <= 200; seq++ {
			l := Line{RunID: run, Time: at(seq), Stream: Stdout, Seq: seq, Text: fmt.Sprintf("line %d \"quoted\" \\ {}", seq)}
			s, severity := protocol.Stdout, 1
			if seq%3 == 0 {
				l.Stream, s, severity = Stderr, protocol.Stderr, 3
			}
			want[run] = append(want[run], l)
			// The host logs in the background: time and order of its rows say little.
			logged := noon.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			rows = append(rows, trace(logged, severity, printed(run, seq, s, l.Text)))
			if seq%5 == 0 { // Application Insights delivers at least once
				rows = append(rows, trace(logged.Add(time.Millisecond), severity, printed(run, seq, s, l.Text)))
			}
		}
	}
	rows = append(rows,
		trace(noon, 1, "azf-handler: listening"),
		trace(noon, 1, `{"run":"run-2","s":"out","seq":201,"m":"cut o`),
		trace(noon, 1, `{"run":"run-2","s":"both","seq":202,"m":"no such stream"}`),
		trace(noon, 1, `{"run":"run-2","s":"out","seq":0,"m":"no such number"}`),
	)
	other := trace(noon, 1, printed("run-2", 1, protocol.Stdout, "of another app"))
	other["AppRoleName"] = "skls-other"
	host := trace(noon, 1, printed("run-2", 1, protocol.Stdout, "of the host"))
	host["Properties"] = map[string]any{"Category": "Host.Startup"}
	rows = append(rows, other, host)
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	s := store(rows...)
	var answered int
	r := reader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, r)
		var body struct {
			Tables []struct{ Rows []json.RawMessage }
		}
		if err := json.Unmarshal(recorder.Body.Bytes(), &body); err == nil {
			for _, table := range body.Tables {
				answered += len(table.Rows)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	}))
	errs := func(lines []Line) []Line {
		return slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return l.Stream == Stdout })
	}
	one, two := want["run-1"], want["run-2"]
	both := append(slices.Clone(two), one...) // run-2 was started first

	for name, c := range map[string]struct {
		q    Query
		want []Line
	}{
		"one run":        {query("run-2"), two},
		"two runs":       {query("run-2", "run-1"), both},
		"stdout":         {query("run-2").with(func(q *Query) { q.Stderr = false }), slices.DeleteFunc(slices.Clone(two), func(l Line) bool { return l.Stream == Stderr })},
		"stderr":         {query("run-2").with(func(q *Query) { q.Stdout = false }), errs(two)},
		"since":          {query("run-2").with(func(q *Query) { q.Since = at(150) }), two[149:]},
		"since, a bit":   {query("run-2").with(func(q *Query) { q.Since = at(150).Add(1) }), two[150:]},
		"until":          {query("run-2").with(func(q *Query) { q.Until = at(150) }), two[:150]},
		"until, a bit":   {query("run-2").with(func(q *Query) { q.Until = at(150).Add(-1) }), two[:149]},
		"tail":           {query("run-2", "run-1").with(func(q *Query) { q.Tail = 7 }), both[393:]},
		"tail over runs": {query("run-2", "run-1").with(func(q *Query) { q.Tail = 207 }), both[193:]},
		"tail of stderr": {query("run-2").with(func(q *Query) { q.Tail, q.Stdout = 5, false }), errs(two)[61:]},
		"long tail":      {query("run-2").with(func(q *Query) { q.Tail = 1000 }), two},
		"tail of a past": {query("run-2").with(func(q *Query) { q.Tail, q.Since, q.Until = 2, at(10), at(20) }), two[18:20]},
		"numbers":        {query("run-2").with(func(q *Query) { q.Runs[0].First, q.Runs[0].Last = 20, 30 }), two[19:30]},
		"numbers of one of two": {query("run-2", "run-1").with(func(q *Query) { q.Runs[1].First, q.Runs[1].Last = 20, 30 }),
			append(slices.Clone(two), one[19:30]...)},
		"tail of numbers": {query("run-2").with(func(q *Query) { q.Runs[0].First, q.Runs[0].Last, q.Tail = 20, 30, 1 }), two[29:30]},
		"clocks differ":   {query("run-2").with(func(q *Query) { q.Runs[0].From, q.Runs[0].To = noon.Add(4*time.Minute), noon.Add(5*time.Minute) }), two},
		"another time":    {query("run-2").with(func(q *Query) { q.Runs[0].From, q.Runs[0].To = noon.Add(time.Hour), noon.Add(time.Hour) }), nil},
		// What azf-handler itself has to say is all that there is.
		"unknown run":               {query("run-3").with(func(q *Query) { q.Since = noon.Add(-1) }), []Line{{RunID: "run-3", Time: noon, Stream: Stdout, Text: "azf-handler: listening"}, {RunID: "run-3", Time: noon, Stream: Stdout, Text: `{"run":"run-2","s":"out","seq":201,"m":"cut o`}, {RunID: "run-3", Time: noon, Stream: Stdout, Text: `{"run":"run-2","s":"both","seq":202,"m":"no such stream"}`}, {RunID: "run-3", Time: noon, Stream: Stdout, Text: `{"run":"run-2","s":"out","seq":0,"m":"no such number"}`}}},
		"numbers of unknown run":    {query("run-3").with(func(q *Query) { q.Runs[0].First, q.Runs[0].Last = 1, 2 }), nil},
		"of an unknown workspace":   {query("run-2").with(func(q *Query) { q.WorkspaceID = "22222222-2222-3333-4444-555555555555" }), nil},
		"run id that is no word":    {query("run-2", `x"]), "" or true //`), two},
		"thirty runs, most unheard": {query(append([]string{"run-2"}, strings.Split(strings.Repeat("x ", 29), " ")[:29]...)...), two},
	} {
		t.Run(name, func(t *testing.T) {
			answered = 0
			if name == "unknown run" { // in an order that is not fixed
				got, err := r.Lines(t.Context(), c.q)
				if d := cmp.Diff(c.want, got, cmpopts.SortSlices(func(a, b Line) bool { return a.Text < b.Text })); err != nil || d != "" {
					t.Errorf("%v, lines (-want +got):\n%s", err, d)
				}
				return
			}
			check(t, r, c.q, c.want)
			if answered != len(c.want) {
				t.Errorf("%d rows were answered for %d lines", answered, len(c.want))
			}
		})
	}
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
	quiet := trace(at(2), 0, "of no severity")
	delete(quiet, "SeverityLevel")
	r := reader(t, store(
		trace(at(-2), 1, "of the run before"),
		trace(at(3), 3, "fourth"),
		trace(at(0), 1, "first"),
		trace(at(4), 2, "fifth: a warning"),
		trace(at(1), 1, `{"level":"info","run":"a"}`), quiet,
		trace(at(2), 1, printed("run-0", 1, protocol.Stdout, "of azf-handler")),
		trace(at(6), 1, "of no run"),
		trace(at(8), 1, "of the next run"),
		trace(at(10), 1, "of the run after"),
	))
	one := []Line{
		{RunID: "run-1", Time: at(0), Stream: Stdout, Text: "first"},
		{RunID: "run-1", Time: at(1), Stream: Stdout, Text: `{"level":"info","run":"a"}`},
		{RunID: "run-1", Time: at(2), Stream: Stdout, Text: "of no severity"},
		{RunID: "run-1", Time: at(3), Stream: Stderr, Text: "fourth"},
		{RunID: "run-1", Time: at(4), Stream: Stderr, Text: "fifth: a warning"},
	}
	two := append(slices.Clone(one), Line{RunID: "run-2", Time: at(8), Stream: Stdout, Text: "of the next run"})
	q := query("run-1").with(func(q *Query) { q.Runs[0].To = at(4) })
	next := Run{ID: "run-2", From: at(7), To: at(9)}
	check(t, r, q, one)
	check(t, r, q.with(func(q *Query) { q.Tail = 2 }), one[3:])
	check(t, r, q.with(func(q *Query) { q.Tail, q.Stderr = 2, false }), one[1:3])
	check(t, r, q.with(func(q *Query) { q.Stdout = false }), one[3:])
	check(t, r, q.with(func(q *Query) { q.Since, q.Until = at(1), at(3) }), one[1:4])
	check(t, r, q.with(func(q *Query) { q.Runs = append(q.Runs, next) }), two)
	check(t, r, q.with(func(q *Query) { q.Runs, q.Tail = append(q.Runs, next), 2 }), two[4:])
	// A run that is asked for by numbers is azf-handler's.
	check(t, r, q.with(func(q *Query) { q.Runs = append(q.Runs, next); q.Runs[0].First, q.Runs[0].Last = 5, 6 }), two[5:])
}

func TestGoldenQueries(t *testing.T) {
	more := []Run{
		{ID: "run-1", From: noon, To: noon.Add(time.Minute)},
		{ID: "run-2", From: noon.Add(time.Minute), To: noon.Add(time.Hour), First: 101, Last: 200},
		{ID: "run-3", From: noon.Add(time.Hour), To: noon.Add(2 * time.Hour)},
		{ID: "run-4", From: noon.Add(2 * time.Hour), To: noon.Add(3 * time.Hour)},
	}
	for name, q := range map[string]Query{
		"whole": query(`x" or true //`),
		"tail":  query("run-1").with(func(q *Query) { q.Tail, q.Stdout = 10, false }),
		"bounds": query("run-1").with(func(q *Query) {
			q.Since, q.Until, q.Stderr = noon.Add(123456701), noon.In(time.FixedZone("", 3600)).Add(time.Hour+99), false
		}),
		"several": query().with(func(q *Query) { q.Runs, q.Tail = more, 100 }),
	} {
		for kind, got := range map[string]string{
			"handler": handlerKQL(q),
			"other":   otherKQL(q, slices.DeleteFunc(slices.Clone(q.Runs), func(r Run) bool { return !r.whole() })),
		} {
			t.Run(name+"-"+kind, func(t *testing.T) {
				file := filepath.Join("testdata", name+"-"+kind+".kql")
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
	for name, change := range map[string]func(*Query){
		"no workspace":        func(q *Query) { q.WorkspaceID = "" },
		"no app":              func(q *Query) { q.App = "" },
		"app with quotes":     func(q *Query) { q.App = `a" or true //` },
		"app with line":       func(q *Query) { q.App = "a\nb" },
		"long app":            func(q *Query) { q.App = strings.Repeat("a", 61) },
		"no run":              func(q *Query) { q.Runs = nil },
		"no run id":           func(q *Query) { q.Runs[0].ID = "" },
		"no window":           func(q *Query) { q.Runs[0].From = time.Time{} },
		"window backward":     func(q *Query) { q.Runs[0].To = noon.Add(-1) },
		"numbers from 0":      func(q *Query) { q.Runs[0].Last = 5 },
		"numbers backward":    func(q *Query) { q.Runs[0].First, q.Runs[0].Last = 6, 5 },
		"no stream":           func(q *Query) { q.Stdout, q.Stderr = false, false },
		"tail below no lines": func(q *Query) { q.Tail = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.Lines(t.Context(), query("run-1").with(change)); err == nil || !strings.HasPrefix(err.Error(), "query logs") {
				t.Errorf("got %v", err)
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
		{name: "no time", h: answer(200, `{"tables":[{"name":"PrimaryResult","columns":[],"rows":[[0,1,null,"out","x"]]}]}`), says: "decode row"},
		{name: "no number", h: answer(200, `{"tables":[{"name":"PrimaryResult","columns":[],"rows":[[0,null,"2026-01-31T12:00:00Z","out","x"]]}]}`), says: "columns hold"},
		{name: "no such run", h: answer(200, `{"tables":[{"name":"PrimaryResult","columns":[],"rows":[[1,1,"2026-01-31T12:00:00Z","out","x"]]}]}`), says: "columns hold"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := reader(t, c.h).Lines(t.Context(), query("run-1"))
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
		if _, err := r.Lines(t.Context(), query("run-1")); !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("plain HTTP", func(t *testing.T) {
		r := readerOf(t, "http://logs.test", http.DefaultClient, credential{})
		if _, err := r.Lines(t.Context(), query("run-1")); err == nil || !strings.Contains(err.Error(), "TLS") {
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
		if _, err := r.Lines(ctx, query("run-1")); !errors.Is(err, context.Canceled) {
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
	check(t, r, query("run-1"), nil)
	if want := "POST /v1/workspaces/" + workspace + "/query Bearer https://logs.test/.default"; got != want {
		t.Errorf("request %q, want %q", got, want)
	}
}
