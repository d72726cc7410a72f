package monitor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// sample is a store at noon with three traces, two requests and no exception.
func sample() *Store {
	s := New(Config{Now: func() time.Time { return noon }})
	s.Append("AppTraces", map[string]any{
		"TimeGenerated": noon.Add(-3 * time.Minute), "Message": "Hello World", "SeverityLevel": 1, "AppRoleName": "app-a",
		"Properties": map[string]any{"Category": "Host.Function.Console", "n": 7, "list": []string{"x", "y"}, "ok": true},
	})
	s.Append("AppTraces", map[string]any{
		"TimeGenerated": noon.Add(-2 * time.Minute), "Message": "warn: \"q\" \\ 'p'", "SeverityLevel": 2, "AppRoleName": "APP-A",
		"Properties": map[string]any{"Category": "Other"},
	})
	s.Append("AppTraces", map[string]any{
		"TimeGenerated": noon.Add(-time.Hour), "Message": `{"run":"r1","seq":3}`, "AppRoleName": "app-b",
	})
	s.Append("AppRequests", map[string]any{
		"TimeGenerated": noon.Add(-time.Minute), "Id": "1", "Success": true, "ResultCode": "200", "DurationMs": 12.5, "OperationId": "op1", "AppRoleName": "app-a",
	})
	s.Append("AppRequests", map[string]any{
		"TimeGenerated": noon.Add(-30 * time.Second), "Id": "2", "Success": false, "ResultCode": "500", "DurationMs": 3, "OperationId": "op2", "AppRoleName": "app-b",
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
	Error      *struct{ Code string }
	Statistics json.RawMessage
	Render     json.RawMessage
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

func TestQueries(t *testing.T) {
	s := sample()
	for _, c := range []struct{ query, want string }{
		// Sources.
		{`AppTraces | count`, "Count:long\n[3]"},
		{`AppExceptions | count`, "Count:long\n[0]"},
		{`// a comment
			AppTraces // another
			| count; // and one at the end`, "Count:long\n[3]"},
		{`union AppTraces, AppRequests | summarize n = count() by Type`, "Type:string n:long\n[\"AppTraces\",3]\n[\"AppRequests\",2]"},
		{`union isfuzzy=true Nothing, AppRequests | project Id | take 1`, "Id:string\n[\"1\"]"},
		{`union isfuzzy=true (Nothing | where x == 1), (AppTraces | take 1) | count`, "Count:long\n[1]"},
		{`union isfuzzy=true (datatable(Message:string)[]), Nothing | count`, "Count:long\n[0]"},
		{`union isfuzzy=false (AppTraces | take 2), AppRequests | count`, "Count:long\n[4]"},
		{`(AppTraces | where SeverityLevel == 1) | count`, "Count:long\n[1]"},
		{`datatable(a:string, b:int, c:real) ["x", 1, 2, "y", 3, 4.5,] | where b > 1`, "a:string b:int c:real\n[\"y\",3,4.5]"},
		{`union AppRequests, (AppTraces | where SeverityLevel == 2) | where Type == "AppTraces" | project Id, DurationMs, Message`, "Id:string DurationMs:real Message:string\n[\"\",null,\"warn: \\\"q\\\" \\\\ 'p'\"]"},

		// Conditions.
		{ids(`Success`), `1`},
		{ids(`not(Success)`), `2`},
		{ids(`Success == false or Id == "1"`), `1 2`},
		{ids(`Success and Id == "2" or DurationMs < 4`), `2`},
		{ids(`Success and (Id == "2" or DurationMs < 4)`), ``},
		{ids(`DurationMs >= 12.5`), `1`},
		{ids(`DurationMs > 3 and DurationMs <= 13`), `1`},
		{ids(`DurationMs != 3`), `1`},
		{ids(`-DurationMs < -3`), `1`},
		{ids(`DurationMs between (3 .. 12)`), `2`},
		{ids(`DurationMs between (1..5)`), `2`},
		{ids(`TimeGenerated between (ago(1m) .. now())`), `1 2`},
		{ids(`TimeGenerated > ago(45s)`), `2`},
		{ids(`TimeGenerated == datetime(2026-01-31T11:59:30Z)`), `2`},
		{ids(`TimeGenerated < datetime(2026-01-31 11:59:30)`), `1`},
		{ids(`TimeGenerated > datetime(2026-01-31)`), `1 2`},
		{ids(`now() - TimeGenerated < 0.01h`), `2`},
		{ids(`TimeGenerated + 1m == now()`), `1`},
		{ids(`now(-30s) == TimeGenerated`), `2`},
		{ids(`AppRoleName =~ "APP-B"`), `2`},
		{ids(`AppRoleName !~ "APP-B"`), `1`},
		{ids(`AppRoleName == "APP-B"`), ``},
		{ids(`AppRoleName in ("app-b", "app-c")`), `2`},
		{ids(`AppRoleName !in ("app-b")`), `1`},
		{ids(`AppRoleName in~ ("APP-B", "APP-A")`), `1 2`},
		{ids(`AppRoleName !in~ ("APP-B")`), `1`},
		{ids(`toint(Id) in (2, 3)`), `2`},
		{ids(`AppRoleName contains "P-B"`), `2`},
		{ids(`AppRoleName !contains "P-B"`), `1`},
		{ids(`AppRoleName has "B"`), `2`},
		{ids(`AppRoleName has "p-b"`), ``},
		{ids(`AppRoleName startswith "APP"`), `1 2`},
		{ids(`AppRoleName endswith "-B"`), `2`},
		{ids(`AppRoleName !endswith "-B"`), `1`},
		{ids(`Properties == "x"`), ``},
		{ids(`Properties != "x"`), `1 2`},
		{ids(`Url == ""`), `1 2`},
		{ids(`isempty(Url) and isempty(Properties) and isnotempty(Id)`), `1 2`},
		{ids(`ingestion_time() == now()`), `1 2`},
		{ids(`bin(TimeGenerated, 1m) == datetime(2026-01-31T11:59:00Z)`), `1 2`},
		{ids(`bin(DurationMs, 5) == 10`), `1`},

		// Dynamic values.
		{`AppTraces | where Properties.Category == "Other" | project SeverityLevel`, "SeverityLevel:int\n[2]"},
		{`AppTraces | where Properties["Category"] has "console" | project Properties.n, Properties.list[1], Properties.none`,
			"Properties_n:dynamic Properties_list_1:dynamic Properties_none:dynamic\n[\"7\",\"y\",null]"},
		{`AppTraces | where Properties.n == 7 and Properties.ok == true and Properties.n != "7" | count`, "Count:long\n[1]"},
		{`AppTraces | extend p = parse_json(Message) | where p.seq == 3 | project tostring(p.run), toint(p.seq)`, "p_run:string p_seq:int\n[\"r1\",3]"},
		{`AppTraces | take 1 | project Properties`, "Properties:dynamic\n[\"{\\\"Category\\\":\\\"Host.Function.Console\\\",\\\"list\\\":[\\\"x\\\",\\\"y\\\"],\\\"n\\\":7,\\\"ok\\\":true}\"]"},

		// Strings.
		{`AppTraces | where Message == "warn: \"q\" \\ 'p'" | count`, "Count:long\n[1]"},
		{`AppTraces | where Message == 'warn: "q" \\ \'p\'' | count`, "Count:long\n[1]"},
		{`AppTraces | where Message == @'warn: "q" \ ''p''' | count`, "Count:long\n[1]"},
		{`AppTraces | where Message == @"warn: ""q"" \ 'p'" | count`, "Count:long\n[1]"},
		{`AppTraces | take 1 | project a = "\u0041\x42\t", b = strcat("n", 1, true, 1.5, 1d, " ", datetime(2026-01-31)), c = tolower(Message)`,
			"a:string b:string c:string\n[\"AB\\t\",\"n1true1.51.00:00:00 2026-01-31T00:00:00.0000000Z\",\"hello world\"]"},

		// Conversions.
		{`AppTraces | take 1 | project a = toint("12"), b = toint(" 3.9 "), c = toint("x"), d = toint(99999999999), e = tolong("0x1f"), f = tolong(true)`,
			"a:int b:int c:int d:int e:long f:long\n[12,3,null,null,31,1]"},
		{`AppTraces | take 1 | project a = todatetime("2026-01-31T10:00:00.5Z"), b = todatetime("x"), c = datetime(null), d = 90m, e = tostring(toint("x")), f = -1500ms`,
			"a:datetime b:datetime c:datetime d:timespan e:string f:timespan\n[\"2026-01-31T10:00:00.5Z\",null,null,\"01:30:00\",\"\",\"-00:00:01.5000000\"]"},
		{`AppTraces | take 1 | project a = 1 + 2 - 4, b = 1 + 0.5, c = 0x10, d = 1e3, e = now() - ago(1d)`, "a:long b:real c:long d:real e:timespan\n[-1,1.5,16,1000,\"1.00:00:00\"]"},
		{`AppTraces | take 1 | project bin(-7, 5), bin(7.5, 2), bin(7, 0.5), bin(90s, 1m)`, "Column1:long Column2:real Column3:real Column4:timespan\n[-10,6,7,\"00:01:00\"]"},

		// Choices.
		{`AppTraces | project s = iff(SeverityLevel >= 2, "err", "out")`, "s:string\n[\"out\"]\n[\"err\"]\n[\"out\"]"},
		{`AppTraces | project c = coalesce(toint(Properties.n), SeverityLevel), m = coalesce("", AppRoleName)`, "c:int m:string\n[7,\"app-a\"]\n[2,\"APP-A\"]\n[null,\"app-b\"]"},
		{`AppTraces | project a = array_index_of(dynamic(["app-b", "app-a"]), AppRoleName), b = array_index_of(Properties.list, "y"), c = array_index_of(dynamic([2.0, true, null]), SeverityLevel)`,
			"a:long b:long c:long\n[1,1,-1]\n[-1,null,0]\n[0,null,-1]"},
		{`AppTraces | take 1 | project d = dynamic( {"a": [1, "x)"]} ), n = dynamic(null), x = tostring(dynamic(["a","b"])[1])`,
			"d:dynamic n:dynamic x:string\n[\"{\\\"a\\\":[1,\\\"x)\\\"]}\",null,\"b\"]"},

		// Null has three values in logic.
		{`AppTraces | where SeverityLevel != 1 | count`, "Count:long\n[2]"},
		{`AppTraces | where SeverityLevel < 5 | count`, "Count:long\n[2]"},
		{`AppTraces | where not(SeverityLevel < 5) | count`, "Count:long\n[0]"},
		{`AppTraces | where SeverityLevel < 5 or AppRoleName == "app-b" | count`, "Count:long\n[3]"},
		{`AppTraces | take 1 | project a = toint("") == toint(""), b = toint("") == 1, c = toint("") != 1, d = toint("") < 1 and false, e = toint("") < 1 and true, f = toint("") + 1`,
			"a:bool b:bool c:bool d:bool e:bool f:long\n[null,false,true,false,null,null]"},

		// Columns.
		{`AppRequests | project Id, Ms = DurationMs | extend Ms = Ms + 1, Two = 2 | take 1`, "Id:string Ms:real Two:long\n[\"1\",13.5,2]"},
		{`AppRequests | project Id, Name | project-rename Key = Id | take 1`, "Key:string Name:string\n[\"1\",\"\"]"},
		{`AppRequests | project strcat(Id, "!") | take 1`, "Column1:string\n[\"1!\"]"},

		// Order.
		{`AppTraces | order by SeverityLevel | project SeverityLevel`, "SeverityLevel:int\n[2]\n[1]\n[null]"},
		{`AppTraces | sort by SeverityLevel asc | project SeverityLevel`, "SeverityLevel:int\n[null]\n[1]\n[2]"},
		{`AppTraces | sort by SeverityLevel asc nulls last | project SeverityLevel`, "SeverityLevel:int\n[1]\n[2]\n[null]"},
		{`AppTraces | sort by SeverityLevel desc nulls first | project SeverityLevel`, "SeverityLevel:int\n[null]\n[2]\n[1]"},
		{`union AppTraces, AppRequests | order by AppRoleName asc, TimeGenerated desc | project AppRoleName, Type`,
			"AppRoleName:string Type:string\n[\"APP-A\",\"AppTraces\"]\n[\"app-a\",\"AppRequests\"]\n[\"app-a\",\"AppTraces\"]\n[\"app-b\",\"AppRequests\"]\n[\"app-b\",\"AppTraces\"]"},
		{`AppRequests | top 1 by TimeGenerated | project Id`, "Id:string\n[\"2\"]"},
		{`AppRequests | top 1 by TimeGenerated asc | project Id`, "Id:string\n[\"1\"]"},
		{`AppRequests | limit 0 | project Id`, "Id:string"},
		{`AppRequests | take 99 | count`, "Count:long\n[2]"},

		// Groups.
		{`AppTraces | summarize count(), max(SeverityLevel), first = min(TimeGenerated)`, "count_:long max_SeverityLevel:int first:datetime\n[3,2,\"2026-01-31T11:00:00Z\"]"},
		{`AppExceptions | summarize count(), max(SeverityLevel), min(Message)`, "count_:long max_SeverityLevel:int min_Message:string\n[0,null,\"\"]"},
		{`AppExceptions | summarize count() by Message`, "Message:string count_:long"},
		{`AppTraces | summarize count() by bin(TimeGenerated, 1h), tostring(Properties.Category) | count`, "Count:long\n[3]"},
		{`AppTraces | summarize n = count() by role = tolower(AppRoleName)`, "role:string n:long\n[\"app-a\",2]\n[\"app-b\",1]"},
		{`AppTraces | summarize arg_min(TimeGenerated, Message, SeverityLevel), count() by tolower(AppRoleName)`,
			"Column1:string TimeGenerated:datetime Message:string SeverityLevel:int count_:long\n" +
				"[\"app-a\",\"2026-01-31T11:57:00Z\",\"Hello World\",1,2]\n[\"app-b\",\"2026-01-31T11:00:00Z\",\"{\\\"run\\\":\\\"r1\\\",\\\"seq\\\":3}\",null,1]"},
		{`AppTraces | summarize arg_min(SeverityLevel, Message)`, "SeverityLevel:int Message:string\n[1,\"Hello World\"]"},
		{`AppRequests | project n = toint(Name), Id | summarize arg_min(n, Id)`, "n:int Id:string\n[null,\"2\"]"},
		{`AppExceptions | summarize arg_min(TimeGenerated, Message)`, "TimeGenerated:datetime Message:string\n[null,\"\"]"},
		{`AppRequests | order by Id desc | take 1 | project Id`, "Id:string\n[\"2\"]"},
		{`AppTraces | summarize by Type`, "Type:string\n[\"AppTraces\"]"},
		{`AppTraces | distinct Type, ItemCount`, "Type:string ItemCount:int\n[\"AppTraces\",1]"},
		{`AppTraces | project Type | distinct *`, "Type:string\n[\"AppTraces\"]"},
	} {
		t.Run(c.query, func(t *testing.T) {
			got := show(t, post(s, map[string]any{"query": c.query}))
			if strings.HasPrefix(c.query, idsPrefix) {
				got = strings.NewReplacer("Id:string", "", "\n[\"", " ", "\"]", "").Replace(got)
				got = strings.TrimSpace(got)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

const idsPrefix = "AppRequests | where "

// ids is a query for the ids of the requests that a condition selects.
func ids(cond string) string { return idsPrefix + cond + " | project Id" }

func TestIngestion(t *testing.T) {
	now, delay := noon, 5*time.Second
	s := New(Config{Now: func() time.Time { return now }, IngestionDelay: func() time.Duration { return delay }})
	s.Append("AppTraces", map[string]any{"Message": "late"})
	delay = 0
	s.Append("AppTraces", map[string]any{"Message": "soon"})
	const q = `AppTraces | project Message, TimeGenerated, ingestion_time()`
	if d := cmp.Diff("Message:string TimeGenerated:datetime Column1:datetime\n"+`["soon","2026-01-31T12:00:00Z","2026-01-31T12:00:00Z"]`,
		show(t, post(s, map[string]any{"query": q}))); d != "" {
		t.Errorf("at once (-want +got):\n%s", d)
	}
	now = noon.Add(5 * time.Second)
	if d := cmp.Diff("Message:string TimeGenerated:datetime Column1:datetime\n"+
		`["late","2026-01-31T12:00:00Z","2026-01-31T12:00:05Z"]`+"\n"+`["soon","2026-01-31T12:00:00Z","2026-01-31T12:00:00Z"]`,
		show(t, post(s, map[string]any{"query": q}))); d != "" {
		t.Errorf("later (-want +got):\n%s", d)
	}
}

func TestWorkspaces(t *testing.T) {
	s := New(Config{})
	if w := post(s, map[string]any{"query": "AppTraces"}); w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("without data: %d %s", w.Code, w.Body)
	}
	s.Append("AppTraces", map[string]any{"TenantId": "other"})
	if w := post(s, map[string]any{"query": "AppTraces"}); w.Code != http.StatusNoContent {
		t.Errorf("with another workspace's data: %d %s", w.Code, w.Body)
	}
	s.Append("AppTraces", map[string]any{"TenantId": "WS"})
	s.Append("AppTraces", map[string]any{})
	if got := show(t, post(s, map[string]any{"query": "AppTraces | count"})); got != "Count:long\n[2]" {
		t.Errorf("with data: %s", got)
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
	if !strings.Contains(w.Body.String(), `"code":"PartialError"`) || !strings.Contains(w.Body.String(), "E_QUERY_RESULT_SET_TOO_LARGE") {
		t.Errorf("no partial error: %s", w.Body)
	}
	if w := post(s, map[string]any{"query": "AppTraces | take 2"}); strings.Contains(w.Body.String(), "PartialError") {
		t.Errorf("partial error at the limit: %s", w.Body)
	}
}

func TestRequests(t *testing.T) {
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
	const path, isJSON = "/v1/workspaces/ws/query", "application/json"
	count := url.Values{"query": {"AppTraces | count"}}
	for _, c := range []struct {
		name           string
		w              *httptest.ResponseRecorder
		status         int
		body           string // a part of it
		exactlyNothing bool
	}{
		{name: "get", w: do("GET", path+"?"+count.Encode(), ""), status: 200, body: "[3]"},
		{name: "get with timespan", w: do("GET", path+"?timespan=PT10M&"+count.Encode(), ""), status: 200, body: "[2]"},
		{name: "get without query", w: do("GET", path, ""), status: 400, body: "BadArgumentError"},
		{name: "post without body", w: do("POST", path, "", "Content-Type", isJSON), status: 200, exactlyNothing: true},
		{name: "post without content type", w: do("POST", path, `{"query":"AppTraces"}`), status: 200, exactlyNothing: true},
		{name: "post of a form", w: do("POST", path, `query=x`, "Content-Type", "application/x-www-form-urlencoded"), status: 400, body: "application/json"},
		{name: "post of no JSON", w: do("POST", path, `{`, "Content-Type", isJSON), status: 400, body: "BadArgumentError"},
		{name: "post of unknown field", w: do("POST", path, `{"query":"AppTraces","maxRows":1}`, "Content-Type", isJSON), status: 400, body: "maxRows"},
		{name: "post of several workspaces", w: do("POST", path, `{"query":"AppTraces","workspaces":["x"]}`, "Content-Type", isJSON), status: 400, body: "workspaces"},
		{name: "post with charset", w: do("POST", path, `{"query":"AppTraces|count"}`, "Content-Type", "application/json; charset=utf-8"), status: 200, body: "[3]"},
		{name: "post too large", w: do("POST", path, strings.Repeat("x", maxRequest+1), "Content-Type", isJSON), status: 400, body: "too large"},
		{name: "delete", w: do("DELETE", path, ""), status: 405, body: "GET or POST"},
		{name: "metadata", w: do("GET", "/v1/workspaces/ws/metadata", ""), status: 501, body: "GET /v1/workspaces/ws/metadata"},
		{name: "batch", w: do("POST", "/v1/$batch", ""), status: 501, body: "POST /v1/$batch"},
		{name: "timespan of both ends", w: post(s, map[string]any{"query": "AppTraces|count", "timespan": "2026-01-31T11:57:00Z/2026-01-31T11:58:00Z"}), status: 200, body: "[2]"},
		{name: "timespan of start and length", w: post(s, map[string]any{"query": "AppTraces|count", "timespan": "2026-01-31T10:30:00Z/PT1H"}), status: 200, body: "[1]"},
		{name: "timespan of length and end", w: post(s, map[string]any{"query": "AppTraces|count", "timespan": "P1DT1M/2026-01-31T11:57:00Z"}), status: 200, body: "[2]"},
		{name: "timespan of nonsense", w: post(s, map[string]any{"query": "AppTraces|count", "timespan": "PT"}), status: 400, body: "ISO 8601"},
		{name: "statistics and render", w: post(s, map[string]any{"query": "AppTraces|count"}, "Prefer", "wait=600,include-statistics=true, include-render=true,ai.response-thinning=false"), status: 200, body: `"statistics":{"query":`},
		{name: "render", w: post(s, map[string]any{"query": "AppTraces|count"}, "Prefer", "include-render=true"), status: 200, body: `"render":{`},
		{name: "wait too long", w: post(s, map[string]any{"query": "AppTraces|count"}, "Prefer", "wait=601"), status: 400, body: "wait=601"},
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
		_ = show(t, post(s, map[string]any{"query": "AppTraces | sort by Message | count"}))
	}
	<-done
	if got := show(t, post(s, map[string]any{"query": "AppTraces | count"})); got != "Count:long\n[53]" {
		t.Error(got)
	}
}
