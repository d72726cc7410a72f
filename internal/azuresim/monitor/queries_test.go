package monitor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// queryRow is a query and its answer as show writes it.
type queryRow struct{ query, want string }

// answers checks the answers of queries over the sample.
func answers(t *testing.T, rows []queryRow) {
	t.Helper()
	s := sample()
	for _, c := range rows {
		t.Run(c.query, func(t *testing.T) {
			if d := cmp.Diff(c.want, show(t, post(s, map[string]any{"query": c.query}))); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestSources(t *testing.T) {
	answers(t, []queryRow{
		{`AppRequests | project Id`, "Id:string\n[\"1\"]\n[\"2\"]"},
		{`union isfuzzy=true AppTraces, AppRequests | project Type`, "Type:string" +
			"\n[\"AppTraces\"]\n[\"AppTraces\"]\n[\"AppTraces\"]\n[\"AppRequests\"]\n[\"AppRequests\"]"},
		{`union isfuzzy=true Nothing, AppRequests | project Id | take 1`, "Id:string\n[\"1\"]"},
		{`union isfuzzy=true (datatable(Message:string)[]), Nothing | project Message`, "Message:string"},
		{`union isfuzzy=true (datatable(Message:string, More:dynamic)[]), AppTraces | project More, Type | take 1`,
			"More:dynamic Type:string\n[null,\"AppTraces\"]"},
		{`union isfuzzy=true AppRequests, AppTraces
			| where Type == "AppTraces" | project Id, DurationMs, Message | order by Message asc | take 1`,
			"Id:string DurationMs:real Message:string\n[\"\",null,\"Hello World\"]"},
	})
}

// ids checks the ids of the requests that conditions select.
func ids(t *testing.T, rows []queryRow) {
	t.Helper()
	for i, c := range rows {
		rows[i].query = "AppRequests | where " + c.query + " | project Id"
		rows[i].want = "Id:string"
		for id := range strings.FieldsSeq(c.want) {
			rows[i].want += "\n[\"" + id + "\"]"
		}
	}
	answers(t, rows)
}

func TestConditions(t *testing.T) {
	ids(t, []queryRow{
		{`Success`, `1`},
		{`not(Success)`, `2`},
		{`not(Success) or Id == "1"`, `1 2`},
		{`Success and Id == "2" or ItemCount <= 4`, `2`},
		{`Success and Id == "2"`, ``},
		{`ItemCount >= 12`, `1`},
		{`ItemCount != 3`, `1`},
		{`ItemCount between (3 .. 11)`, `2`},
		{`ItemCount between (3..12)`, `1 2`},
		{`ItemCount between (-1 .. 2)`, ``},
		{`TimeGenerated between (datetime(2026-01-31T11:59:00Z) .. datetime(2026-01-31T12:00:00Z))`, `1 2`},
		{`TimeGenerated >= datetime(2026-01-31T11:59:30.0000000Z)`, `2`},
		{`TimeGenerated == datetime(2026-01-31T11:59:30Z)`, `2`},
		{`TimeGenerated <= datetime(2026-01-31 11:59:29)`, `1`},
		{`TimeGenerated >= datetime(2026-01-31)`, `1 2`},
		{`AppRoleName =~ "APP-B"`, `2`},
		{`AppRoleName == "APP-B"`, ``},
		{`AppRoleName != "app-b"`, `1`},
		{`AppRoleName in ("app-b", "app-c")`, `2`},
		{`ItemCount in (2, 3)`, `2`},
		{`AppRoleName endswith "-B"`, `2`},
		{`Url == ""`, `1 2`},
		{`not(isnotempty(Url)) and isnotempty(Id)`, `1 2`},
	})
}

func TestDynamicValues(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | where tostring(Properties.Category) == "Other" | project SeverityLevel`, "SeverityLevel:int\n[2]"},
		{`AppTraces | take 1 | project n = Properties.n, list = Properties.list, none = Properties.none.deeper`,
			"n:dynamic list:dynamic none:dynamic\n[\"7\",\"[\\\"x\\\",\\\"y\\\"]\",null]"},
		{`AppTraces | extend p = parse_json(Message) | where tolong(p.seq) == 3
			| project run = tostring(p.run), seq = tolong(p.seq)`,
			"run:string seq:long\n[\"r1\",3]"},
		{`AppTraces | take 1 | project Properties`,
			"Properties:dynamic\n" + `["{\"Category\":\"Host.Function.Console\",\"list\":[\"x\",\"y\"],\"n\":7,\"ok\":true}"]`},
		{`AppTraces | take 1 | project d = dynamic( {"a": [1, "x)"]} ), n = dynamic(null),
			x = tostring(dynamic({"a": "b"}).a)`,
			"d:dynamic n:dynamic x:string\n[\"{\\\"a\\\":[1,\\\"x)\\\"]}\",null,\"b\"]"},
	})
}

func TestStrings(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | where Message == "warn: \"q\" \\ 'p'" | project Type`, "Type:string\n[\"AppTraces\"]"},
		{`AppTraces | take 1 | project a = "\u0041\u00e9 |"`, "a:string\n[\"Aé |\"]"},
	})
}

func TestConversions(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | take 1 | project a = tolong(dynamic("12")), b = tolong(dynamic(" 3.9 ")), c = tolong(dynamic("x")),
			d = tolong(dynamic(1e30)), e = tolong(dynamic("0x1f")), f = tolong(dynamic(true)), g = tolong(dynamic([1])), h = -1`,
			"a:long b:long c:long d:long e:long f:long g:long h:long\n[12,3,null,null,31,1,null,-1]"},
		{`AppTraces | take 1 | project a = todatetime(dynamic("2026-01-31T10:00:00.5Z")), b = todatetime(dynamic("x")),
			c = todatetime(dynamic(1)), e = tostring(dynamic(null)), f = tostring(dynamic(1.5)),
			g = tostring(dynamic({"a": true}))`,
			"a:datetime b:datetime c:datetime e:string f:string g:string" +
				"\n[\"2026-01-31T10:00:00.5Z\",null,null,\"\",\"1.5\",\"{\\\"a\\\":true}\"]"},
		{`AppTraces | project m = parse_json(Message)`,
			"m:dynamic\n[\"Hello World\"]\n[\"warn: \\\"q\\\" \\\\ 'p'\"]\n[\"{\\\"run\\\":\\\"r1\\\",\\\"seq\\\":3}\"]"},
	})
}

func TestChoices(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | order by TimeGenerated desc | extend n = row_cumsum(iff(SeverityLevel == 2, 10, 1)) | project n`,
			"n:long\n[10]\n[11]\n[12]"},
		{`AppTraces | take 1 | project size = string_size("é"), both = strcat("a", Message),
			group = extract("(l+)(o)", 2, Message), none = extract("(x)", 1, Message), bad = extract("(", 1, Message)`,
			"size:long both:string group:string none:string bad:string\n[2,\"aHello World\",\"o\",\"\",\"\"]"},
		{`AppTraces | project s = iff(SeverityLevel >= 2, "err", "out")`, "s:string\n[\"out\"]\n[\"err\"]\n[\"out\"]"},
		{`AppTraces | project c = coalesce(tolong(Properties.n), -1), m = coalesce("", AppRoleName)`,
			"c:long m:string\n[7,\"app-a\"]\n[-1,\"APP-A\"]\n[-1,\"app-b\"]"},
		{`AppTraces | project c = coalesce(todatetime(Properties.t), TimeGenerated) | take 1`,
			"c:datetime\n[\"2026-01-31T11:57:00Z\"]"},
		{`AppTraces | project a = array_index_of(dynamic(["app-b", "app-a", 1, {"x": 1}]), AppRoleName),
			b = array_index_of(Properties.list, "y")`, "a:long b:long\n[1,1]\n[-1,null]\n[0,null]"},
	})
}

