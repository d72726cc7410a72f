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
		"the run goes on":              {poll: []step{running(), ended(4)}, exit: 4},
		"the run has ended":            {poll: []step{ended(0)}},
		"the handler does not know it": {poll: []step{handler(http.StatusNotFound, protocol.ErrorBody{})}, kind: KindLost},
		"own handler":                  {poll: []step{status(http.StatusNotFound)}, kind: KindLost},
	} {
		t.Run(name, func(t *testing.T) {
			f, inv := newFake(t, script{poll: row.poll})
			before := func(context.Context) error {
				t.Error("BeforeStart is called")
				return nil
			}
			res, err := inv.Run(t.Context(), target, Request{RunID: testRun, Resume: true, BeforeStart: before})
			if KindOf(err) != row.kind || (err == nil) != (row.kind == "") || res.ExitCode != row.exit {
				t.Errorf("got %+v, %v; want exit code %d and kind %q", res, err, row.exit, row.kind)
			}
			if f.total("post") != 0 {
				t.Errorf("sent %d POSTs", f.total("post"))
			}
		})
	}
}

// TestBeforeStart lets the host refuse the request, then the key, and then break the connection.
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
	before := func(context.Context) error { return refused }
	_, err := inv.Run(t.Context(), target, Request{RunID: testRun, BeforeStart: before})
	if !errors.Is(err, refused) || f.total("post") != 0 {
		t.Errorf("got %v after %d POSTs, want the refusal and none", err, f.total("post"))
	}
}

func TestBusyHost(t *testing.T) {
	busy := []step{status(http.StatusTooManyRequests)}
	for want, s := range map[string]script{
		"too busy to take a request within 1m0s; start fewer containers": {post: busy},
		"takes no more requests that read host keys":                     {keys: busy},
	} {
		_, inv := newFake(t, s)
		_, err := inv.Run(t.Context(), target, Request{RunID: testRun})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
