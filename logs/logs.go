// Package logs reads the output of containers from Log Analytics. It does not do logging: the daemon logs with
// zerolog.
//
// It owns the query, the assignment of lines to runs, the order of the lines, and the azquery client. It must not
// know containers, the store or how a run starts. Log Analytics is late by minutes and may drop rows, so no
// decision may depend on this package. Log Analytics is the archive for output that was not captured.
//
// This package makes no promise to other modules: invoker/protocol is the only Go API of this module that does.
//
//	reader, err := logs.New(logs.Config{Credential: cred})
//	lines, err := reader.Lines(ctx, logs.Query{
//		WorkspaceID: id, App: name, Stdout: true, Tail: 10, Runs: []logs.Run{{ID: run, From: start, To: end}},
//	})
//
// The lines of azf-handler are JSON in the form of protocol.Line, with run id, stream and number. Their order is
// that of the numbers. The lines of other handlers have none of these. Their time selects the run, the severity
// from the Functions host selects the stream, and their order is that in which the host logged them. The query
// itself selects the lines, so that the service returns no others. Lines of one tick are in the order of their streams
// and texts, so that the order is the same in each query.
package logs

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/monitor/azquery"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// ServiceName is the key in Config.Cloud.Services for Log Analytics' endpoint (such as
// https://api.loganalytics.io/v1) and audience.
const ServiceName = azquery.ServiceNameLogs

// Causes that errors of Lines may wrap.
var (
	// ErrThrottled: the service answered 429 to every attempt of the client. Ask again later, and less often.
	ErrThrottled = errors.New("log analytics is throttling")
	// ErrPartial: the service did not return all lines, for example because there are more than 500,000. Ask for a
	// shorter window.
	ErrPartial = errors.New("log analytics returned only a part")
)

// Config configures New. Credential is required.
type Config struct {
	Credential azcore.TokenCredential
	// Cloud holds the endpoints, including that of ServiceName, which must use HTTPS. The zero value means Azure's
	// public cloud.
	Cloud cloud.Configuration
	// Transport carries the calls; nil means the SDK's own.
	Transport policy.Transporter
}

// Reader reads lines. Its methods are safe for concurrent use.
type Reader struct{ client *azquery.LogsClient }

// New returns a Reader. It calls no service.
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

// Streams of a Line.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Line is one line of output without its line feed, or a piece of a long line of azf-handler.
type Line struct {
	// RunID is the run that printed the line. For a handler other than azf-handler it is the run in whose window the
	// host logged the line.
	RunID string
	Time  time.Time
	// Stream is Stdout or Stderr.
	Stream string
	// Seq is azf-handler's number of the line, from 1 over both streams, with a gap where a row was lost. It is 0 for
	// another handler.
	Seq int
	// Text is the content, byte for byte. Where Application Insights has cut it, Text ends with CutText.
	Text string
	// Continues and Ending are those of protocol.Line.
	Continues int
	Ending    string
}

// maxMessage is the number of UTF-16 code units that Application Insights keeps of a message: MaxMessageLength in
// Microsoft.ApplicationInsights/Extensibility/Implementation/Property.cs of
// https://github.com/microsoft/ApplicationInsights-dotnet
const maxMessage = 32_768

// CutText stands at the end of a line that has reached the limit of Application Insights.
const CutText = "[azf: Application Insights keeps 32,768 characters of a line, the rest of this one is lost]"

// Begun returns the number of lines that begin among pieces.
func Begun(pieces []Line) (n int) {
	for _, p := range pieces {
		if p.Continues == 0 {
			n++
		}
	}
	return n
}

// maxRuns is the largest number of runs in one query. Kusto's parser refuses a query that is nested too deeply, as one
// of about 490 runs is.
const maxRuns = 100

// Lines returns the lines of a query that have arrived so far, in order and each once, or none. Long lines of
// azf-handler are in pieces, of which Query.Tail counts the first of each line. For each 100 runs Lines blocks for one
// call of the service, or for two when the first one finds no line of azf-handler. Each call takes at most three
// minutes, the service's time limit. Errors wrap ErrThrottled, ErrPartial, an *azcore.ResponseError or the context's
// error.
func (r *Reader) Lines(ctx context.Context, q Query) ([]Line, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	var lines []Line
	for end := len(q.Runs); end > 0 && (q.Tail == 0 || Begun(lines) < q.Tail); end -= maxRuns {
		part := q
		part.Runs = slices.Clone(q.Runs[max(0, end-maxRuns):end])
		for i := range part.Runs {
			if run := &part.Runs[i]; end < len(q.Runs) && !run.To.Before(q.Runs[end].From) {
				run.To = q.Runs[end].From.Add(-tick) // no line is in two parts; an empty window selects none
			}
		}
		if q.Tail > 0 {
			part.Tail = q.Tail - Begun(lines)
		}
		older, err := r.part(ctx, part)
		if err != nil {
			return nil, err
		}
		lines = append(older, lines...)
	}
	return lines, nil
}

