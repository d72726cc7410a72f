package logs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// Query selects lines.
type Query struct {
	// WorkspaceID is the customer id of the Log Analytics workspace, a GUID. It is not the resource id.
	WorkspaceID string
	// App is the function app's name.
	App string
	// Runs selects the runs, at least one, in the order in which they were started.
	Runs []Run
	// Stdout and Stderr select streams, at least one.
	Stdout, Stderr bool
	// Since and Until bound the times of the lines, both inclusive. A zero time does not bound them.
	Since, Until time.Time
	// Tail limits the answer to the last lines among those that the other fields select; 0 means all.
	Tail int
}

// Run is one run of the app.
type Run struct {
	ID string
	// From and To, both inclusive, bound the time at which the host logged the lines of a handler other than
	// azf-handler. Such lines have no run id. The host logs a line up to a few seconds after its output, so To should
	// be a little later than the end of the run. azf-handler's lines have a run id, so the query looks for them in a
	// window that is five minutes longer on both sides.
	From, To time.Time
	// First and Last bound the numbers of azf-handler's lines, both inclusive. Zeros ask for all lines of the run. For
	// an image with another handler they must be zero.
	First, Last int
}

// whole reports whether all lines of the run are wanted.
func (r Run) whole() bool { return r.First == 0 && r.Last == 0 }

// slack extends the window of azf-handler's lines on both sides, as clocks differ and the host logs late.
const slack = 5 * time.Minute

