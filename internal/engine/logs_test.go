package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/workspace"
)

func TestLogsOfOtherHandlers(t *testing.T) {
	s := play(t)
	answer := func(res invoker.Result, err error, printed ...string) {
		t.Helper()
		s.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
			for _, text := range printed {
				s.trace(time.Now(), 1, text)
			}
			return res, err
		}
		s.run(t, "web")
		s.wait(t, "web", "")
	}
	// The output of a handler is its response body, and not what it prints.
	answer(invoker.Result{Body: []byte("one\r\ntwo")}, nil, "printed")
	failed := []protocol.Line{{Stream: protocol.Stderr, Seq: 1, Text: "failed"}}
	answer(invoker.Result{ExitCode: 1, Truncated: true, Lines: failed}, nil)
	if got, err := s.shown(t, all); err != nil || got != "one two failed" || s.logs.queries != nil {
		t.Errorf("got %q, %v, asked %+v", got, err, s.logs.queries)
	}
	// Without a response body, or without a known response, it is what the handler prints.
	answer(invoker.Result{}, nil, "three")
	answer(invoker.Result{}, errors.New("cut"), "four", "five")
	answer(invoker.Result{Body: []byte("six")}, nil)
	if got, err := s.shown(t, all); err != nil || got != "one two failed three four five six" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := s.shown(t, tail(3)); err != nil || got != "four five six" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCapturedLines(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	line := func(seq int, omitted *protocol.Omitted) protocol.Line {
		return protocol.Line{Stream: protocol.Stderr, Seq: seq, Time: at, Text: "t", Omitted: omitted}
	}
	want := func(seq int, omitted *api.OmittedLines) []api.LogLine {
		return []api.LogLine{{Stream: api.Stderr, Seq: seq, Time: at, Text: "t", Omitted: omitted}}
	}
	answer := func(lines ...protocol.Line) invoker.Result { return invoker.Result{Protocol: true, Lines: lines} }
	mark := func(onStdout, onStderr int) invoker.Result {
		return answer(line(3, &protocol.Omitted{Stdout: onStdout, Stderr: onStderr}))
	}
	for name, row := range map[string]struct {
		answer invoker.Result
		want   []api.LogLine
	}{
		"a line":                         {answer(line(3, nil)), want(3, nil)},
		"no output":                      {answer(), []api.LogLine{}},
		"output that is unknown":         {invoker.Result{Protocol: true, Truncated: true}, nil},
		"another handler without answer": {invoker.Result{}, nil},
		"failure of another handler":     {invoker.Result{Lines: []protocol.Line{line(1, nil)}}, want(0, nil)},
		"success of another handler": {
			invoker.Result{FinishedAt: at, Body: []byte("a\r\nb\xff")},
			[]api.LogLine{
				{Stream: api.Stdout, Time: at, Text: "a\r"},
				{Stream: api.Stdout, Time: at, Text: "b\uFFFD", Bytes: []byte("b\xff"), Ending: protocol.EndsWithout},
			},
		},
		"a mark": {mark(1, 2), want(3, &api.OmittedLines{Stdout: 1, Stderr: 2})},
		// Impossible marks stay lines.
		"a mark of nothing":           {mark(0, 0), want(3, nil)},
		"a mark of too many":          {mark(2, 2), want(3, nil)},
		"a mark of a negative number": {mark(-1, 2), want(3, nil)},
		"a mark whose sum overflows":  {mark(math.MaxInt, math.MaxInt), want(3, nil)},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(row.want, logLines(row.answer)); d != "" {
				t.Errorf("lines (-want +got):\n%s", d)
			}
		})
	}
}

func TestLogsOfARunThatWasNotSent(t *testing.T) {
	s := play(t)
	s.invoker.early = errors.New("no host key")
	s.run(t, "web")
	s.wait(t, "web", "")
	if got, err := s.shown(t, api.LogOptions{Stdout: true, Tail: -1}); err != nil || got != "" || s.logs.queries != nil {
		t.Errorf("got %q, %v, asked %+v", got, err, s.logs.queries)
	}
}

// TestCutLogs has a handler that prints a line of more characters than Application Insights keeps.
func TestCutLogs(t *testing.T) {
	s := play(t)
	s.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		s.trace(time.Now(), 1, strings.Repeat("x", 40_000))
		return invoker.Result{}, nil
	}
	s.run(t, "web")
	s.wait(t, "web", "")
	want := strings.Repeat("x", 32_768) + logs.CutText + "\n"
	if got := s.read(t, "web", stdout); len(got) < 8 || got[8:] != want {
		t.Errorf("got %d bytes, ending in %q", len(got), got[max(0, len(got)-100):])
	}
}

