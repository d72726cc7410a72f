package engine

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
)

// TestLogsOfLongLines has two lines in pieces on stdout: 2, 4, 5 and 8, 10, 11. Azf-handler omits 3 to 9.
func TestLogsOfLongLines(t *testing.T) {
	long := long
	long.pieces = map[int]int{4: 2, 5: 4, 10: 8, 11: 10}
	missing, arrived := []printing{long}, []printing{with(long, everything)}
	across := long
	across.pieces = map[int]int{11: 8} // 10 is between
	checkLogs(t, map[string]logsCase{
		"captured": {
			runs: []printing{{total: 6, pieces: long.pieces}}, opts: all, want: "1:1 1:2+1:4+1:5 1:3 1:6", asked: none,
		},
		"captured, tail": {
			runs: []printing{{total: 6, pieces: long.pieces}}, opts: tail(3), want: "1:2+1:4+1:5 1:3 1:6", asked: none,
		},
		"nothing arrived": {runs: missing, opts: all, want: "1:1 1:2+~ [7] ~+1:10+1:11 1:12"},
		"all arrived": {
			runs: arrived, opts: all, want: "1:1 1:2+1:4+1:5 1:3 1:6 1:7 1:8+1:10+1:11 1:9 1:12",
		},
		"stdout": {runs: arrived, opts: stdout, want: "1:1 1:2+1:4+1:5 1:7 1:8+1:10+1:11"},
		"stderr": {runs: arrived, opts: stderr, want: "1:3 1:6 1:9 1:12"},
		"the first arrived": {
			runs: []printing{with(long, between(1, 5))}, opts: all,
			want: "1:1 1:2+1:4+1:5 1:3 [4] ~+1:10+1:11 1:12",
		},
		"a gap in a line": {
			runs: []printing{with(long, between(5, 5))}, opts: all, want: "1:1 1:2+~ ~+1:5 [6] ~+1:10+1:11 1:12",
		},
		"tail behind":        {runs: missing, opts: tail(1), want: "1:12", asked: none},
		"tail behind, among": {runs: []printing{across}, opts: tail(2), want: "1:10 1:12", asked: none},
		"tail into":          {runs: arrived, opts: tail(2), want: "1:9 1:12", asked: 1},
		"tail of a line":     {runs: arrived, opts: tail(3), want: "1:8+1:10+1:11 1:9 1:12", asked: 2},
		"tail into, missing": {runs: missing, opts: tail(2), want: "~+1:10+1:11 1:12", asked: 1},
		"tail of stdout": {
			runs: arrived, opts: api.LogOptions{Stdout: true, Tail: 2}, want: "1:7 1:8+1:10+1:11", asked: 2,
		},
	})
	lost, running := printing{total: 4, err: errors.New("cut")}, printing{total: 4, running: true}
	lost.pieces = map[int]int{2: 1, 4: 2}
	running.pieces = lost.pieces
	checkLogs(t, map[string]logsCase{
		"lost":                    {runs: []printing{with(lost, everything)}, opts: all, want: "1:1+1:2+1:4 1:3"},
		"lost, without the first": {runs: []printing{with(lost, between(2, 4))}, opts: all, want: "~+1:2+1:4 1:3"},
		"lost, without the last":  {runs: []printing{with(lost, between(1, 3))}, opts: all, want: "1:1+1:2+~ 1:3"},
		"lost, since":             {runs: []printing{with(lost, everything)}, opts: all, since: 2, want: "1:2+1:4 1:3"},
		"lost, until":             {runs: []printing{with(lost, everything)}, opts: all, until: 2, want: "1:1+1:2"},
		"lost, tail":              {runs: []printing{with(lost, everything)}, opts: tail(1), want: "1:3", asked: 1},
		"running":                 {runs: []printing{with(running, between(1, 3))}, opts: all, want: "1:1+1:2 1:3"},
	})
}

