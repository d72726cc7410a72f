package monitor

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// refusal is a query that is refused, with a part of the message, which names what is refused, and its place.
type refusal struct {
	query string
	part  string
	line  int
	pos   int
}

const (
	syntaxError   = "SyntaxError"
	semanticError = "SemanticError"
)

func refused(t *testing.T, kind string, rows []refusal) {
	t.Helper()
	s := sample()
	for _, c := range rows {
		t.Run(c.query[:min(len(c.query), 60)], func(t *testing.T) {
			w := post(s, map[string]any{"query": c.query})
			var got struct {
				Error struct {
					Code, Message, CorrelationID string
					Innererror                   struct {
						Code       string
						Innererror struct {
							Code, Message, Token string
							Line, Pos            int
						}
					}
				}
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusBadRequest {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			e := got.Error
			inner := e.Innererror.Innererror
			if e.Code != "BadArgumentError" || e.CorrelationID == "" {
				t.Errorf("error %s", w.Body)
			}
			if e.Innererror.Code != kind || !strings.HasPrefix(inner.Code, kind[:1]) {
				t.Errorf("error %s, want a %s", w.Body, kind)
			}
			if !strings.Contains(inner.Message, c.part) || inner.Line != c.line || inner.Pos != c.pos {
				t.Errorf("%q at [%d,%d], want %q at [%d,%d]", inner.Message, inner.Line, inner.Pos, c.part, c.line, c.pos)
			}
		})
	}
}

func TestUnsupportedOperatorsAreNamed(t *testing.T) {
	refused(t, syntaxError, []refusal{
		{`AppTraces | join AppRequests on OperationId`, "'join' is not supported by azuresim", 1, 12},
		{`AppTraces | mv-expand Properties`, "'mv-expand' is not supported by azuresim", 1, 12},
		{`AppTraces | project-away Message`, "'project-away' is not supported by azuresim", 1, 12},
		{`AppTraces | project-rename M = Message`, "'project-rename' is not supported by azuresim", 1, 12},
		{`AppTraces | parse Message with * "x"`, "'parse' is not supported by azuresim", 1, 12},
		{`AppTraces | render timechart`, "'render' is not supported by azuresim", 1, 12},
		{`AppTraces | filter SeverityLevel == 1`, "'filter' is not supported by azuresim", 1, 12},
		{`AppTraces | sort by Message asc`, "'sort' is not supported by azuresim", 1, 12},
		{`AppTraces | top 1 by Message`, "'top' is not supported by azuresim", 1, 12},
		{`AppTraces | limit 1`, "'limit' is not supported by azuresim", 1, 12},
		{`AppTraces | count`, "'count' is not supported by azuresim", 1, 12},
		{`AppTraces | distinct *`, "'distinct' is not supported by azuresim", 1, 12},
		{`AppTraces | order TimeGenerated`, "'by'", 1, 18},
		{`AppTraces | order by TimeGenerated`, "expected 'asc'", 1, 34},
		{`AppTraces | order by TimeGenerated asc nulls last`, "'nulls' is not supported here by azuresim", 1, 39},
		{`AppTraces | order by tostring(Properties.n) asc`, "'(' is not supported here by azuresim", 1, 29},
		{`AppTraces | take "1"`, "an integer", 1, 17},
		{`AppTraces | take -1`, "'-'", 1, 17},
		{`AppTraces | extend tostring(Properties.n)`, "'(' is not supported here by azuresim", 1, 27},
		{`AppTraces | extend Message`, "'='", 1, 26},
		{`AppTraces | project Properties.n`, "'.' is not supported here by azuresim", 1, 30},
	})
}

func TestUnsupportedSourcesAreNamed(t *testing.T) {
	refused(t, syntaxError, []refusal{
		{`let x = 1; AppTraces`, "'let' is not supported by azuresim", 1, 0},
		{`search "x"`, "'search' is not supported by azuresim", 1, 0},
		{`print 1`, "'print' is not supported by azuresim", 1, 0},
		{`range x from 1 to 2 step 1`, "'range' is not supported by azuresim", 1, 0},
		{`externaldata(x:string)`, "'externaldata' is not supported by azuresim", 1, 0},
		{`datatable(a:string)[]`, "'datatable' is not supported by azuresim", 1, 0},
		{`workspace("x").AppTraces`, "'workspace' is not supported by azuresim", 1, 0},
		{`(AppTraces | take 1)`, "'(' is not supported here by azuresim", 1, 0},
		{`union AppTraces, AppRequests`, "'isfuzzy'; 'AppTraces' is not supported here", 1, 6},
		{`union withsource=T AppTraces`, "'withsource' of union is not supported by azuresim", 1, 6},
		{`union kind=inner AppTraces`, "'kind' of union is not supported by azuresim", 1, 6},
		{`union isfuzzy=false AppTraces`, "'true'; 'false' is not supported here", 1, 14},
		{`union isfuzzy=true (AppTraces | take 1)`, "'datatable'; 'AppTraces' is not supported here", 1, 20},
		{`union isfuzzy=true App*`, "'*' is not supported here", 1, 22},
		{`union isfuzzy=true (datatable(a:guid)[]), AppTraces`, "a type; 'guid' is not supported here", 1, 32},
		{`union isfuzzy=true (datatable(a:timespan)[])`, "a type; 'timespan' is not supported here", 1, 32},
		{`union isfuzzy=true (datatable(a:int)[1])`, "']'; '1' is not supported here", 1, 37},
		{`AppTraces ; AppTraces`, "the end of the query; ';' is not supported here", 1, 10},
		{`AppTraces // comment`, "'//' is not supported here by azuresim", 1, 10},
	})
}

func TestUnsupportedExpressionsAreNamed(t *testing.T) {
	const where = `AppTraces | where Message `
	refused(t, syntaxError, []refusal{
		{where + `has_any ("a")`, "'has_any' is not supported here by azuresim", 1, 26},
		{where + `matches regex "a"`, "'matches' is not supported here by azuresim", 1, 26},
		{where + `contains "a"`, "'contains' is not supported here by azuresim", 1, 26},
		{where + `contains_cs "a"`, "'contains_cs' is not supported here by azuresim", 1, 26},
		{where + `has "a"`, "'has' is not supported here by azuresim", 1, 26},
		{where + `startswith "a"`, "'startswith' is not supported here by azuresim", 1, 26},
		{where + `in~ ("a")`, "expected '('", 1, 28},
		{where + `!in ("a")`, "'!' is not supported here by azuresim", 1, 26},
		{where + `!endswith "a"`, "'!' is not supported here by azuresim", 1, 26},
		{where + `!~ "a"`, "'!~' is not supported here by azuresim", 1, 26},
		{where + `!between (1 .. 2)`, "'!' is not supported here by azuresim", 1, 26},
		{where + `< "a"`, "'<' is not supported here by azuresim", 1, 26},
		{where + `> "a"`, "'>' is not supported here by azuresim", 1, 26},
		{where + `? 1`, "'?' is not supported by azuresim", 1, 26},
		{where + `== 'a'`, `'\''`, 1, 29},
		{where + `== @"a"`, `'@'`, 1, 29},
		{where + `== "\n"`, `'\n' in a string literal is not supported by azuresim`, 1, 29},
		{where + `== "\q"`, `'\q' in a string literal is not supported by azuresim`, 1, 29},
		{where + `== "\u12"`, `'\u' in a string literal is not supported by azuresim`, 1, 29},
		{where + `in ()`, "an expression; ')'", 1, 30},
		{`AppTraces | where SeverityLevel * 2 >= 1`, "'*' is not supported here by azuresim", 1, 32},
		{`AppTraces | extend x = SeverityLevel / 2`, "'/' is not supported here by azuresim", 1, 37},
		{`AppTraces | extend x = SeverityLevel + 2`, "'+' is not supported here by azuresim", 1, 37},
		{`AppTraces | extend x = SeverityLevel - 2`, "'-' is not supported here by azuresim", 1, 37},
		{`AppTraces | extend x = -SeverityLevel`, "'-' is not supported here by azuresim", 1, 23},
		{`AppTraces | where (true)`, "'(' is not supported here by azuresim", 1, 18},
		{`AppTraces | where not Message == "x"`, "'Message' is not supported here by azuresim", 1, 22},
		{`AppTraces | where Properties["n"] == 1`, "'[' is not supported here by azuresim", 1, 28},
		{`AppTraces | where SeverityLevel == 0x1f`, "'0x1f'", 1, 35},
		{`AppTraces | where SeverityLevel == 1.5`, "'1.5'", 1, 35},
		{`AppTraces | where SeverityLevel == 1e3`, "'1e3'", 1, 35},
		{`AppTraces | where SeverityLevel == 1d`, "'1d'", 1, 35},
		{`AppTraces | where SeverityLevel == 99999999999999999999`, "99999999999999999999", 1, 35},
		{`AppTraces | where TimeGenerated == datetime(null)`, "'null' is not a datetime", 1, 35},
		{`AppTraces | summarize arg_min(TimeGenerated, *) by Type`, "'*' is not supported here", 1, 45},
		{`AppTraces | summarize arg_min(TimeGenerated, tostring(Properties.n)) by Type`, "'(' is not supported here", 1, 53},
		{`AppTraces | summarize x = arg_min(TimeGenerated, Message) by Type`, "'x' is not supported by azuresim", 1, 22},
		{`AppTraces | summarize arg_min(TimeGenerated, Message) by a = Type`, "'=' is not supported here", 1, 59},
		{`AppTraces | summarize dcount(Message) by Type`, "'dcount' is not supported by azuresim", 1, 22},
		{`AppTraces | summarize count() by Type`, "'count' is not supported by azuresim", 1, 22},
		{`AppTraces | summarize max(Message) by Type`, "'max' is not supported by azuresim", 1, 22},
		{`AppTraces | summarize by Type`, "'by' is not supported by azuresim", 1, 22},
		{`AppTraces | summarize arg_min(TimeGenerated, Message)`, "expected 'by'", 1, 53},
		{`AppTraces | summarize arg_min(TimeGenerated, Message), count() by Type`, "'by'; ',' is not supported", 1, 53},
	})
	refused(t, semanticError, []refusal{
		{`AppTraces | extend x = strlen(Message)`, "'strlen' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = case(true, 1, 2)`, "'case' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = toint(Properties.n)`, "'toint' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = todynamic(Message)`, "'todynamic' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = isempty(Message)`, "'isempty' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = replace_string(Message, "a", "b")`, "'replace_string' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = tolower(Message)`, "'tolower' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = bin(SeverityLevel, 2)`, "'bin' is not supported by azuresim", 1, 23},
		{`AppTraces | extend x = ingestion_time()`, "'ingestion_time' is not supported by azuresim", 1, 23},
		{`AppTraces | where TimeGenerated >= now()`, "'now' is not supported by azuresim", 1, 35},
		{`AppTraces | where TimeGenerated >= ago(1)`, "'ago' is not supported by azuresim", 1, 35},
		{`AppTraces | where count() >= 1`, "'count' is not supported by azuresim", 1, 18},
		{`AppTraces | extend x = true`, "named 'true'", 1, 23},
		{`AppTraces | extend x = dynamic`, "named 'dynamic'", 1, 23},
	})
}

func TestBrokenQueries(t *testing.T) {
	refused(t, syntaxError, []refusal{
		{`AppTraces |`, "an operator", 1, 11},
		{`AppTraces | where`, "an expression", 1, 17},
		{`AppTraces | where not(Message == "x"`, "')'", 1, 36},
		{`AppTraces where true`, "at 'where'", 1, 10},
		{`AppTraces | summarize`, "an aggregate", 1, 21},
		{`AppTraces | where Message == "x`, "does not end", 1, 29},
		{"AppTraces | where Message == \"x\ny\"", "does not end on its line", 1, 29},
		{`AppTraces | where TimeGenerated >= datetime(yesterday)`, "'yesterday' is not a datetime", 1, 35},
		{`AppTraces | where TimeGenerated >= datetime(2026-01-31`, "no closing parenthesis", 1, 35},
		{`AppTraces | extend x = dynamic(['a'])`, "not JSON", 1, 23},
		{`AppTraces | extend x = dynamic([1] 2)`, "dynamic( has no closing parenthesis", 1, 23},
		{"AppTraces\n| where é == 1", "'é'", 2, 8},
		{`AppTraces | where ` + strings.Repeat("not(", 1000), "deeper than 100", 1, 418},
		{`AppTraces | where Properties` + strings.Repeat(".a", 1000) + ` == 1`, "fewer members", 1, 229},
	})
}

func TestUnknownNamesAndWrongTypes(t *testing.T) {
	refused(t, semanticError, []refusal{
		{`Nothing | take 1`, "table or column expression named 'Nothing'", 1, 0},
		{`apptraces`, "named 'apptraces'", 1, 0},
		{`AppExceptions`, "named 'AppExceptions'", 1, 0},
		{`union isfuzzy=true Nothing, Nowhere`, "named 'Nowhere'", 1, 28},
		{"AppTraces\n| where Text == \"x\"", "named 'Text'", 2, 8},
		{`AppTraces | project Message | where SeverityLevel == 1`, "named 'SeverityLevel'", 1, 36},
		{`AppTraces | where Message == 1`, "types string and long", 1, 26},
		{`AppTraces | where SeverityLevel == "1"`, "types int and string", 1, 32},
		{`AppTraces | where TimeGenerated >= "2026-01-31"`, "types datetime and string", 1, 32},
		{`AppTraces | where Message <= "x"`, "types string and string", 1, 26},
		{`AppTraces | where Message between ("a" .. "b")`, "types string and string", 1, 26},
		{`AppTraces | where Properties.n >= 1`, "types dynamic and long", 1, 31},
		{`AppTraces | where Properties.n == 1`, "types dynamic and long", 1, 31},
		{`AppTraces | where Properties.a == Properties.b`, "types dynamic and dynamic", 1, 31},
		{`AppRequests | where Success == Success`, "types bool and bool", 1, 28},
		{`AppRequests | where DurationMs >= DurationMs`, "types real and real", 1, 31},
		{`AppTraces | where SeverityLevel endswith "1"`, "'endswith' compares strings", 1, 32},
		{`AppTraces | where Properties.n =~ "1"`, "'=~' compares strings", 1, 31},
		{`AppTraces | where SeverityLevel in ("1")`, "types int and string", 1, 36},
		{`AppTraces | where Message`, "of type bool, and is of type string", 1, 18},
		{`AppTraces | where Message and Message == "x"`, "An operand of 'and'", 1, 18},
		{`AppTraces | where Message == "x" or Message`, "An operand of 'or'", 1, 36},
		{`AppTraces | where Message.x == "1"`, "of type dynamic, and is of type string", 1, 18},
		{`AppTraces | extend x = tolong(TimeGenerated)`, "Argument 1 of 'tolong'", 1, 30},
		{`AppTraces | extend x = todatetime(1)`, "Argument 1 of 'todatetime'", 1, 34},
		{`AppTraces | extend x = tostring(1)`, "Argument 1 of 'tostring'", 1, 32},
		{`AppTraces | extend x = parse_json(1)`, "Argument 1 of 'parse_json'", 1, 34},
		{`AppTraces | extend x = isnotempty(Properties)`, "Argument 1 of 'isnotempty'", 1, 34},
		{`AppTraces | extend x = iff(Message, "1", "2")`, "Argument 1 of 'iff'", 1, 27},
		{`AppTraces | extend x = iff(SeverityLevel >= 1, "1", 2)`, "Argument 3 of 'iff' has to be of type string", 1, 52},
		{`AppTraces | extend x = not(Message)`, "Argument 1 of 'not'", 1, 27},
		{`AppTraces | extend x = not()`, "'not' takes 1 arguments here, and got 0", 1, 23},
		{`AppTraces | extend x = coalesce(SeverityLevel, 1)`, "has to be of type int, and is of type long", 1, 47},
		{`AppTraces | extend x = row_cumsum(ItemCount)`, "'row_cumsum' needs rows in an order", 1, 23},
		{`AppTraces | order by ItemCount asc | extend x = row_cumsum(Message)`, "has to be of an integer type", 1, 59},
		{`AppTraces | extend x = coalesce(Message)`, "'coalesce' takes 2 arguments here, and got 1", 1, 23},
		{`AppTraces | extend x = array_index_of(Message, "a")`, "Argument 1 of 'array_index_of'", 1, 38},
		{`AppTraces | extend x = array_index_of(Properties, TimeGenerated)`, "Argument 2 of 'array_index_of'", 1, 50},
		{`AppTraces | summarize arg_min(TimeGenerated) by Type`, "'arg_min' takes 2 or more arguments, and got 1", 1, 22},
		{`AppTraces | summarize arg_min(Properties, Message) by Type`, "'arg_min' does not apply to type dynamic", 1, 22},
		{`AppTraces | summarize arg_min(TimeGenerated, Type) by Type`, "'Type' is named twice", 1, 22},
		{`AppTraces | summarize arg_min(TimeGenerated, Type) by Properties`, "'summarize by' is of type dynamic", 1, 54},
		{`AppTraces | order by Properties asc`, "'order by' is of type dynamic", 1, 21},
		{`AppTraces | project Message, Message`, "'Message' is named twice", 1, 29},
		{`AppTraces | extend a = 1, a = 2`, "'a' is named twice", 1, 26},
		{`union isfuzzy=true (datatable(Message:int)[]), AppTraces`, "'Message' has types int and string", 1, 0},
	})
}

// FuzzQuery checks that no query makes the parser or the evaluation fail in another way than by refusing it, and that a
// refusal has a place inside the query.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		`union isfuzzy=true (datatable(a:string)[]), AppTraces | where Type endswith "x" and ItemCount between (1 .. 2)`,
		`AppTraces | where tostring(Properties.Category) =~ "Host" or SeverityLevel == -7 | order by Message asc, Type desc`,
		`AppTraces | project M = Message, Type | where M in ("a", "b\"\\\u0041") | take 5`,
		`AppTraces | extend r = array_index_of(dynamic(["a"]), Type) | summarize arg_min(TimeGenerated, Message) by r`,
		`AppTraces | where not(isnotempty(Message)) | project a = tolong(parse_json(Message).x), b = iff(1 != 2, "x", "")`,
		`AppTraces | extend c = coalesce("", Message) | project c`,
		`AppTraces | where TimeGenerated >= datetime(2026-01-31) | project t = todatetime(Properties.a.b)`,
	} {
		f.Add(q)
	}
	s := sample()
	f.Fuzz(func(t *testing.T, text string) {
		_, err := run(text, func(name string) (table, bool) {
			cols, ok := s.schema[name]
			return table{cols: cols, rows: s.visible(name, "ws", noon)}, ok
		})
		if err != nil && (err.off < 0 || err.off > len(text) || err.msg == "" || err.code == "") {
			t.Errorf("%q: refused as %+v", text, err)
		}
	})
}
