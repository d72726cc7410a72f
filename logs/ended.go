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

// EndedQuery names one run whose answer was lost.
type EndedQuery struct {
	// WorkspaceID is the workspace's customer id, a GUID, and App the function app's name.
	WorkspaceID, App string
	RunID            string
	// OperationID is the trace id of the traceparent that the run was started with.
	OperationID string
	// From and To bound when the run was under way; it is looked for five minutes further on both sides.
	From, To time.Time
}

// Ended is what Application Insights has of the end of a run. Its zero value is nothing, which may still come.
type Ended struct {
	// Called tells that the call which started the run has been answered, and Success and Status how.
	Called  bool
	Success bool
	Status  string
	// Known tells that azf-handler has printed the end of the run, with ExitCode.
	Known    bool
	ExitCode int
}

// Ended looks up how a run ended, once: by its call in AppRequests, and by what azf-handler printed. It blocks for two queries. Its
// errors are those of Lines.
func (r *Reader) Ended(ctx context.Context, q EndedQuery) (Ended, error) {
	lines := Query{WorkspaceID: q.WorkspaceID, App: q.App, Stdout: true, Runs: []Run{{ID: q.RunID, From: q.From, To: q.To}}}
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

// requestKQL asks for the call that started a run; the calls that ask for it later have the same trace id.
func requestKQL(q EndedQuery) string {
	return fmt.Sprintf(`union isfuzzy=true
    (datatable(TimeGenerated:datetime, AppRoleName:string, OperationId:string, Url:string, Success:bool, ResultCode:string)[]),
    AppRequests
| where TimeGenerated between (%s .. %s)
| where AppRoleName =~ %s
| where OperationId == %s and Url endswith %s
| order by TimeGenerated asc
| take 1
| project Success, ResultCode
`, kqlTime(q.From.Add(-slack)), kqlTime(q.To.Add(slack)), kqlString(q.App), kqlString(q.OperationID), kqlString(protocol.RunPath))
}

// endKQL asks for the line with which azf-handler ends a run.
func endKQL(q Query) string {
	var b strings.Builder
	writeSource(&b, q, q.Runs, slack)
	fmt.Fprintf(&b, "| where tostring(Line.run) == %s and tostring(Line.s) == %s\n| take 1\n| project Code = tostring(Line.m)\n",
		kqlString(q.Runs[0].ID), kqlString(protocol.End))
	return b.String()
}

// rows are those of a query's answer.
func (r *Reader) rows(ctx context.Context, q Query, text string) ([]azquery.Row, error) {
	table, err := r.table(ctx, q, text)
	if err != nil || table == nil {
		return nil, err
	}
	return table.Rows, nil
}