// TestImpossiblePieces joins what no azf-handler sends.
func TestImpossiblePieces(t *testing.T) {
	piece := func(seq, continues int, ending string) api.LogLine {
		return api.LogLine{Stream: api.Stdout, Seq: seq, Continues: continues, Ending: ending, Text: "t"}
	}
	more := protocol.EndsWithMore
	for name, c := range map[string]struct {
		pieces []api.LogLine
		want   []string
	}{
		"itself":         {[]api.LogLine{piece(1, 1, "")}, []string{brokenLine + "t"}},
		"a later one":    {[]api.LogLine{piece(1, 2, ""), piece(2, 0, "")}, []string{brokenLine + "t", "t"}},
		"a negative one": {[]api.LogLine{piece(1, -1, "")}, []string{brokenLine + "t"}},
		"one that ended": {[]api.LogLine{piece(1, 0, ""), piece(2, 1, "")}, []string{"t", brokenLine + "t"}},
		"one twice": {
			[]api.LogLine{piece(1, 0, more), piece(2, 1, ""), piece(3, 1, "")}, []string{"tt", brokenLine + "t"},
		},
		"a line between":  {[]api.LogLine{piece(1, 0, more), piece(2, 0, "")}, []string{"t" + brokenLine, "t"}},
		"without numbers": {[]api.LogLine{piece(0, 0, more), piece(0, 0, more)}, []string{"t", "t"}},
	} {
		var got []string
		for _, l := range joined(c.pieces, all, 0) {
			got = append(got, l.Text)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// archive is a Log Analytics that has some lines of every run.
type archive struct {
	LogReader
	lines []logs.Line
}

func (a *archive) Lines(_ context.Context, q logs.Query) (out []logs.Line, err error) {
	for _, l := range a.lines {
		l.RunID, l.Stream = q.Runs[0].ID, api.Stdout
		if l.Seq%2 == 0 {
			l.Stream = api.Stderr
		}
		out = append(out, l)
	}
	return out, nil
}

// TestFollowWaitsForPieces follows a run whose lines arrive in pieces and out of order. Stdout has a line of the pieces
// 1, 3, 5 and the line 7, stderr has the line 2 and a line of 4, 6, 8.
func TestFollowWaitsForPieces(t *testing.T) {
	f := setup(t)
	arrived := &archive{}
	f.logs.LogReader = arrived
	f.workspaces.set(func() { f.workspaces.outputs = "workspace" })
	began, release := make(chan struct{}), make(chan struct{})
	more := protocol.EndsWithMore
	printed := []protocol.Line{
		{Seq: 1, Text: "a", Ending: more}, {Seq: 2, Text: "x"}, {Seq: 3, Text: "b", Continues: 1, Ending: more},
		{Seq: 4, Text: "y", Ending: more}, {Seq: 5, Text: "c", Continues: 3},
		{Seq: 6, Bytes: []byte("\xff"), Continues: 4, Ending: more}, {Seq: 7, Text: "d"},
		{Seq: 8, Text: "z", Continues: 6, Ending: protocol.EndsWithout},
	}
	f.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		close(began)
		select {
		case <-release:
		case <-ctx.Done():
			return invoker.Result{}, context.Cause(ctx)
		}
		res := invoker.Result{Protocol: true}
		for _, l := range printed {
			l.Stream = protocol.Stdout
			if l.Seq%2 == 0 {
				l.Stream = protocol.Stderr
			}
			res.Lines = append(res.Lines, l)
		}
		return res, nil
	}
	id := f.create(t, "web")
	f.run(t, id)
	<-began
	c, err := f.db.Container(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := f.follower(t.Context(), c, api.LogOptions{Stdout: true, Stderr: true, Follow: true, Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		arrive int // the piece that arrives
		want   []string
	}{
		{1, nil}, {2, nil}, {5, nil}, {3, nil}, {6, nil}, {4, []string{"abc", "x"}}, {7, nil},
	} {
		l := printed[step.arrive-1]
		arrived.lines = append(arrived.lines, logs.Line{
			Seq: l.Seq, Text: l.Content(), Continues: l.Continues, Ending: l.Ending,
		})
		var got []string
		for _, line := range stream.poll(t.Context()) {
			got = append(got, line.Text)
		}
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("piece %d (-want +got):\n%s", step.arrive, d)
		}
	}
	stream.fill = func() error { return stream.goOn(t.Context()) }
	close(release)
	content, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	if want := "\x02\x00\x00\x00\x00\x00\x00\x03y\xffz\x01\x00\x00\x00\x00\x00\x00\x02d\n"; string(content) != want {
		t.Errorf("got %q at the end, want %q", content, want)
	}
}
