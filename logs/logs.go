// Package logs reads the output of containers from Log Analytics. It does not do logging: the daemon's own log is zerolog's.
//
// It owns the query, the way lines are told apart and put in order, and the azquery client. It must not know containers, the
// store or how a run is started. Log Analytics is late by minutes and may drop rows, so nothing may be decided from what is
// read here; it is the archive for output that was not captured.
//
//	reader, err := logs.New(logs.Config{Credential: cred})
//	lines, err := reader.Lines(ctx, logs.Query{WorkspaceID: id, App: name, RunID: run, From: start, To: end})
//
// The lines that azf-handler prints are JSON in the form of protocol.Line, with run id, stream and number; they are put in the
// order of their numbers. The lines of other handlers carry none of that: they are told apart by the time window and by the
// severity that the Functions host gives each stream, and stand in the order in which the host logged them.
package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/monitor/azquery"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// ServiceName is the key of Log Analytics' endpoint (such as https://api.loganalytics.io/v1) and audience in Config.Cloud.Services.
const ServiceName = azquery.ServiceNameLogs

// Causes that errors of Lines may wrap.
var (
	// ErrThrottled: the service answered 429 until the client's retries were used up; ask again later, and less often.
	ErrThrottled = errors.New("log analytics is throttling")
	// ErrPartial: the service had lines that it did not return, for example more than 500,000; ask for a shorter window.
	ErrPartial = errors.New("log analytics returned only a part")
)

// Config is what a Reader needs. Credential is required.
type Config struct {
	Credential azcore.TokenCredential
	// Cloud names the endpoints, ServiceName's among them; its zero value is the public Azure. The endpoint has to be HTTPS.
	Cloud cloud.Configuration
	// Transport carries the calls; nil is the SDK's own.
	Transport policy.Transporter
}

// Reader reads lines. Its methods may be called from several goroutines.
type Reader struct{ client *azquery.LogsClient }

// New returns a Reader. It makes no call.
func New(cfg Config) (*Reader, error) {
	if cfg.Credential == nil {
		return nil, errors.New("new log reader: no credential given")
	}
	client, err := azquery.NewLogsClient(cfg.Credential, &azquery.LogsClientOptions{
		ClientOptions: azcore.ClientOptions{Cloud: cfg.Cloud, Transport: cfg.Transport},
	})
	if err != nil {
		return nil, fmt.Errorf("new log reader: %w", err)
	}
	return &Reader{client: client}, nil
}

// Query names the lines of one run.
type Query struct {
	// WorkspaceID is the workspace's customer id, a GUID, and not its resource id.
	WorkspaceID string
	// App is the function app's name.
	App string
	// RunID selects azf-handler's lines; empty means the run that printed last.
	RunID string
	// From and To bound the lines of other handlers, both included; a zero time is no bound. The host logs a line up to a few
	// seconds after it was printed, so To should lie a little after the end of the run. azf-handler's lines have the run id,
	// and are looked for a minute further on both sides.
	From, To time.Time
}

// Streams of a Line.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Line is one line of output without its line feed.
type Line struct {
	Time time.Time
	// Stream is Stdout or Stderr.
	Stream string
	// Seq is azf-handler's number of the line, from 1 over both streams, with gaps where rows were lost; else the line's place.
	Seq  int
	Text string
}

// Lines returns all lines of a run that have arrived so far, in order, or none. It blocks for the query, up to the service's
// time limit of three minutes. Its errors wrap ErrThrottled, ErrPartial, an *azcore.ResponseError or the context's error.
func (r *Reader) Lines(ctx context.Context, q Query) ([]Line, error) {
	text, err := kql(q)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.QueryWorkspace(ctx, q.WorkspaceID, azquery.Body{Query: &text}, nil)
	if err != nil {
		return nil, queryError(q, err)
	}
	if resp.Error != nil {
		return nil, fmt.Errorf("query logs of %s: %w: %w", q.App, ErrPartial, resp.Error)
	}
	if len(resp.Tables) == 0 {
		return nil, fmt.Errorf("query logs of %s: the answer has no table", q.App)
	}
	records, err := decode(resp.Tables[0])
	if err != nil {
		return nil, fmt.Errorf("query logs of %s: %w", q.App, err)
	}
	return lines(q, records), nil
}

// queryError turns a failed call into what Lines returns: nil for a workspace that never got data.
func queryError(q Query, err error) error {
	resp, ok := errors.AsType[*azcore.ResponseError](err)
	switch {
	case !ok:
		return fmt.Errorf("query logs of %s: %w", q.App, err)
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("query logs of %s: %w: %w", q.App, ErrThrottled, err)
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("query logs of %s: the daemon's identity needs the role Log Analytics Reader on workspace %s: %w", q.App, q.WorkspaceID, err)
	}
	return fmt.Errorf("query logs of %s: %w", q.App, err)
}

// slack is how much further azf-handler's lines are looked for, as clocks differ and the host logs late.
const slack = time.Minute

