package invoker

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

func TestResumeNeverStarts(t *testing.T) {
	for name, row := range map[string]struct {
		poll []step
		kind Kind
		exit int
	}{
		"the run goes on":         {poll: []step{running(), ended(4)}, exit: 4},
		"the run has ended":       {poll: []step{ended(0)}},
		"the handler knows it no": {poll: []step{handler(http.StatusNotFound, protocol.ErrorBody{})}, kind: KindLost},
		"own handler":             {poll: []step{status(http.StatusNotFound)}, kind: KindLost},
	} {
		t.Run(name, func(t *testing.T) {
			f, inv := newFake(t, script{poll: row.poll})
			res, err := inv.Run(t.Context(), target, Request{RunID: testRun, Resume: true, BeforeStart: func(context.Context) error {
				t.Error("nothing is started")
				return nil
			}})
			if KindOf(err) != row.kind || (err == nil) != (row.kind == "") || res.ExitCode != row.exit {
				t.Errorf("got %+v, %v; want exit code %d and kind %q", res, err, row.exit, row.kind)
			}
			if f.total("post") != 0 {
				t.Errorf("sent %d POSTs", f.total("post"))
			}
		})
	}
}

func TestBeforeStart(t *testing.T) {
	f, inv := newFake(t, script{post: []step{status(http.StatusServiceUnavailable), ended(0)}})
	calls := 0
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun, BeforeStart: func(context.Context) error {
		calls++
		if f.total("post") != 0 {
			t.Error("called after the POST")
		}
		return nil
	}}); err != nil || calls != 1 || f.total("post") != 2 {
		t.Errorf("got %v after %d calls and %d POSTs", err, calls, f.total("post"))
	}
	f, inv = newFake(t, script{})
	refused := errors.New("disk full")
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun, BeforeStart: func(context.Context) error { return refused }}); !errors.Is(err, refused) || f.total("post") != 0 {
		t.Errorf("got %v after %d POSTs, want the refusal and none", err, f.total("post"))
	}
}
