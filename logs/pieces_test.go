package logs

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// pieces are two lines in pieces, one of each stream, between whole lines.
func pieces() (stored []map[string]any, want []Line) {
	add := func(stream, content string, continues int, ending string) {
		l := protocol.Line{RunID: "run-1", Seq: len(want) + 1, Stream: stream, Continues: continues, Ending: ending}
		l.Time = lineAt(l.Seq)
		l.SetContent([]byte(content))
		message, err := json.Marshal(l)
		if err != nil {
			panic(err)
		}
		stored = append(stored, trace(noon, 1, string(message)))
		read := Line{RunID: l.RunID, Seq: l.Seq, Time: l.Time, Stream: Stdout, Text: content}
		read.Continues, read.Ending = continues, ending
		if stream == protocol.Stderr {
			read.Stream = Stderr
		}
		want = append(want, read)
	}
	add(protocol.Stdout, "whole\r", 0, "")
	add(protocol.Stdout, "a\xff\x00\n", 0, protocol.EndsWithMore)
	add(protocol.Stderr, "b", 0, protocol.EndsWithMore)
	add(protocol.Stdout, "a\r", 2, protocol.EndsWithMore)
	add(protocol.Stderr, "\xe2\x82", 3, "")
	add(protocol.Stderr, "c", 0, "")
	add(protocol.Stdout, "é", 4, "")
	add(protocol.Stdout, "no line feed", 0, protocol.EndsWithout)
	slices.Reverse(stored)
	return stored, want
}

func TestPieces(t *testing.T) {
	stored, want := pieces()
	r := reader(t, store(stored...))
	q := query("run-1")
	check(t, r, q, want)
	for lines, first := range map[int]int{1: 8, 2: 6, 3: 3, 4: 2, 5: 1, 6: 1} {
		check(t, r, q.with(func(q *Query) { q.Tail = lines }), want[first-1:])
	}
	check(t, r, q.with(func(q *Query) { q.Tail, q.Stdout = 2, false }), of(Stderr, want))
	check(t, r, q.with(func(q *Query) { q.Tail, q.Stderr = 2, false }), of(Stdout, want[1:]))
	check(t, r, q.with(func(q *Query) { q.Since, q.Until = lineAt(4), lineAt(6) }), want[3:6])
	if got := Begun(want); got != 5 {
		t.Errorf("%d lines begin", got)
	}
}

// TestCutMessages has lines that reach the limit of Application Insights: of a handler that prints azf-handler's form,
// and plain ones.
func TestCutMessages(t *testing.T) {
	for _, escape := range []string{"x", `\`, "\x01", "é", "\U0001F600"} {
		content := strings.Repeat("y", 100) + strings.Repeat(escape, maxMessage)
		r := reader(t, store(trace(noon, 1, printed("run-1", 1, protocol.Stdout, content)),
			trace(noon, 1, printed("run-1", 2, protocol.Stdout, "next"))))
		lines, err := r.Lines(t.Context(), query("run-1"))
		if err != nil || len(lines) != 2 {
			t.Errorf("%q: got %d lines, %v", escape, len(lines), err)
			continue
		}
		cut := lines[0]
		text, marked := strings.CutSuffix(cut.Text, CutText)
		text = strings.TrimRight(text, "\uFFFD") // half a pair
		if !marked || !strings.HasPrefix(content, text) || len(text) < 5000 || cut.Seq != 1 || cut.Ending != "" ||
			!cut.Time.Equal(lineAt(1)) {
			t.Errorf("%q: got %d bytes, marked %v, %+.0v", escape, len(text), marked, cut)
		}
	}
	whole := strings.Repeat("x", maxMessage-1)
	r := reader(t, store(trace(noon, 1, whole), trace(noon.Add(1), 1, whole+"xx"), trace(noon, 1, "{"+whole)))
	check(t, r, query("run-1"), []Line{
		{RunID: "run-1", Time: noon, Stream: Stdout, Text: whole},
		{RunID: "run-1", Time: noon, Stream: Stdout, Text: whole + "x" + CutText},
		{RunID: "run-1", Time: noon, Stream: Stdout, Text: "{" + whole + CutText},
	})
}

// TestLinesOfOneTick asks for lines that have the same time, while the service returns rows in another order each time.
func TestLinesOfOneTick(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	texts := strings.Fields("a b c d d e f g")
	at := noon.Add(time.Millisecond)
	want := []Line{{RunID: "run-1", Time: noon, Stream: Stdout, Text: "z"}}
	for _, stream := range []string{Stderr, Stdout} {
		for _, text := range texts {
			want = append(want, Line{RunID: "run-1", Time: at, Stream: stream, Text: text})
		}
	}
	for range 5 {
		rows := []map[string]any{trace(noon, 1, "z")}
		for _, text := range texts {
			rows = append(rows, trace(at, 1, text), trace(at, 3, text))
		}
		random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		r := reader(t, store(rows...))
		check(t, r, query("run-1"), want)
		for n := 1; n <= len(want); n++ {
			check(t, r, query("run-1").with(func(q *Query) { q.Tail = n }), want[len(want)-n:])
		}
	}
}

// TestLinesOfOneTickAreInOneQuery has runs that start at the same time, more than one query can name.
func TestLinesOfOneTickAreInOneQuery(t *testing.T) {
	q := query(slices.Repeat([]string{"run-1"}, 2*maxRuns+1)...)
	r := reader(t, store(trace(noon, 1, "b"), trace(noon, 1, "a"), trace(noon.Add(time.Second), 1, "c")))
	check(t, r, q, []Line{
		{RunID: "run-1", Time: noon, Stream: Stdout, Text: "a"},
		{RunID: "run-1", Time: noon, Stream: Stdout, Text: "b"},
		{RunID: "run-1", Time: noon.Add(time.Second), Stream: Stdout, Text: "c"},
	})
}
