package monitor

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestRefusals(t *testing.T) {
	const syn, sem = "SyntaxError", "SemanticError"
	s := sample()
	for _, c := range []struct {
		query string
		kind  string
		says  string // a part of the message, the name of what is refused
		line  int
		pos   int
	}{
		// What the subset leaves out is named.
		{`AppTraces | join AppRequests on OperationId`, syn, "'join' is not supported", 1, 12},
		{`AppTraces | mv-expand Properties`, syn, "'mv-expand' is not supported", 1, 12},
		{`AppTraces | project-away Message`, syn, "'project-away' is not supported", 1, 12},
		{`AppTraces | parse Message with * "x"`, syn, "'parse' is not supported", 1, 12},
		{`AppTraces | render timechart`, syn, "'render' is not supported", 1, 12},
		{`AppTraces | filter SeverityLevel == 1`, syn, "'filter' is not supported", 1, 12},
		{`let x = 1; AppTraces`, syn, "'let' is not supported", 1, 0},
		{`search "x"`, syn, "'search' is not supported", 1, 0},
		{`print 1`, syn, "'print' is not supported", 1, 0},
		{`range x from 1 to 2 step 1`, syn, "'range' is not supported", 1, 0},
		{`externaldata(x:string)`, syn, "'externaldata' is not supported", 1, 0},
		{`union withsource=T AppTraces`, syn, "'withsource' of union is not supported", 1, 6},
		{`union kind=inner AppTraces`, syn, "'kind' of union is not supported", 1, 6},
		{`union App*`, syn, "'*'", 1, 9},
		{`AppTraces | where Message has_any ("a")`, syn, "operator 'has_any' is not supported", 1, 26},
		{`AppTraces | where Message matches regex "a"`, syn, "operator 'matches' is not supported", 1, 26},
		{`AppTraces | where Message contains_cs "a"`, syn, "operator 'contains_cs' is not supported", 1, 26},
		{`AppTraces | where Message !between (1 .. 2)`, syn, "'between' is not supported", 1, 27},
		{`AppTraces | where SeverityLevel * 2 > 1`, syn, "'*'", 1, 32},
		{`AppTraces | extend x = SeverityLevel / 2`, syn, "'/'", 1, 37},
		{`AppTraces | where not Message == "x"`, syn, "operator 'Message'", 1, 22},
		{`AppTraces | extend x = strlen(Message)`, sem, "Unknown function: 'strlen'", 1, 23},
		{`AppTraces | extend x = case(true, 1, 2)`, sem, "Unknown function: 'case'", 1, 23},
		{`AppTraces | summarize dcount(Message)`, sem, "'dcount' is not supported", 1, 22},
		{`AppTraces | summarize arg_max(TimeGenerated, *)`, syn, "'*'", 1, 45},
		{`AppTraces | summarize arg_min(TimeGenerated, *)`, syn, "'*'", 1, 45},
		{`AppTraces | summarize arg_min(TimeGenerated)`, sem, "'arg_min' takes 2 or more arguments, and got 1", 1, 22},
		{`AppTraces | summarize x = arg_min(TimeGenerated, Message)`, sem, "A name for 'arg_min'", 1, 26},
		{`AppTraces | summarize arg_min(TimeGenerated, tolower(Message))`, sem, "that is not a column", 1, 45},
		{`AppTraces | summarize arg_min(Properties, Message)`, sem, "'arg_min' does not apply to type dynamic", 1, 22},
		{`AppTraces | summarize arg_min(TimeGenerated, Type) by Type`, sem, "'Type' is named twice", 1, 22},
		{`AppTraces | summarize Message`, sem, "summarize expects", 1, 22},
		{`AppTraces | summarize`, syn, "an expression", 1, 21},
		{`AppTraces | where count() > 1`, sem, "aggregate function 'count'", 1, 18},
		{`AppTraces | take 1d`, syn, "an integer", 1, 17},
		{`AppTraces | take -1`, syn, "'-'", 1, 17},

		// Broken text.
		{`AppTraces |`, syn, "an operator", 1, 11},
		{`AppTraces | where`, syn, "an expression", 1, 17},
		{`AppTraces | where (true`, syn, "')'", 1, 23},
		{`AppTraces where true`, syn, "at 'where'", 1, 10},
		{`workspace("x").AppTraces`, syn, "at '('", 1, 9},
		{`AppTraces | where Message == "x`, syn, "does not end", 1, 29},
		{"AppTraces | where Message == \"x\ny\"", syn, "does not end on its line", 1, 29},
		{`AppTraces | where Message == "\q"`, syn, "unknown escape", 1, 29},
		{`AppTraces | where Message == @"x`, syn, "does not end", 1, 29},
		{`AppTraces | where TimeGenerated > ago(3y)`, syn, "unit 'y'", 1, 38},
		{`AppTraces | where TimeGenerated > ago(9999999999d)`, syn, "out of range", 1, 38},
		{`AppTraces | where SeverityLevel == 99999999999999999999`, syn, "99999999999999999999", 1, 35},
		{`AppTraces | where SeverityLevel == 0xfg`, syn, "'0xfg'", 1, 35},
		{`AppTraces | where TimeGenerated > datetime(yesterday)`, syn, "'yesterday' is not a datetime", 1, 34},
		{`AppTraces | where TimeGenerated > datetime(2026-01-31`, syn, "no closing parenthesis", 1, 34},
		{`AppTraces | extend x = dynamic(['a'])`, syn, "not JSON", 1, 23},
		{`AppTraces | extend x = dynamic([1] 2)`, syn, "dynamic( has no closing parenthesis", 1, 23},
		{`AppTraces | extend x = dynamic`, sem, "named 'dynamic'", 1, 23},
		{`AppTraces | where Message ? 1`, syn, "'?'", 1, 26},
		{"AppTraces\n| where é == 1", syn, "'é'", 2, 8},
		{`AppTraces | where Message in ()`, syn, "a value", 1, 30},
		{`AppTraces | where Properties[Message] == 1`, syn, "a string or an integer", 1, 29},
		{`AppTraces | order TimeGenerated`, syn, "'by'", 1, 18},
		{`AppTraces | sort by TimeGenerated nulls`, syn, "'last'", 1, 39},
		{`AppTraces ; AppTraces`, syn, "the end of the query", 1, 12},
		{`datatable(a:guid)[]`, syn, "a type", 1, 12},
		{`datatable(a:int)["x"]`, syn, "a literal of type int", 1, 17},
		{`datatable(a:int, b:int)[1]`, syn, "more values", 1, 25},
		{strings.Repeat("(", 1000), syn, "deeper than 100", 1, 100},
		{`AppTraces | where Properties` + strings.Repeat(".a", 1000) + ` == 1`, syn, "fewer members", 1, 226},

		// Names and types.
		{`Nothing | count`, sem, "table or column expression named 'Nothing'", 1, 0},
		{`apptraces`, sem, "named 'apptraces'", 1, 0},
		{`union AppTraces, Nothing`, sem, "named 'Nothing'", 1, 17},
		{`union isfuzzy=true Nothing, Nowhere`, sem, "named 'Nowhere'", 1, 28},
		{"AppTraces\n| where Text == 'x'", sem, "named 'Text'", 2, 8},
		{`AppTraces | project Message | where SeverityLevel == 1`, sem, "named 'SeverityLevel'", 1, 36},
		{`AppTraces | where Message == 1`, sem, "types string and long", 1, 26},
		{`AppTraces | where SeverityLevel == "1"`, sem, "types int and string", 1, 32},
		{`AppTraces | where TimeGenerated > "2026-01-31"`, sem, "types datetime and string", 1, 32},
		{`AppTraces | where Message < "x"`, sem, "types string and string", 1, 26},
		{`AppTraces | where Properties.n > 1`, sem, "types dynamic and long", 1, 31},
		{`AppTraces | where Properties.a == Properties.b`, sem, "types dynamic and dynamic", 1, 31},
		{`AppTraces | where SeverityLevel contains "1"`, sem, "'contains' compares strings", 1, 32},
		{`AppTraces | where SeverityLevel in~ ("1")`, sem, "'in~' compares strings", 1, 37},
		{`AppTraces | where SeverityLevel in ("1")`, sem, "types int and string", 1, 36},
		{`AppTraces | where Message`, sem, "of type bool, and is of type string", 1, 18},
		{`AppTraces | where Message and true`, sem, "An operand of 'and'", 1, 18},
		{`AppTraces | where Message.x == 1`, sem, "of type dynamic, and is of type string", 1, 18},
		{`AppTraces | extend x = Message + 1`, sem, "'+' does not apply to types string and long", 1, 31},
		{`AppTraces | extend x = -Message`, sem, "'-' does not apply to type string", 1, 23},
		{`AppTraces | where TimeGenerated > ago(1)`, sem, "The argument of 'ago'", 1, 38},
		{`AppTraces | where TimeGenerated > now(1h, 2h)`, sem, "'now' takes 0 to 1", 1, 34},
		{`AppTraces | extend x = toint(TimeGenerated)`, sem, "'toint' does not convert type datetime", 1, 23},
		{`AppTraces | extend x = todatetime(1)`, sem, "'todatetime' does not convert type long", 1, 23},
		{`AppTraces | extend x = parse_json(1)`, sem, "'parse_json' reads strings", 1, 23},
		{`AppTraces | extend x = bin(SeverityLevel, 0)`, sem, "has to be positive", 1, 42},
		{`AppTraces | extend x = bin(SeverityLevel, SeverityLevel)`, sem, "has to be a literal", 1, 42},
		{`AppTraces | extend x = bin(Message, 1)`, sem, "'bin' does not apply", 1, 23},
		{`AppTraces | extend x = iff(Message, 1, 2)`, sem, "The condition of 'iff'", 1, 27},
		{`AppTraces | extend x = iff(true, 1, "2")`, sem, "of types long and string", 1, 36},
		{`AppTraces | extend x = coalesce(SeverityLevel, 1)`, sem, "of types int and long", 1, 47},
		{`AppTraces | extend x = coalesce(Message)`, sem, "'coalesce' takes 2 to 64", 1, 23},
		{`AppTraces | extend x = array_index_of(Message, "a")`, sem, "The array of 'array_index_of'", 1, 38},
		{`AppTraces | extend x = array_index_of(Properties, TimeGenerated)`, sem, "does not look for type datetime", 1, 50},
		{`AppTraces | summarize count() by Properties`, sem, "'summarize by' is of type dynamic", 1, 33},
		{`AppTraces | sort by Properties`, sem, "'order by' is of type dynamic", 1, 20},
		{`AppTraces | distinct *`, sem, "'distinct' is of type dynamic", 1, 12},
		{`AppTraces | summarize max(Properties)`, sem, "'max' does not apply to type dynamic", 1, 22},
		{`AppTraces | summarize count(Message)`, sem, "'count' takes no arguments", 1, 22},
		{`AppTraces | summarize count(), count()`, sem, "'count_' is named twice", 1, 31},
		{`AppTraces | project Message, Message`, sem, "'Message' is named twice", 1, 29},
		{`AppTraces | project-rename Type = Message`, sem, "'Type' is named twice", 1, 27},
		{`union AppTraces, (AppRequests | project Message = 1)`, sem, "'Message' has types string and long", 1, 0},
	} {
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
			if e.Code != "BadArgumentError" || e.CorrelationID == "" || e.Innererror.Code != c.kind || !strings.HasPrefix(inner.Code, c.kind[:1]) {
				t.Errorf("error %s", w.Body)
			}
			if !strings.Contains(inner.Message, c.says) || inner.Line != c.line || inner.Pos != c.pos {
				t.Errorf("%q at [%d,%d], want %q at [%d,%d]", inner.Message, inner.Line, inner.Pos, c.says, c.line, c.pos)
			}
		})
	}
}

