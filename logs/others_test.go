package logs

import (
	"slices"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

func TestLinesOfOtherHandlers(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	quiet := trace(at(2), 0, "of no severity")
	delete(quiet, "SeverityLevel")
	r := reader(t, store(
		trace(at(-2), 1, "of the run before"),
		trace(at(3), 3, "fourth"),
		trace(at(0), 1, "first"),
		trace(at(4), 2, "fifth: a warning"),
		trace(at(1), 1, `{"level":"info","run":"a"}`), quiet,
		trace(at(2), 1, printed("run-0", 1, protocol.Stdout, "of azf-handler")),
		trace(at(6), 1, "of no run"),
		trace(at(8), 1, "of the next run"),
		trace(at(10), 1, "of the run after"),
	))
	one := []Line{
		{RunID: "run-1", Time: at(0), Stream: Stdout, Text: "first"},
		{RunID: "run-1", Time: at(1), Stream: Stdout, Text: `{"level":"info","run":"a"}`},
		{RunID: "run-1", Time: at(2), Stream: Stdout, Text: "of no severity"},
		{RunID: "run-1", Time: at(3), Stream: Stderr, Text: "fourth"},
		{RunID: "run-1", Time: at(4), Stream: Stderr, Text: "fifth: a warning"},
	}
	two := append(slices.Clone(one), Line{RunID: "run-2", Time: at(8), Stream: Stdout, Text: "of the next run"})
	q := query("run-1").with(func(q *Query) { q.Runs[0].To = at(4) })
	next := Run{ID: "run-2", From: at(7), To: at(9)}
	check(t, r, q, one)
	check(t, r, q.with(func(q *Query) { q.Tail = 2 }), one[3:])
	check(t, r, q.with(func(q *Query) { q.Tail, q.Stderr = 2, false }), one[1:3])
	check(t, r, q.with(func(q *Query) { q.Stdout = false }), one[3:])
	check(t, r, q.with(func(q *Query) { q.Since, q.Until = at(1), at(3) }), one[1:4])
	check(t, r, q.with(func(q *Query) { q.Runs = append(q.Runs, next) }), two)
	check(t, r, q.with(func(q *Query) { q.Runs, q.Tail = append(q.Runs, next), 2 }), two[4:])
	// Only a run of azf-handler has numbers.
	check(t, r, q.with(func(q *Query) {
		q.Runs = append(q.Runs, next)
		q.Runs[0].First, q.Runs[0].Last = 5, 6
	}), two[5:])
}
