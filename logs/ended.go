package logs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/monitor/azquery"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// EndedQuery selects one run whose answer was lost.
type EndedQuery struct {
	// WorkspaceID is the customer id of the Log Analytics workspace, a GUID. App is the function app's name.
	WorkspaceID, App string
	RunID            string
	// OperationID is the trace id of the run's traceparent.
	OperationID string
	// From and To bound the time of the run. The query looks at a window that is five minutes longer on both sides.
	From, To time.Time
}

// Ended is the end of a run in Application Insights. The zero value means that no data has arrived yet.
type Ended struct {
	// Called reports whether the call that started the run has been answered. Success and Status describe that answer.
	Called  bool
	Success bool
	Status  string
	// Known reports whether azf-handler has printed the end of the run, with ExitCode.
	Known    bool
	ExitCode int
}

// Ended looks up the end of a run: the call in AppRequests and the last line that azf-handler has printed. It makes
// two calls of the service and does not retry. Its errors are those of Lines.
func (r *Reader) Ended(ctx context.Context, q EndedQuery) (Ended, error) {
	run := Run{ID: q.RunID, From: q.From, To: q.To}
	lines := Query{WorkspaceID: q.WorkspaceID, App: q.App, Stdout: true, Runs: []Run{run}}
	if err := lines.check(); err != nil {
		return Ended{}, err
	}
	var out Ended
	rows, err := r.rows(ctx, lines, requestKQL(q))
	if err != nil {
		return Ended{}, err
	}
	if len(rows) > 0 && len(rows[0]) == 2 {
		out.Called = true
		out.Success, _ = rows[0][0].(bool)
		out.Status, _ = rows[0][1].(string)
	}
	if rows, err = r.rows(ctx, lines, endKQL(lines)); err != nil {
		return Ended{}, err
	}
	if len(rows) > 0 && len(rows[0]) == 1 {
		text, _ := rows[0][0].(string)
		code, err := strconv.Atoi(text)
		out.Known, out.ExitCode = err == nil, code
	}
	return out, nil
}

// requestKQL returns the query for the call that started a run. The calls that poll the run have the same trace id.
func requestKQL(q EndedQuery) string {
	return fmt.Sprintf(`union isfuzzy=true
    (datatable(TimeGenerated:datetime, AppRoleName:string, OperationId:string, `+
		`Url:string, Success:bool, ResultCode:string)[]),
    AppRequests
| where TimeGenerated between (%s .. %s)
| where AppRoleName =~ %s
| where OperationId == %s and Url endswith %s
| order by TimeGenerated asc
| take 1
| project Success, ResultCode
`, kqlTime(q.From.Add(-slack)), kqlTime(q.To.Add(slack)),
		kqlString(q.App), kqlString(q.OperationID), kqlString(protocol.RunPath))
}

// endKQL returns the query for the line with which azf-handler ends a run.
func endKQL(q Query) string {
	var b strings.Builder
	writeSource(&b, q, q.Runs, slack)
	fmt.Fprintf(&b, `| where tostring(Line.run) == %s and tostring(Line.s) == %s
| take 1
| project Code = tostring(Line.m)
`, kqlString(q.Runs[0].ID), kqlString(protocol.End))
	return b.String()
}

// rows returns the rows of a query's answer.
func (r *Reader) rows(ctx context.Context, q Query, text string) ([]azquery.Row, error) {
	table, err := r.table(ctx, q, text)
	if err != nil || table == nil {
		return nil, err
	}
	return table.Rows, nil
}
