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
	"github.com/sockerless/backend-azf/workspace"
)

func TestLogsOfRuns(t *testing.T) {
	long := printing{total: 12, head: 2, tail: 3} // 3 to 9 are left out, three of them on stderr
	with := func(p printing, arrived func(int) bool) printing { p.arrived = arrived; return p }
	short := printing{total: 2, arrived: everything}
	lost := printing{total: 4, err: errors.New("cut")}
	running := printing{total: 3, running: true}
	all := api.LogOptions{Stdout: true, Stderr: true, Tail: -1}
	tail := func(n int) api.LogOptions { return api.LogOptions{Stdout: true, Stderr: true, Tail: n} }
	stdout, stderr := api.LogOptions{Stdout: true, Tail: -1}, api.LogOptions{Stderr: true, Tail: -1}
	const none = -1 // no query
	for name, row := range map[string]struct {
		runs []printing
		opts api.LogOptions
		// since and until are the line of the last run whose time is the bound; 0 is none.
		since, until int
		want         string
		// asked is the tail that Log Analytics is asked for, 0 for all.
		asked int
	}{
		"captured":  {runs: []printing{short}, opts: all, want: "1:1 1:2", asked: none},
		"no output": {runs: []printing{{}}, opts: all, want: "", asked: none},
		"all runs": {runs: []printing{short, short, short}, opts: all, want: "1:1 1:2 2:1 2:2 3:1 3:2",
			asked: none},
		"tail over runs": {runs: []printing{short, short, short}, opts: tail(3), want: "2:2 3:1 3:2", asked: none},
		"tail 0":         {runs: []printing{lost}, opts: tail(0), want: "", asked: none},
		"since":          {runs: []printing{short, short}, opts: all, since: 2, want: "2:2", asked: none},
		"until":          {runs: []printing{short, short}, opts: all, until: 1, want: "1:1 1:2 2:1", asked: none},
		"since and until": {runs: []printing{short, {total: 5}}, opts: all, since: 2, until: 4, want: "2:2 2:3 2:4",
			asked: none},
		"stdout": {runs: []printing{{total: 4}}, opts: stdout, want: "1:1 1:2 1:4", asked: none},
		"stderr": {runs: []printing{{total: 4}}, opts: stderr, want: "1:3", asked: none},
		"streams before tail": {runs: []printing{{total: 7}}, opts: api.LogOptions{Stderr: true, Tail: 1}, want: "1:6",
			asked: none},
		"old lines not needed": {runs: []printing{lost, short}, opts: tail(2), want: "2:1 2:2", asked: none},
		"old lines half needed": {runs: []printing{with(lost, everything), short}, opts: tail(3), want: "1:4 2:1 2:2",
			asked: 1},

		"gap, nothing arrived": {runs: []printing{long}, opts: all, want: "1:1 1:2 [7] 1:10 1:11 1:12"},
		"gap, all arrived": {runs: []printing{with(long, everything)}, opts: all,
			want: "1:1 1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 1:10 1:11 1:12"},
		"gap, the first arrived": {runs: []printing{with(long, between(1, 5))}, opts: all,
			want: "1:1 1:2 1:3 1:4 1:5 [4] 1:10 1:11 1:12"},
		"gap, the last arrived": {runs: []printing{with(long, between(8, 12))}, opts: all,
			want: "1:1 1:2 1:8 1:9 [5] 1:10 1:11 1:12"},
		"gap of stdout, arrived": {runs: []printing{with(long, everything)}, opts: stdout,
			want: "1:1 1:2 1:4 1:5 1:7 1:8 1:10 1:11"},
		"gap of stdout, missing": {runs: []printing{long}, opts: stdout, want: "1:1 1:2 1:10 1:11"},
		"gap of stderr, arrived": {runs: []printing{with(long, everything)}, opts: stderr, want: "1:3 1:6 1:9 1:12"},
		"gap of stderr, in part": {runs: []printing{with(long, between(1, 6))}, opts: stderr, want: "1:3 1:6 [1] 1:12"},
		"gap without stderr": {runs: []printing{with(printing{total: 6, head: 3, tail: 1}, between(9, 9))},
			opts: stderr, want: "1:3 1:6", asked: none},
		"gap behind the tail": {runs: []printing{long}, opts: tail(3), want: "1:10 1:11 1:12", asked: none},
		"tail into the gap": {runs: []printing{with(long, everything)}, opts: tail(5), want: "1:8 1:9 1:10 1:11 1:12",
			asked: 2},
		"tail into a gap, missing": {runs: []printing{long}, opts: tail(5), want: "1:2 [7] 1:10 1:11 1:12", asked: 2},
		"tail into a gap, late": {runs: []printing{with(long, between(1, 6))}, opts: tail(6),
			want: "1:5 1:6 [3] 1:10 1:11 1:12", asked: 3},
		"tail beyond the gap": {runs: []printing{with(long, everything)}, opts: tail(11),
			want: "1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 1:10 1:11 1:12", asked: 8},
		"tail of stderr in a gap": {runs: []printing{with(long, everything)}, opts: api.LogOptions{Stderr: true, Tail: 2},
			want: "1:9 1:12", asked: 1},
		"gaps of two runs": {runs: []printing{with(long, everything), with(long, between(9, 9))}, opts: tail(9),
			want: "1:11 1:12 2:1 2:2 2:9 [6] 2:10 2:11 2:12", asked: 6},
		"since behind a gap": {runs: []printing{long}, opts: all, since: 11, want: "1:11 1:12", asked: none},
		"since within a gap": {runs: []printing{with(long, everything)}, opts: all, since: 8,
			want: "1:8 1:9 1:10 1:11 1:12"},
		"since within a gap, late": {runs: []printing{with(long, between(1, 8))}, opts: all, since: 7,
			want: "1:7 1:8 [1] 1:10 1:11 1:12"},
		"until before a gap":  {runs: []printing{long}, opts: all, until: 1, want: "1:1", asked: none},
		"until within a gap":  {runs: []printing{with(long, everything)}, opts: all, until: 4, want: "1:1 1:2 1:3 1:4"},
		"stderr within a gap": {runs: []printing{with(long, everything)}, opts: stderr, since: 5, until: 8, want: "1:6"},

		"lost answer":               {runs: []printing{with(lost, everything)}, opts: all, want: "1:1 1:2 1:3 1:4"},
		"lost answer, none arrived": {runs: []printing{lost}, opts: all, want: ""},
		"lost answer, stderr":       {runs: []printing{with(lost, everything)}, opts: stderr, want: "1:3"},
		"lost answer, tail":         {runs: []printing{with(lost, everything)}, opts: tail(2), want: "1:3 1:4", asked: 2},
		"lost answer, since":        {runs: []printing{with(lost, everything)}, opts: all, since: 3, want: "1:3 1:4"},
		"lost answer between": {runs: []printing{short, with(lost, everything), short}, opts: all,
			want: "1:1 1:2 2:1 2:2 2:3 2:4 3:1 3:2"},
		"running": {runs: []printing{short, with(running, between(1, 2))}, opts: all,
			want: "1:1 1:2 2:1 2:2"},
		"running, tail": {runs: []printing{short, with(running, everything)}, opts: tail(4),
			want: "1:2 2:1 2:2 2:3", asked: 4},
		"running, nothing arrived": {runs: []printing{short, running}, opts: all, want: "1:1 1:2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, row.runs...)
			if row.since > 0 {
				row.opts.Since = s.at(len(row.runs), row.since)
			}
			if row.until > 0 {
				row.opts.Until = s.at(len(row.runs), row.until)
			}
			if got, err := s.shown(t, row.opts); err != nil || got != row.want {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
			var asked []int
			for _, q := range s.logs.queries {
				asked = append(asked, q.Tail)
				if q.WorkspaceID != "workspace" || q.App != s.app || q.Stdout != row.opts.Stdout || q.Stderr != row.opts.Stderr ||
					!q.Since.Equal(row.opts.Since) || !q.Until.Equal(row.opts.Until) {
					t.Errorf("asked %+v", q)
				}
			}
			if row.asked == none && asked != nil || row.asked != none && (len(asked) != 1 || asked[0] != row.asked) {
				t.Errorf("Log Analytics was asked for tails %v, want %d", asked, row.asked)
			}
		})
	}
}

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
	all := api.LogOptions{Stdout: true, Stderr: true, Tail: -1}
	// What the handler answers is its output, and what it prints is not.
	answer(invoker.Result{Body: []byte("one\r\ntwo")}, nil, "printed")
	answer(invoker.Result{ExitCode: 1, Truncated: true,
		Lines: []protocol.Line{{Stream: protocol.Stderr, Seq: 1, Text: "failed"}}}, nil)
	if got, err := s.shown(t, all); err != nil || got != "one two failed" || s.logs.queries != nil {
		t.Errorf("got %q, %v, asked %+v", got, err, s.logs.queries)
	}
	// It answers nothing, or nobody knows what.
	answer(invoker.Result{}, nil, "three")
	answer(invoker.Result{}, errors.New("cut"), "four", "five")
	answer(invoker.Result{Body: []byte("six")}, nil)
	if got, err := s.shown(t, all); err != nil || got != "one two failed three four five six" {
		t.Errorf("got %q, %v", got, err)
	}
	all.Tail = 3
	if got, err := s.shown(t, all); err != nil || got != "four five six" {
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
	for name, row := range map[string]struct {
		answer invoker.Result
		want   []api.LogLine
	}{
		"a line":                 {invoker.Result{Protocol: true, Lines: []protocol.Line{line(3, nil)}}, want(3, nil)},
		"no output":              {invoker.Result{Protocol: true}, []api.LogLine{}},
		"output that is unknown": {invoker.Result{Protocol: true, Truncated: true}, nil},
		"no answer of another":   {invoker.Result{}, nil},
		"failure of another":     {invoker.Result{Lines: []protocol.Line{line(1, nil)}}, want(0, nil)},
		"success of another": {invoker.Result{FinishedAt: at, Body: []byte("a\r\nb\xff")},
			[]api.LogLine{{Stream: api.Stdout, Time: at, Text: "a"}, {Stream: api.Stdout, Time: at, Text: "b\uFFFD"}}},
		"a mark": {invoker.Result{Protocol: true,
			Lines: []protocol.Line{line(3, &protocol.Omitted{Stdout: 1, Stderr: 2})}},
			want(3, &api.OmittedLines{Stdout: 1, Stderr: 2})},
		// Marks that cannot be stay lines.
		"a mark of nothing": {invoker.Result{Protocol: true, Lines: []protocol.Line{line(3, &protocol.Omitted{})}},
			want(3, nil)},
		"a mark of too much": {invoker.Result{Protocol: true,
			Lines: []protocol.Line{line(3, &protocol.Omitted{Stdout: 2, Stderr: 2})}}, want(3, nil)},
		"a mark of less": {invoker.Result{Protocol: true,
			Lines: []protocol.Line{line(3, &protocol.Omitted{Stdout: -1, Stderr: 2})}}, want(3, nil)},
		"a mark beyond bound": {invoker.Result{Protocol: true,
			Lines: []protocol.Line{line(3, &protocol.Omitted{Stdout: math.MaxInt, Stderr: math.MaxInt})}}, want(3, nil)},
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

// TestLogsBeforeNumbers has lines as they were stored before they had numbers.
func TestLogsBeforeNumbers(t *testing.T) {
	s := play(t, printing{total: 3, head: 1, tail: 1, arrived: everything})
	_, err := s.db.SQL().ExecContext(t.Context(), `UPDATE runs SET
		output = '[{"Time":"2026-11-23T12:00:00Z","Stream":"stdout","Text":"old"},{"Time":"2026-11-23T12:00:00Z","Stream":"stderr","Text":"[azf-handler: 5 lines are left out here]"}]'`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.shown(t, api.LogOptions{Stdout: true, Stderr: true, Tail: -1}); err != nil || got != "old [5]" ||
		s.logs.queries != nil {
		t.Errorf("got %q, %v, asked %+v", got, err, s.logs.queries)
	}
}

func TestLogsWhenLogAnalyticsFails(t *testing.T) {
	all := api.LogOptions{Stdout: true, Stderr: true, Tail: -1}
	lost := printing{total: 4, err: errors.New("cut"), arrived: everything}
	short := printing{total: 2}
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
			f.unread = fmt.Errorf("outputs: %w",
				workspace.ErrNoWorkspace)
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
	if _, err := f.ContainerLogs(t.Context(), "web",
		api.LogOptions{Tail: -1, Timestamps: true}); api.KindOf(err) != api.InvalidParameter {
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
		{api.LogLine{Stream: api.Stderr}, false, false, "\x02\x00\x00\x00\x00\x00\x00\x01\n"},
		{api.LogLine{Time: at, Stream: api.Stderr, Text: "err"}, true, true, "2026-11-23T12:00:00.000001000Z err\n"},
	} {
		var out bytes.Buffer
		if writeLine(&out, row.line, row.timestamps, row.tty); out.String() != row.want {
			t.Errorf("got %q, want %q", &out, row.want)
		}
	}
}
