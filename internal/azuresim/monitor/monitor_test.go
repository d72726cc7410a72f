package monitor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// sample is a store at noon with three traces and two requests.
func sample() *Store {
	s := New(Config{Now: func() time.Time { return noon }})
	s.Append("AppTraces", map[string]any{
		"TimeGenerated": noon.Add(-3 * time.Minute), "Message": "Hello World", "SeverityLevel": 1,
		"AppRoleName": "app-a",
		"Properties":  map[string]any{"Category": "Host.Function.Console", "n": 7, "list": []string{"x", "y"}, "ok": true},
	})
	s.Append("AppTraces", map[string]any{
		"TimeGenerated": noon.Add(-2 * time.Minute), "Message": "warn: \"q\" \\ 'p'", "SeverityLevel": 2,
		"AppRoleName": "APP-A", "Properties": map[string]any{"Category": "Other"},
	})
	s.Append("AppTraces", map[string]any{
		"TimeGenerated": noon.Add(-time.Hour), "Message": `{"run":"r1","seq":3}`, "AppRoleName": "app-b",
	})
	s.Append("AppRequests", map[string]any{
		"TimeGenerated": noon.Add(-time.Minute), "Id": "1", "Success": true, "ResultCode": "200", "DurationMs": 12.5,
		"OperationId": "op1", "AppRoleName": "app-a", "ItemCount": 12,
	})
	s.Append("AppRequests", map[string]any{
		"TimeGenerated": noon.Add(-30 * time.Second), "Id": "2", "Success": false, "ResultCode": "500", "DurationMs": 3,
		"OperationId": "op2", "AppRoleName": "app-b", "ItemCount": 3,
	})
	return s
}

// post sends a query as azquery does.
func post(s *Store, body any, header ...string) *httptest.ResponseRecorder {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/workspaces/ws/query", strings.NewReader(string(b)))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

type result struct {
	Tables []struct {
		Name    string
		Columns []struct{ Name, Type string }
		Rows    []json.RawMessage
	}
	Error *struct{ Code string }
}

// show writes a result as a line of columns and a line for each row.
func show(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var r result
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Tables) != 1 || r.Tables[0].Name != "PrimaryResult" {
		t.Fatalf("tables: %+v", r.Tables)
	}
	var cols []string
	for _, c := range r.Tables[0].Columns {
		cols = append(cols, c.Name+":"+c.Type)
	}
	out := strings.Join(cols, " ")
	for _, row := range r.Tables[0].Rows {
		out += "\n" + string(row)
	}
	return out
}

// countOf returns the number of rows in a result.
func countOf(t *testing.T, w *httptest.ResponseRecorder) int {
	t.Helper()
	return strings.Count(show(t, w), "\n")
}

func TestIngestion(t *testing.T) {
	now, delay := noon, 5*time.Second
	s := New(Config{Now: func() time.Time { return now }, IngestionDelay: func() time.Duration { return delay }})
	s.Append("AppTraces", map[string]any{"Message": "late"})
	delay = 0
	s.Append("AppTraces", map[string]any{"Message": "soon"})
	const query, columns = `AppTraces | project Message, TimeGenerated`, "Message:string TimeGenerated:datetime\n"
	want := columns + `["soon","2026-01-31T12:00:00Z"]`
	if d := cmp.Diff(want, show(t, post(s, map[string]any{"query": query}))); d != "" {
		t.Errorf("at once (-want +got):\n%s", d)
	}
	now = noon.Add(5*time.Second - 1)
	if d := cmp.Diff(want, show(t, post(s, map[string]any{"query": query}))); d != "" {
		t.Errorf("just before the delay ends (-want +got):\n%s", d)
	}
	now = noon.Add(5 * time.Second)
	want = columns + `["late","2026-01-31T12:00:00Z"]` + "\n" + `["soon","2026-01-31T12:00:00Z"]`
	if d := cmp.Diff(want, show(t, post(s, map[string]any{"query": query}))); d != "" {
		t.Errorf("later (-want +got):\n%s", d)
	}
}

func TestWorkspaces(t *testing.T) {
	s := New(Config{})
	if w := post(s, map[string]any{"query": "AppTraces"}); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("without data: %d %s", w.Code, w.Body)
	}
	// A query without data is not checked for names, but it has to be KQL.
	for query, status := range map[string]int{"Nothing": http.StatusNoContent, "AppTraces |": http.StatusBadRequest} {
		if w := post(s, map[string]any{"query": query}); w.Code != status {
			t.Errorf("%s without data: %d %s, want %d", query, w.Code, w.Body, status)
		}
	}
	s.Append("AppTraces", map[string]any{"TenantId": "other"})
	if w := post(s, map[string]any{"query": "AppTraces"}); w.Code != http.StatusNoContent {
		t.Errorf("with another workspace's data: %d %s", w.Code, w.Body)
	}
	s.Append("AppTraces", map[string]any{"TenantId": "WS"})
	s.Append("AppTraces", map[string]any{})
	if got := countOf(t, post(s, map[string]any{"query": "AppTraces"})); got != 2 {
		t.Errorf("with data: %d rows", got)
	}
}

func TestAppendPanics(t *testing.T) {
	for name, f := range map[string]func(s *Store){
		"table":  func(s *Store) { s.Append("AppTrace", nil) },
		"column": func(s *Store) { s.Append("AppTraces", map[string]any{"Text": "x"}) },
		"type":   func(s *Store) { s.Append("AppTraces", map[string]any{"SeverityLevel": "1"}) },
		"time":   func(s *Store) { s.Append("AppTraces", map[string]any{"TimeGenerated": "now"}) },
		"json":   func(s *Store) { s.Append("AppTraces", map[string]any{"Properties": func() {}}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f(New(Config{}))
		})
	}
}