func TestNullHasThreeValuesInLogic(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | where SeverityLevel != 1 | project SeverityLevel`, "SeverityLevel:int\n[2]\n[null]"},
		{`AppTraces | where SeverityLevel <= 5 | project SeverityLevel`, "SeverityLevel:int\n[1]\n[2]"},
		{`AppTraces | where not(SeverityLevel <= 5) | project SeverityLevel`, "SeverityLevel:int"},
		{`AppTraces | where SeverityLevel <= 5 or AppRoleName == "app-b" | project SeverityLevel`,
			"SeverityLevel:int\n[1]\n[2]\n[null]"},
		{`AppTraces | take 1 | extend n = tolong(dynamic(null)) | project a = n == n, b = n == 1, c = n != 1,
			d = n <= 1 and 1 == 2, e = n <= 1 and 1 == 1, f = n <= 1 or 1 == 1, g = n >= 1 or 1 == 2`,
			"a:bool b:bool c:bool d:bool e:bool f:bool g:bool\n[null,false,true,false,null,true,null]"},
	})
}

func TestColumns(t *testing.T) {
	answers(t, []queryRow{
		{`AppRequests | project Id, Ms = DurationMs | extend Ms = Id, Two = 2 | take 1`,
			"Id:string Ms:string Two:long\n[\"1\",\"1\",2]"},
		{`AppRequests | extend Id = Name, Old = Id | project Id, Old | take 1`, "Id:string Old:string\n[\"\",\"1\"]"},
		{`AppRequests | project Id | take 0`, "Id:string"},
		{`AppRequests | project Id | take 99`, "Id:string\n[\"1\"]\n[\"2\"]"},
	})
}

func TestOrder(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | order by SeverityLevel desc | project SeverityLevel`, "SeverityLevel:int\n[2]\n[1]\n[null]"},
		{`AppTraces | order by SeverityLevel asc | project SeverityLevel`, "SeverityLevel:int\n[null]\n[1]\n[2]"},
		{`union isfuzzy=true AppTraces, AppRequests | order by AppRoleName asc, TimeGenerated desc
			| project AppRoleName, Type`,
			"AppRoleName:string Type:string\n[\"APP-A\",\"AppTraces\"]\n[\"app-a\",\"AppRequests\"]\n[\"app-a\",\"AppTraces\"]" +
				"\n[\"app-b\",\"AppRequests\"]\n[\"app-b\",\"AppTraces\"]"},
		{`AppRequests | order by Id desc | take 1 | project Id`, "Id:string\n[\"2\"]"},
	})
}

