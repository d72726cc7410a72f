package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/logs"
)

func TestLostEndsAreLookedUp(t *testing.T) {
	lost := &invoker.Error{Kind: invoker.KindLost, App: "a", Message: "nobody knows"}
	foreign := &invoker.Error{Kind: invoker.KindCut, App: "a", Message: "cut", Foreign: true}
	for name, row := range map[string]struct {
		cause error
		ended logs.Ended
		err   error
		code  int
		want  []string // in the error; without any, the error is empty
		asked int
	}{
		"printed": {cause: lost, ended: logs.Ended{Known: true, ExitCode: 7}, code: 7, asked: 1},
		"called, not printed": {
			cause: lost, ended: logs.Ended{Called: true, Success: true, Status: "200"},
			code: 125, want: []string{"nobody knows", "status 200", "not its exit code"}, asked: 1,
		},
		"nothing": {cause: lost, code: 125, want: []string{"nobody knows", "nothing of its end"}, asked: 1},
		"not to be asked": {
			cause: lost, err: errors.New("forbidden"),
			code: 125, want: []string{"nobody knows", "cannot be asked", "forbidden"}, asked: 1,
		},
		"own handler": {cause: foreign, ended: logs.Ended{Called: true, Success: true, Status: "204"}, asked: 1},
		"own handler failed": {
			cause: foreign, ended: logs.Ended{Called: true, Status: "500"}, code: 1, want: []string{"status 500"}, asked: 1,
		},
		"own handler, nothing": {cause: foreign, code: 125, want: []string{"cut", "nothing of its end"}, asked: 1},
		"it did not run": {
			cause: &invoker.Error{Kind: invoker.KindNotReady, App: "a", Message: "cold"}, code: 125,
			want: []string{"cold; likely causes are"},
		},
		"another error":              {cause: errors.New("bad argument"), code: 125, want: []string{"bad argument"}},
		"no exit code of its own: 0": {cause: lost, ended: logs.Ended{Known: true}, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			f.logs.ended, f.logs.err = row.ended, row.err
			f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
				return invoker.Result{}, row.cause
			}
			f.create(t, "web")
			f.run(t, "web")
			res := f.wait(t, "web", "")
			message := ""
			if res.Error != nil {
				message = res.Error.Message
			}
			if res.StatusCode != int64(row.code) || (message == "") != (len(row.want) == 0) {
				t.Errorf("got %d, %q", res.StatusCode, message)
			}
			for _, want := range row.want {
				if !strings.Contains(message, want) {
					t.Errorf("got %q, want %q in it", message, want)
				}
			}
			if len(f.logs.asked) != row.asked {
				t.Fatalf("asked %d times, want %d", len(f.logs.asked), row.asked)
			}
			f.expectQueries(t)
		})
	}
}

// expectQueries checks the queries for the end of the last run.
func (f *fixture) expectQueries(t *testing.T) {
	t.Helper()
	run, _, err := f.db.LastRun(t.Context(), f.only(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range f.logs.asked {
		if q.OperationID != run.TraceID || q.RunID != run.ID || q.WorkspaceID != "workspace" || q.To.Before(q.From) {
			t.Errorf("asked %+v", q)
		}
	}
}

// only returns the id of the one container.
func (f *fixture) only(t *testing.T) string {
	t.Helper()
	list, err := f.db.Containers(t.Context(), 0)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	return list[0].ID
}