// FuzzQuery checks that no text makes the parser or the evaluation fail in another way than by refusing it, and that what is
// refused has a place inside the query.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		`union isfuzzy=true (datatable(a:string, b:int)["x", 1]), AppTraces | where Message has "x" and TimeGenerated between (ago(1h) .. now())`,
		`AppTraces | where tostring(Properties.Category) =~ @'Host' or Properties["n"] == 7 | extend x = strcat(1, 1.5, 2d) | sort by x asc nulls last`,
		`AppRequests | summarize n = count(), max(DurationMs) by bin(TimeGenerated, 5m), tostring(Properties.a[0]) | top 3 by n desc // c`,
		`AppTraces | project-rename M = Message | distinct M, Type | where M !in~ ("a", 'b\'\u0041') | take 5 | count;`,
		`AppTraces | extend r = array_index_of(dynamic(["app-a"]), AppRoleName) | summarize arg_min(TimeGenerated, Message) by r, s = iff(r >= 0, coalesce("", "x"), "")`,
		`AppTraces | where not(isempty(Message)) | project toint("1"), tolong(-1), todatetime("2026-01-31"), parse_json(Message).x, bin(-7, 5)`,
	} {
		f.Add(q)
	}
	s := sample()
	f.Fuzz(func(t *testing.T, text string) {
		q, err := parse(text)
		if err == nil {
			_, err = engine{now: noon, read: func(name string) (table, bool) {
				cols, ok := s.schema[name]
				return table{cols, s.visible(name, "ws", noon)}, ok
			}}.run(q)
		}
		if err != nil && (err.off < 0 || err.off > len(text) || err.msg == "" || err.code == "") {
			t.Errorf("%q: refused as %+v", text, err)
		}
	})
}
