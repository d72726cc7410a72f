package engine

import (
	"errors"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// logsCase is a container's runs, what is asked of their logs, and the answer.
type logsCase struct {
	runs []printing
	opts api.LogOptions
	// since and until are numbers of lines of the last run. Their times are the bounds; 0 means no bound.
	since, until int
	want         string
	// asked is the tail of the query to Log Analytics; 0 means all lines, none means no query.
	asked int
}

const none = -1

// Options of the cases.
var (
	all    = api.LogOptions{Stdout: true, Stderr: true, Tail: -1}
	stdout = api.LogOptions{Stdout: true, Tail: -1}
	stderr = api.LogOptions{Stderr: true, Tail: -1}
)

func tail(n int) api.LogOptions { return api.LogOptions{Stdout: true, Stderr: true, Tail: n} }

// Runs of the cases.
var (
	short   = printing{total: 2, arrived: everything}
	lost    = printing{total: 4, err: errors.New("cut")}
	running = printing{total: 3, running: true}
	long    = printing{total: 12, head: 2, tail: 3} // 3 to 9 are omitted, three of them on stderr
)

// with returns a run of which some lines arrived in Log Analytics.
func with(p printing, arrived func(int) bool) printing { p.arrived = arrived; return p }

// checkLogs plays the runs of each case and compares the lines and the query to Log Analytics.
func checkLogs(t *testing.T, cases map[string]logsCase) {
	t.Helper()
	for name, row := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
				if q.WorkspaceID != "workspace" || q.App != s.app || q.Stdout != row.opts.Stdout ||
					q.Stderr != row.opts.Stderr || !q.Since.Equal(row.opts.Since) || !q.Until.Equal(row.opts.Until) {
					t.Errorf("asked %+v", q)
				}
			}
			if row.asked == none && asked != nil || row.asked != none && (len(asked) != 1 || asked[0] != row.asked) {
				t.Errorf("Log Analytics was asked for tails %v, want %d", asked, row.asked)
			}
		})
	}
}

func TestCapturedLogs(t *testing.T) {
	four := []printing{{total: 4}}
	checkLogs(t, map[string]logsCase{
		"one run":   {runs: []printing{short}, opts: all, want: "1:1 1:2", asked: none},
		"no output": {runs: []printing{{}}, opts: all, want: "", asked: none},
		"all runs":  {runs: []printing{short, short, short}, opts: all, want: "1:1 1:2 2:1 2:2 3:1 3:2", asked: none},
		"tail over runs": {
			runs: []printing{short, short, short}, opts: tail(3), want: "2:2 3:1 3:2", asked: none,
		},
		"tail 0": {runs: []printing{lost}, opts: tail(0), want: "", asked: none},
		"since":  {runs: []printing{short, short}, opts: all, since: 2, want: "2:2", asked: none},
		"until":  {runs: []printing{short, short}, opts: all, until: 1, want: "1:1 1:2 2:1", asked: none},
		"since and until": {
			runs: []printing{short, {total: 5}}, opts: all, since: 2, until: 4, want: "2:2 2:3 2:4", asked: none,
		},
		"stdout": {runs: four, opts: stdout, want: "1:1 1:2 1:4", asked: none},
		"stderr": {runs: four, opts: stderr, want: "1:3", asked: none},
		"streams before tail": {
			runs: []printing{{total: 7}}, opts: api.LogOptions{Stderr: true, Tail: 1}, want: "1:6", asked: none,
		},
		"old lines not needed": {runs: []printing{lost, short}, opts: tail(2), want: "2:1 2:2", asked: none},
		"old lines half needed": {
			runs: []printing{with(lost, everything), short}, opts: tail(3), want: "1:4 2:1 2:2", asked: 1,
		},
	})
}