// appForm is Azure's form of a function app's name.
var appForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,59}$`)

// kql renders the query.
func kql(q Query) (string, error) {
	switch {
	case q.WorkspaceID == "":
		return "", fmt.Errorf("query logs of %s: no workspace id given", q.App)
	case !appForm.MatchString(q.App):
		return "", fmt.Errorf("query logs: %q is not the name of a function app", q.App)
	case !q.From.IsZero() && !q.To.IsZero() && q.To.Before(q.From):
		return "", fmt.Errorf("query logs of %s: the window ends at %s, before it begins", q.App, q.To)
	}
	var b strings.Builder
	// A workspace may not know AppTraces before its first row. isfuzzy passes over it then, but needs one leg that exists.
	b.WriteString("union isfuzzy=true\n" +
		"    (datatable(TimeGenerated:datetime, AppRoleName:string, SeverityLevel:int, Message:string, Properties:dynamic)[]),\n" +
		"    AppTraces\n")
	// In the query and not in the request's timespan, which azquery cuts to whole seconds.
	if !q.From.IsZero() {
		fmt.Fprintf(&b, "| where TimeGenerated >= %s\n", kqlTime(q.From.Add(-slack)))
	}
	if !q.To.IsZero() {
		fmt.Fprintf(&b, "| where TimeGenerated <= %s\n", kqlTime(q.To.Add(slack)))
	}
	// The Functions host may write the name in lower case.
	fmt.Fprintf(&b, "| where AppRoleName =~ %s\n", kqlString(q.App))
	// The category of what a custom handler prints (Functions host: WorkerConsoleLogService).
	b.WriteString("| where tostring(Properties.Category) == \"Host.Function.Console\"\n" +
		"| project TimeGenerated, SeverityLevel, Message\n" +
		"| order by TimeGenerated asc\n")
	return b.String(), nil
}

func kqlTime(t time.Time) string {
	return "datetime(" + t.UTC().Format("2006-01-02T15:04:05.0000000Z") + ")"
}

// kqlString quotes any text as a KQL string literal.
func kqlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029: // what might end a line
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// record is one row of the answer.
type record struct {
	time     time.Time
	severity int
	message  string
}

// decode reads the columns by the order in which kql projects them.
func decode(t *azquery.Table) ([]record, error) {
	out := make([]record, 0, len(t.Rows))
	for _, row := range t.Rows {
		if len(row) != 3 {
			return nil, fmt.Errorf("decode row: %d columns in place of 3", len(row))
		}
		stamp, _ := row[0].(string)
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return nil, fmt.Errorf("decode row: %w", err)
		}
		severity, _ := row[1].(float64) // null is 0
		message, _ := row[2].(string)
		out = append(out, record{at, int(severity), message})
	}
	return out, nil
}

// lines picks the lines of one run out of an app's records, which are in the order of their time.
func lines(q Query, records []record) []Line {
	if out, ok := handlerLines(q.RunID, records); ok {
		return out
	}
	var out []Line
	for _, r := range records {
		if !q.From.IsZero() && r.time.Before(q.From) || !q.To.IsZero() && r.time.After(q.To) {
			continue
		}
		// Functions host: a line of stdout is Information (1), one of stderr Error (3), or Warning (2) if it has "warn" in it.
		stream := Stdout
		if r.severity >= 2 {
			stream = Stderr
		}
		out = append(out, Line{Time: r.time, Stream: stream, Seq: len(out) + 1, Text: r.message})
	}
	return out
}

// handlerLines returns azf-handler's lines of a run, sorted and without repetitions. It tells whether there were lines of
// azf-handler at all, of whichever run: what else such an image prints is not the command's.
func handlerLines(runID string, records []record) ([]Line, bool) {
	var all []protocol.Line
	for _, r := range records {
		var l protocol.Line
		if !strings.HasPrefix(r.message, "{") || json.Unmarshal([]byte(r.message), &l) != nil ||
			l.RunID == "" || l.Seq < 1 || l.Stream != protocol.Stdout && l.Stream != protocol.Stderr {
			continue
		}
		if l.Time.IsZero() {
			l.Time = r.time
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		return nil, false
	}
	if runID == "" {
		runID = slices.MaxFunc(all, func(a, b protocol.Line) int { return a.Time.Compare(b.Time) }).RunID
	}
	all = slices.DeleteFunc(all, func(l protocol.Line) bool { return l.RunID != runID })
	slices.SortStableFunc(all, func(a, b protocol.Line) int { return a.Seq - b.Seq })
	all = slices.CompactFunc(all, func(a, b protocol.Line) bool { return a.Seq == b.Seq })
	out := make([]Line, len(all))
	for i, l := range all {
		out[i] = Line{Time: l.Time, Stream: Stdout, Seq: l.Seq, Text: l.Text}
		if l.Stream == protocol.Stderr {
			out[i].Stream = Stderr
		}
	}
	return out, true
}