// part is Lines for at most maxRuns runs.
func (r *Reader) part(ctx context.Context, q Query) ([]Line, error) {
	lines, err := r.ask(ctx, q, handlerKQL(q))
	if err != nil || len(lines) > 0 {
		return lines, err
	}
	whole := slices.DeleteFunc(slices.Clone(q.Runs), func(r Run) bool { return !r.whole() })
	if len(whole) == 0 {
		return nil, nil
	}
	return r.ask(ctx, q, otherKQL(q, whole))
}

func (r *Reader) ask(ctx context.Context, q Query, text string) ([]Line, error) {
	table, err := r.table(ctx, q, text)
	if err != nil || table == nil {
		return nil, err
	}
	lines, err := decode(q, table)
	if err != nil {
		return nil, fmt.Errorf("query logs of %s: %w", q.App, err)
	}
	return lines, nil
}

// table returns the answer to a query. It is nil for a Log Analytics workspace that never received data.
func (r *Reader) table(ctx context.Context, q Query, text string) (*azquery.Table, error) {
	resp, err := r.client.QueryWorkspace(ctx, q.WorkspaceID, azquery.Body{Query: &text}, nil)
	if err != nil {
		return nil, queryError(q, err)
	}
	if resp.Error != nil && !onlyWarns(resp.Error) {
		return nil, fmt.Errorf("query logs of %s: %w: %w", q.App, ErrPartial, resp.Error)
	}
	if len(resp.Tables) == 0 {
		return nil, fmt.Errorf("query logs of %s: the answer has no table", q.App)
	}
	return resp.Tables[0], nil
}

// severityWarning is the severity of an inner error that changes nothing about the rows. Log Analytics answers one for
// a table that does not exist yet.
const severityWarning = 3

// onlyWarns reports whether an error beside rows consists of warnings.
func onlyWarns(beside *azquery.ErrorInfo) bool {
	var content struct {
		Details []struct {
			InnerError struct{ Severity int }
		}
	}
	if json.Unmarshal([]byte(beside.Error()), &content) != nil || len(content.Details) == 0 {
		return false
	}
	for _, detail := range content.Details {
		if detail.InnerError.Severity != severityWarning {
			return false
		}
	}
	return true
}

// queryError converts the error of a call into that of Lines. It returns nil for a Log Analytics workspace that never
// received data.
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
		return fmt.Errorf("query logs of %s: the daemon's identity needs the role Log Analytics Reader "+
			"on Log Analytics workspace %s: %w", q.App, q.WorkspaceID, err)
	}
	return fmt.Errorf("query logs of %s: %w", q.App, err)
}

// decode reads the columns in the order in which the queries project them.
func decode(q Query, t *azquery.Table) ([]Line, error) {
	var out []Line
	for _, row := range t.Rows {
		if len(row) != 8 {
			return nil, fmt.Errorf("decode row: %d columns in place of 8", len(row))
		}
		stamp, _ := row[2].(string)
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return nil, fmt.Errorf("decode row: %w", err)
		}
		run, isRun := row[0].(float64)
		seq, isSeq := row[1].(float64)
		if !isRun || !isSeq || run >= float64(len(q.Runs)) {
			return nil, fmt.Errorf("decode row: the columns hold %v", row[:4])
		}
		continues, _ := row[6].(float64)
		l := Line{Time: at, Stream: Stdout, Seq: int(seq), Continues: int(continues)}
		l.Text, l.Ending = content(row)
		if row[3] == protocol.Stderr {
			l.Stream = Stderr
		}
		if run >= 0 {
			l.RunID = q.Runs[int(run)].ID
		} else {
			l.RunID = runAt(q.Runs, at)
		}
		out = append(out, l)
	}
	return out, nil
}

// content returns the text of a row and its ending.
func content(row azquery.Row) (text, ending string) {
	text, _ = row[4].(string) // null means the empty string
	encoded, _ := row[5].(string)
	ending, _ = row[7].(string)
	switch {
	case ending == endsCut:
		return unquoted(text) + CutText, ""
	case ending == endsPlain:
		if len(utf16.Encode([]rune(text))) >= maxMessage {
			text += CutText
		}
		return text, ""
	case encoded != "":
		if exact, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			text = string(exact)
		}
	}
	return text, ending
}

// unquoted returns the text that a cut JSON string begins, without its opening quote.
func unquoted(begin string) (text string) {
	for end := len(begin); end >= 0; end-- { // a cut escape has to go
		if json.Unmarshal([]byte(`"`+begin[:end]+`"`), &text) == nil {
			return text
		}
		if len(begin)-end > len(`\uD83D\uDE0`) {
			break // it is cut for another reason
		}
	}
	return begin
}

// runAt returns the id of the run in whose window a line was logged.
func runAt(runs []Run, at time.Time) string {
	for _, r := range slices.Backward(runs) {
		if r.whole() && !at.Before(r.From) {
			return r.ID
		}
	}
	return "" // the query selects no such line
}