func TestLogsWithOmittedLines(t *testing.T) {
	missing, arrived := []printing{long}, []printing{with(long, everything)}
	checkLogs(t, map[string]logsCase{
		"nothing arrived": {runs: missing, opts: all, want: "1:1 1:2 [7] 1:10 1:11 1:12"},
		"all arrived":     {runs: arrived, opts: all, want: "1:1 1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 1:10 1:11 1:12"},
		"the first arrived": {
			runs: []printing{with(long, between(1, 5))}, opts: all, want: "1:1 1:2 1:3 1:4 1:5 [4] 1:10 1:11 1:12",
		},
		"the last arrived": {
			runs: []printing{with(long, between(8, 12))}, opts: all, want: "1:1 1:2 1:8 1:9 [5] 1:10 1:11 1:12",
		},
		"stdout, arrived": {runs: arrived, opts: stdout, want: "1:1 1:2 1:4 1:5 1:7 1:8 1:10 1:11"},
		"stdout, missing": {runs: missing, opts: stdout, want: "1:1 1:2 1:10 1:11"},
		"stderr, arrived": {runs: arrived, opts: stderr, want: "1:3 1:6 1:9 1:12"},
		"stderr, in part": {
			runs: []printing{with(long, between(1, 6))}, opts: stderr, want: "1:3 1:6 [1] 1:12",
		},
		"none of them on stderr": {
			runs: []printing{with(printing{total: 6, head: 3, tail: 1}, between(9, 9))}, opts: stderr,
			want: "1:3 1:6", asked: none,
		},
		"of two runs": {
			runs: []printing{with(long, everything), with(long, between(9, 9))}, opts: tail(9),
			want: "1:11 1:12 2:1 2:2 2:9 [6] 2:10 2:11 2:12", asked: 6,
		},
	})
}

func TestTailsOfOmittedLines(t *testing.T) {
	missing, arrived := []printing{long}, []printing{with(long, everything)}
	checkLogs(t, map[string]logsCase{
		"behind":        {runs: missing, opts: tail(3), want: "1:10 1:11 1:12", asked: none},
		"into":          {runs: arrived, opts: tail(5), want: "1:8 1:9 1:10 1:11 1:12", asked: 2},
		"into, missing": {runs: missing, opts: tail(5), want: "1:2 [7] 1:10 1:11 1:12", asked: 2},
		"into, late": {
			runs: []printing{with(long, between(1, 6))}, opts: tail(6), want: "1:5 1:6 [3] 1:10 1:11 1:12", asked: 3,
		},
		"beyond": {
			runs: arrived, opts: tail(11), want: "1:2 1:3 1:4 1:5 1:6 1:7 1:8 1:9 1:10 1:11 1:12", asked: 8,
		},
		"of stderr": {runs: arrived, opts: api.LogOptions{Stderr: true, Tail: 2}, want: "1:9 1:12", asked: 1},
	})
}

func TestTimeBoundsOfOmittedLines(t *testing.T) {
	missing, arrived := []printing{long}, []printing{with(long, everything)}
	checkLogs(t, map[string]logsCase{
		"since behind": {runs: missing, opts: all, since: 11, want: "1:11 1:12", asked: none},
		"since within": {runs: arrived, opts: all, since: 8, want: "1:8 1:9 1:10 1:11 1:12"},
		"since within, late": {
			runs: []printing{with(long, between(1, 8))}, opts: all, since: 7, want: "1:7 1:8 [1] 1:10 1:11 1:12",
		},
		"until before":  {runs: missing, opts: all, until: 1, want: "1:1", asked: none},
		"until within":  {runs: arrived, opts: all, until: 4, want: "1:1 1:2 1:3 1:4"},
		"stderr within": {runs: arrived, opts: stderr, since: 5, until: 8, want: "1:6"},
	})
}

func TestLogsOfRunsWithoutAnAnswer(t *testing.T) {
	arrived := []printing{with(lost, everything)}
	checkLogs(t, map[string]logsCase{
		"lost":               {runs: arrived, opts: all, want: "1:1 1:2 1:3 1:4"},
		"lost, none arrived": {runs: []printing{lost}, opts: all, want: ""},
		"lost, stderr":       {runs: arrived, opts: stderr, want: "1:3"},
		"lost, tail":         {runs: arrived, opts: tail(2), want: "1:3 1:4", asked: 2},
		"lost, since":        {runs: arrived, opts: all, since: 3, want: "1:3 1:4"},
		"lost between others": {
			runs: []printing{short, with(lost, everything), short}, opts: all, want: "1:1 1:2 2:1 2:2 2:3 2:4 3:1 3:2",
		},
		"running": {
			runs: []printing{short, with(running, between(1, 2))}, opts: all, want: "1:1 1:2 2:1 2:2",
		},
		"running, tail": {
			runs: []printing{short, with(running, everything)}, opts: tail(4), want: "1:2 2:1 2:2 2:3", asked: 4,
		},
		"running, nothing arrived": {runs: []printing{short, running}, opts: all, want: "1:1 1:2"},
	})
}
