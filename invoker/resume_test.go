package invoker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// TestBeforeStart has the host refuse the request at first, the key with it, and then break off.
func TestBeforeStart(t *testing.T) {
	f, inv := newFake(t, script{
		keys: []step{keys("old"), status(http.StatusServiceUnavailable), keys(testKey)},
		post: []step{status(http.StatusServiceUnavailable), status(http.StatusUnauthorized), broken}, poll: []step{ended(0)},
	})
	var calls []string
	note := func(what string) { calls = append(calls, fmt.Sprint(what, " ", f.total("post"))) }
	if _, err := inv.Run(t.Context(), target, Request{
		RunID:       testRun,
		BeforeStart: func(context.Context) error { note("before"); return nil },
		NotStarted:  func(context.Context) { note("not") },
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"before 0", "not 1", "before 1"}; !slices.Equal(calls, want) {
		t.Errorf("got %q, want %q", calls, want)
	}
	f, inv = newFake(t, script{})
	refused := errors.New("disk full")
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun, BeforeStart: func(context.Context) error { return refused }}); !errors.Is(err, refused) || f.total("post") != 0 {
		t.Errorf("got %v after %d POSTs, want the refusal and none", err, f.total("post"))
	}
}

func TestBusyHost(t *testing.T) {
	_, inv := newFake(t, script{post: []step{status(http.StatusTooManyRequests)}})
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun}); err == nil || !strings.Contains(err.Error(), "too busy to take a request within 1m0s; start fewer containers") {
		t.Errorf("got %v, want it to say why", err)
	}
	_, inv = newFake(t, script{keys: []step{status(http.StatusTooManyRequests)}})
	if _, err := inv.Run(t.Context(), target, Request{RunID: testRun}); err == nil || !strings.Contains(err.Error(), "takes no more requests that read host keys") {
		t.Errorf("got %v, want it to say why", err)
	}
}