// TestLogsBeforeNumbers reads lines that an early version stored, without numbers.
func TestLogsBeforeNumbers(t *testing.T) {
	s := play(t, printing{total: 3, head: 1, tail: 1, arrived: everything})
	_, err := s.db.SQL().ExecContext(t.Context(), `UPDATE runs SET output = '[
		{"Time":"2026-11-23T12:00:00Z","Stream":"stdout","Text":"old"},
		{"Time":"2026-11-23T12:00:00Z","Stream":"stderr","Text":"[azf-handler: 5 lines are left out here]"}
	]'`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.shown(t, all); err != nil || got != "old [5]" || s.logs.queries != nil {
		t.Errorf("got %q, %v, asked %+v", got, err, s.logs.queries)
	}
}

func TestLogsWhenLogAnalyticsFails(t *testing.T) {
	lost, short := with(lost, everything), with(short, nil)
	t.Run("something is captured", func(t *testing.T) {
		s := play(t, short, lost)
		s.logs.err = errors.New("throttled")
		if got, err := s.shown(t, all); err != nil || got != "1:1 1:2" {
			t.Errorf("got %q, %v", got, err)
		}
		if got := s.log.String(); strings.Count(got, `"level":"warn"`) != 1 ||
			!strings.Contains(got, "captured output only") || !strings.Contains(got, "throttled") {
			t.Errorf("logged %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.ContainerLogs(ctx, "web", all); err == nil {
			t.Error("no error after the client has left")
		}
	})
	t.Run("nothing is captured", func(t *testing.T) {
		s := play(t, lost)
		s.logs.err = errors.New("throttled")
		if _, err := s.shown(t, all); api.KindOf(err) != api.Unavailable ||
			!strings.HasPrefix(err.Error(), "cannot read the logs of container web: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the state cannot be read", func(t *testing.T) {
		s := play(t, lost)
		s.logAnalyticsID.Store(nil) // as for the next daemon
		s.workspaces.set(func() { s.workspaces.unread = errors.New("terraform does not start") })
		if _, err := s.shown(t, all); api.KindOf(err) != api.Unavailable {
			t.Errorf("got %v", err)
		}
	})
	for name, change := range map[string]func(*fakeWorkspaces){
		"there is no foundation": func(f *fakeWorkspaces) {
			f.unread = fmt.Errorf("outputs: %w", workspace.ErrNoWorkspace)
		},
		"the foundation is broken": func(f *fakeWorkspaces) { f.outputs = "" },
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, lost, short)
			s.logAnalyticsID.Store(nil)
			s.workspaces.set(func() { change(s.workspaces) })
			founded := s.workspaces.founded
			if got, err := s.shown(t, all); err != nil || got != "2:1 2:2" || s.logs.queries != nil ||
				s.workspaces.founded != founded {
				t.Errorf("got %q, %v, asked %+v", got, err, s.logs.queries)
			}
			s.workspaces.set(func() { s.workspaces.unread, s.workspaces.outputs = nil, "workspace" })
			if got, err := s.shown(t, all); err != nil || got != "1:1 1:2 1:3 1:4 2:1 2:2" {
				t.Errorf("once it is there: got %q, %v", got, err)
			}
		})
	}
}

func TestLogsNeedAStream(t *testing.T) {
	f := setup(t)
	f.create(t, "web")
	_, err := f.ContainerLogs(t.Context(), "web", api.LogOptions{Tail: -1, Timestamps: true})
	if api.KindOf(err) != api.InvalidParameter {
		t.Errorf("got %v", err)
	}
}

func TestLogsBeforeTheFirstRun(t *testing.T) {
	f := setup(t)
	f.create(t, "web")
	if got := f.read(t, "web", api.LogOptions{Stdout: true, Tail: -1}); got != "" {
		t.Errorf("got %q, want no lines", got)
	}
}

func TestLogFrames(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 1000, time.UTC)
	for _, row := range []struct {
		line            api.LogLine
		timestamps, tty bool
		want            string
	}{
		{api.LogLine{Stream: api.Stdout, Text: "out"}, false, false, "\x01\x00\x00\x00\x00\x00\x00\x04out\n"},
		{
			api.LogLine{Time: at, Stream: api.Stdout, Text: "a\r", Ending: protocol.EndsWithout}, true, true,
			"2026-11-23T12:00:00.000001000Z a\r",
		},
		{
			api.LogLine{Stream: api.Stdout, Text: "\xff\x00", Ending: protocol.EndsWithMore}, false, false,
			"\x01\x00\x00\x00\x00\x00\x00\x02\xff\x00",
		},
		{api.LogLine{Stream: api.Stderr}, false, false, "\x02\x00\x00\x00\x00\x00\x00\x01\n"},
		{api.LogLine{Time: at, Stream: api.Stderr, Text: "err"}, true, true, "2026-11-23T12:00:00.000001000Z err\n"},
	} {
		var out bytes.Buffer
		if writeLine(&out, row.line, row.timestamps, row.tty); out.String() != row.want {
			t.Errorf("got %q, want %q", &out, row.want)
		}
	}
}
