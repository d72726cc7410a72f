package logs

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

func TestEnded(t *testing.T) {
	request := func(change map[string]any) map[string]any {
		row := map[string]any{
			"TimeGenerated": noon, "AppRoleName": app, "OperationId": "trace",
			"Url":     "https://" + app + ".azurewebsites.net" + protocol.RunPath,
			"Success": true, "ResultCode": "200", "TenantId": workspace,
		}
		maps.Copy(row, change)
		return row
	}
	q := EndedQuery{
		WorkspaceID: workspace, App: app, RunID: "run-1", OperationID: "trace", From: noon, To: noon.Add(time.Minute),
	}
	for name, c := range map[string]struct {
		requests, traces []map[string]any
		want             Ended
	}{
		"nothing":  {},
		"answered": {requests: []map[string]any{request(nil)}, want: Ended{Called: true, Success: true, Status: "200"}},
		"failed": {
			requests: []map[string]any{request(map[string]any{"Success": false, "ResultCode": "500"})},
			want:     Ended{Called: true, Status: "500"},
		},
		"the first call": {
			requests: []map[string]any{
				request(map[string]any{"TimeGenerated": noon.Add(time.Second), "ResultCode": "202"}), request(nil),
			},
			want: Ended{Called: true, Success: true, Status: "200"},
		},
		"others": {requests: []map[string]any{
			request(map[string]any{"OperationId": "other"}),
			request(map[string]any{"AppRoleName": "skls-other"}),
			request(map[string]any{"TimeGenerated": noon.Add(time.Hour)}),
			request(map[string]any{"Url": "https://a" + protocol.RunsPath + "run-1"}),
		}},
		"printed": {
			traces: []map[string]any{trace(noon, 1, printed("run-1", 3, protocol.End, "7"))},
			want:   Ended{Known: true, ExitCode: 7},
		},
		"printed by others": {traces: []map[string]any{
			trace(noon, 1, printed("run-2", 3, protocol.End, "7")),
			trace(noon, 1, printed("run-1", 3, protocol.Stdout, "7")),
		}},
		"no code": {traces: []map[string]any{trace(noon, 1, printed("run-1", 3, protocol.End, "x"))}},
	} {
		t.Run(name, func(t *testing.T) {
			s := store(c.traces...)
			for _, row := range c.requests {
				s.Append("AppRequests", row)
			}
			if got, err := reader(t, s).Ended(t.Context(), q); err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	r := reader(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a call was made") }))
	q.App = `a" or true //`
	if _, err := r.Ended(t.Context(), q); err == nil {
		t.Error("an app with quotes was accepted")
	}
}

// TestEndIsNotALine expects that the line with the end of a run is not part of the output.
func TestEndIsNotALine(t *testing.T) {
	r := reader(t, store(
		trace(noon, 1, printed("run-1", 1, protocol.End, "0")),
		trace(noon, 1, printed("run-2", 1, protocol.Stdout, "a")),
		trace(noon, 1, printed("run-2", 2, protocol.End, "0")),
	))
	check(t, r, query("run-1"), nil)
	line := Line{RunID: "run-2", Time: noon.Add(time.Millisecond), Stream: Stdout, Seq: 1, Text: "a"}
	check(t, r, query("run-2"), []Line{line})
}