// appForm is the form of a function app's name.
var appForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,59}$`)

func (q Query) check() error {
	switch {
	case q.WorkspaceID == "":
		return fmt.Errorf("query logs of %s: no workspace id given", q.App)
	case !appForm.MatchString(q.App):
		return fmt.Errorf("query logs: %q is not the name of a function app", q.App)
	case len(q.Runs) == 0:
		return fmt.Errorf("query logs of %s: no run given", q.App)
	case !q.Stdout && !q.Stderr:
		return fmt.Errorf("query logs of %s: no stream given", q.App)
	case q.Tail < 0:
		return fmt.Errorf("query logs of %s: %d is not a valid number of lines", q.App, q.Tail)
	}
	for _, r := range q.Runs {
		switch {
		case r.ID == "":
			return fmt.Errorf("query logs of %s: a run has no id", q.App)
		case r.From.IsZero() || r.To.Before(r.From):
			return fmt.Errorf("query logs of %s: the window of run %s is from %s to %s", q.App, r.ID, r.From, r.To)
		case !r.whole() && (r.First < 1 || r.Last < r.First):
			return fmt.Errorf("query logs of %s: the lines of run %s are from %d to %d", q.App, r.ID, r.First, r.Last)
		}
	}
	return nil
}

// Both queries return one row for each line or piece, in order, with the columns Run (the index in the list of runs),
// Seq, Time, Stream, Text, Bytes (in base64), Continues and Ending: those of protocol.Line, or one of these.
const (
	// endsCut is the ending of a line of azf-handler whose JSON Application Insights has cut. Text is then the beginning
	// of the JSON string of the text.
	endsCut = "cut"
	// endsPlain is the ending of a line of another handler.
	endsPlain = "plain"
)

const columns = "Run, Seq, Time, Stream, Text, Bytes, Continues, Ending"

// cutForm is the form of azf-handler's line up to its text, as a KQL regular expression. It captures what is before the
// text, and the text.
var cutForm = kqlString(`^(\{"run":"[^"]*","s":"[^"]*","seq":[0-9]+,"t":"[^"]*"),"m":"(.*)$`)

// handlerKQL returns the query for azf-handler's lines.
func handlerKQL(q Query) string {
	var b strings.Builder
	writeSource(&b, q, q.Runs, slack)
	ids := make([]string, len(q.Runs))
	for i, r := range q.Runs {
		ids[i] = r.ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		panic(err) // strings always have an encoding
	}
	fmt.Fprintf(&b, `| extend Run = array_index_of(dynamic(%s), tostring(Line.run)), `+
		`Seq = tolong(Line.seq), Stream = tostring(Line.s),
    Time = coalesce(todatetime(Line.t), TimeGenerated), Bytes = tostring(Line.b), `+
		`Continues = coalesce(tolong(Line.c), 0),
    Text = iff(isnotempty(Cut), extract(%s, 2, Message), tostring(Line.m)),
    Ending = iff(isnotempty(Cut), "%s", tostring(Line.e))
| where Run >= 0 and Seq >= 1 and Stream in (%s)
`, list, cutForm, endsCut, q.streams())
	for i, r := range q.Runs {
		if !r.whole() {
			fmt.Fprintf(&b, "| where Run != %d or Seq between (%d .. %d)\n", i, r.First, r.Last)
		}
	}
	writeBounds(&b, q)
	// Application Insights may deliver a row more than once.
	b.WriteString("| summarize arg_min(TimeGenerated, Time, Stream, Text, Bytes, Continues, Ending) by Run, Seq\n")
	if q.Tail > 0 {
		// Pieces behind the first of the line with the lowest number are taken as well.
		fmt.Fprintf(&b, `| order by Run desc, Seq desc
| extend Begun = row_cumsum(iff(Continues == 0, 1, 0))
| where Begun <= %d or Begun == %d and Continues == 0
`, q.Tail-1, q.Tail)
	}
	b.WriteString("| order by Run asc, Seq asc\n| project " + columns + "\n")
	return b.String()
}

// otherKQL returns the query for the lines of another handler in the windows of runs. Its rows have neither run nor
// number.
func otherKQL(q Query, runs []Run) string {
	var b strings.Builder
	writeSource(&b, q, runs, 0)
	var windows []string
	for i := 0; i < len(runs); i++ {
		w := runs[i]
		for i+1 < len(runs) && !runs[i+1].From.After(w.To) {
			if i++; runs[i].To.After(w.To) {
				w.To = runs[i].To
			}
		}
		windows = append(windows, fmt.Sprintf("TimeGenerated between (%s .. %s)", kqlTime(w.From), kqlTime(w.To)))
	}
	// The Functions host logs a line of stdout as Information (1), and a line of stderr as Error (3), or as Warning
	// (2) when the line contains "warn".
	fmt.Fprintf(&b, `| where %s
| where not(isnotempty(tostring(Line.run)) and coalesce(tolong(Line.seq), 0) >= 1 and tostring(Line.s) in (%s, "%s"))
| extend Time = TimeGenerated, Stream = iff(SeverityLevel >= 2, "%s", "%s")
| where Stream in (%s)
`, strings.Join(windows, "\n    or "), bothStreams, protocol.End, protocol.Stderr, protocol.Stdout, q.streams())
	writeBounds(&b, q)
	// Lines of one tick have no order of their own. By stream and text, it is the same in each query.
	if q.Tail > 0 {
		fmt.Fprintf(&b, "| order by Time desc, Stream desc, Message desc\n| take %d\n", q.Tail)
	}
	fmt.Fprintf(&b, "| order by Time asc, Stream asc, Message asc\n"+
		"| extend Run = -1, Seq = 0, Text = Message, Bytes = \"\", Continues = 0, Ending = \"%s\"\n"+
		"| project %s\n", endsPlain, columns)
	return b.String()
}

// writeSource writes the beginning of a query, which selects the rows that may be lines of runs.
func writeSource(b *strings.Builder, q Query, runs []Run, slack time.Duration) {
	from := slices.MinFunc(runs, func(a, b Run) int { return a.From.Compare(b.From) }).From
	to := slices.MaxFunc(runs, func(a, b Run) int { return a.To.Compare(b.To) }).To
	// A Log Analytics workspace may have no table AppTraces before the first row. isfuzzy then ignores the table, but
	// needs one operand that exists. The window is in the query because azquery truncates the request's timespan to
	// whole seconds. The Functions host may log the app's name in lower case. The category is that of a custom
	// handler's output (see WorkerConsoleLogService in the Functions host). Cut is the part before the text of a line
	// whose JSON is cut; string_size counts bytes, and so is at least as large as the limit in UTF-16 code units.
	fmt.Fprintf(b, `union isfuzzy=true
    (datatable(TimeGenerated:datetime, AppRoleName:string, SeverityLevel:int, Message:string, Properties:dynamic)[]),
    AppTraces
| where TimeGenerated between (%s .. %s)
| where AppRoleName =~ %s
| where tostring(Properties.Category) == "Host.Function.Console"
| extend Line = parse_json(Message)
| extend Cut = iff(isnotempty(tostring(Line.run)) or string_size(Message) <= %d, "", extract(%s, 1, Message))
| extend Line = iff(isnotempty(Cut), parse_json(strcat(Cut, "}")), Line)
`, kqlTime(from.Add(-slack)), kqlTime(to.Add(slack)), kqlString(q.App), maxMessage-1, cutForm)
}

// writeBounds writes the bounds of the column Time.
func writeBounds(b *strings.Builder, q Query) {
	if !q.Since.IsZero() {
		fmt.Fprintf(b, "| where Time >= %s\n", kqlTime(q.Since.Add(tick-1))) // rounded up
	}
	if !q.Until.IsZero() {
		fmt.Fprintf(b, "| where Time <= %s\n", kqlTime(q.Until))
	}
}

const bothStreams = `"` + protocol.Stdout + `", "` + protocol.Stderr + `"`

// streams returns the list of the selected streams in KQL.
func (q Query) streams() string {
	switch {
	case !q.Stderr:
		return `"` + protocol.Stdout + `"`
	case !q.Stdout:
		return `"` + protocol.Stderr + `"`
	}
	return bothStreams
}

// tick is the resolution of Kusto's times.
const tick = 100 * time.Nanosecond

// kqlTime returns t as a KQL literal, rounded down to a tick.
func kqlTime(t time.Time) string {
	return "datetime(" + t.UTC().Format("2006-01-02T15:04:05.0000000Z") + ")"
}

// kqlString returns any string as a KQL literal.
func kqlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029: // may end a line
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