func TestRowLimit(t *testing.T) {
	s := sample()
	if s.limit != 500_000 {
		t.Errorf("limit %d", s.limit)
	}
	s.limit = 2
	w := post(s, map[string]any{"query": "AppTraces | project Type"})
	if got := show(t, w); got != "Type:string\n[\"AppTraces\"]\n[\"AppTraces\"]" {
		t.Errorf("rows: %s", got)
	}
	partial := w.Body.String()
	if !strings.Contains(partial, `"code":"PartialError"`) || !strings.Contains(partial, "E_QUERY_RESULT_SET_TOO_LARGE") {
		t.Errorf("no partial error: %s", partial)
	}
	if w := post(s, map[string]any{"query": "AppTraces | take 2"}); strings.Contains(w.Body.String(), "PartialError") {
		t.Errorf("partial error at the limit: %s", w.Body)
	}
}

func TestRequests(t *testing.T) {
	type m = map[string]any
	s := sample()
	do := func(method, target, body string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	const path, isJSON, query = "/v1/workspaces/ws/query", "application/json", `{"query":"AppRequests|project Id|take 1"}`
	for _, c := range []struct {
		name           string
		w              *httptest.ResponseRecorder
		status         int
		body           string // a part of it
		exactlyNothing bool
	}{
		{name: "post", w: do("POST", path, query, "Content-Type", isJSON), status: 200, body: `[["1"]]`},
		{name: "post with charset", w: do("POST", path, query, "Content-Type", "application/json; charset=utf-8"),
			status: 200, body: `[["1"]]`},
		{name: "post without body", w: do("POST", path, "", "Content-Type", isJSON), status: 200, exactlyNothing: true},
		{name: "post without content type", w: do("POST", path, query), status: 200, exactlyNothing: true},
		{name: "post without query", w: do("POST", path, `{}`, "Content-Type", isJSON),
			status: 400, body: "Query is missing or empty"},
		{name: "post of a form", w: do("POST", path, `query=x`, "Content-Type", "application/x-www-form-urlencoded"),
			status: 400, body: "application/json"},
		{name: "post of a half", w: do("POST", path, `{`, "Content-Type", isJSON), status: 400, body: "BadArgumentError"},
		{name: "post of unknown field", w: post(s, m{"query": "AppTraces", "maxRows": 1}), status: 400, body: "maxRows"},
		{name: "post of several workspaces", w: post(s, m{"query": "AppTraces", "workspaces": []string{"x"}}),
			status: 400, body: "workspaces"},
		{name: "post with timespan", w: post(s, m{"query": "AppTraces", "timespan": "PT1H"}), status: 400, body: "timespan"},
		{name: "post with preferences", w: post(s, m{"query": "AppTraces"}, "Prefer", "wait=600,include-statistics=true"),
			status: 400, body: "wait=600,include-statistics=true"},
		{name: "post too large", w: do("POST", path, strings.Repeat("x", maxRequest+1), "Content-Type", isJSON),
			status: 400, body: "too large"},
		{name: "get", w: do("GET", path+"?query=AppTraces", ""), status: 405, body: "no GET here: use POST"},
		{name: "delete", w: do("DELETE", path, ""), status: 405, body: "no DELETE here: use POST"},
		{name: "metadata", w: do("GET", "/v1/workspaces/ws/metadata", ""),
			status: 501, body: "GET /v1/workspaces/ws/metadata"},
		{name: "batch", w: do("POST", "/v1/$batch", ""), status: 501, body: "POST /v1/$batch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.w.Code != c.status || !strings.Contains(c.w.Body.String(), c.body) || c.exactlyNothing && c.w.Body.Len() != 0 {
				t.Errorf("%d %s", c.w.Code, c.w.Body)
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	s := sample()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			s.Append("AppTraces", map[string]any{"Message": "m"})
		}
	}()
	for range 50 {
		_ = show(t, post(s, map[string]any{"query": "AppTraces | order by Message asc"}))
	}
	<-done
	if got := countOf(t, post(s, map[string]any{"query": "AppTraces"})); got != 53 {
		t.Errorf("%d rows, want 53", got)
	}
}

// TestMessagesAreCut appends messages as the Functions host logs them.
func TestMessagesAreCut(t *testing.T) {
	for message, want := range map[string]string{
		" a\n":                                    "a",
		strings.Repeat("é", maxMessage):           strings.Repeat("é", maxMessage),
		strings.Repeat("é", maxMessage+1):         strings.Repeat("é", maxMessage),
		strings.Repeat("\U0001F600", 16385):       strings.Repeat("\U0001F600", 16384),
		"a" + strings.Repeat("\U0001F600", 16385): "a" + strings.Repeat("\U0001F600", 16383) + "\uFFFD", // half a pair
	} {
		s := New(Config{})
		s.Append("AppTraces", map[string]any{"Message": message})
		rows := s.visible("AppTraces", "w", time.Now().Add(time.Minute))
		at := slices.IndexFunc(s.schema["AppTraces"], func(c column) bool { return c.name == "Message" })
		if got := rows[0][at]; got != want {
			t.Errorf("%.20q of %d bytes: got %.20q of %d bytes", message, len(message), got, len(got.(string)))
		}
	}
}