func TestGroups(t *testing.T) {
	answers(t, []queryRow{
		{`AppTraces | summarize arg_min(TimeGenerated, Message, SeverityLevel) by Type`,
			"Type:string TimeGenerated:datetime Message:string SeverityLevel:int\n" +
				"[\"AppTraces\",\"2026-01-31T11:00:00Z\",\"{\\\"run\\\":\\\"r1\\\",\\\"seq\\\":3}\",null]"},
		{`union isfuzzy=true AppTraces, AppRequests | summarize arg_min(TimeGenerated, Type) by AppRoleName, SourceSystem`,
			"AppRoleName:string SourceSystem:string TimeGenerated:datetime Type:string" +
				"\n[\"app-a\",\"\",\"2026-01-31T11:57:00Z\",\"AppTraces\"]" +
				"\n[\"APP-A\",\"\",\"2026-01-31T11:58:00Z\",\"AppTraces\"]" +
				"\n[\"app-b\",\"\",\"2026-01-31T11:00:00Z\",\"AppTraces\"]"},
		// A null is never the minimum, but a group of nulls has a row.
		{`AppTraces | summarize arg_min(SeverityLevel, Message) by Type`,
			"Type:string SeverityLevel:int Message:string\n[\"AppTraces\",1,\"Hello World\"]"},
		{`AppRequests | extend n = tolong(Properties.n) | summarize arg_min(n, Id) by Type`,
			"Type:string n:long Id:string\n[\"AppRequests\",null,\"1\"]"},
		{`AppRequests | where Id == "3" | summarize arg_min(TimeGenerated, Id) by Type`,
			"Type:string TimeGenerated:datetime Id:string"},
	})
}
