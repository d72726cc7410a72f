package logs

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// handlerLines holds lines of azf-handler: three runs of 200 lines each, stored in random order, among other rows.
type handlerLines struct {
	reader *Reader
	want   map[string][]Line
	// answered counts the rows that the service has answered.
	answered int
}

func lineAt(seq int) time.Time { return noon.Add(time.Duration(seq) * time.Millisecond) }

func newHandlerLines(t *testing.T) *handlerLines {
	t.Helper()
	h := &handlerLines{want: map[string][]Line{}}
	random := rand.New(rand.NewPCG(1, 2)) // the same order in every run
	var rows []map[string]any
	for _, run := range []string{"run-9", "run-2", "run-1"} {
		for seq := 1; seq <= 200; seq++ {
			l := Line{RunID: run, Time: lineAt(seq), Stream: Stdout, Seq: seq}
			l.Text = fmt.Sprintf("line %d \"quoted\" \\ {}", seq)
			stream, severity := protocol.Stdout, 1
			if seq%3 == 0 {
				l.Stream, stream, severity = Stderr, protocol.Stderr, 3
			}
			h.want[run] = append(h.want[run], l)
			// The host logs in the background, so neither the time nor the order of its rows is that of the lines.
			logged := noon.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			rows = append(rows, trace(logged, severity, printed(run, seq, stream, l.Text)))
			if seq%5 == 0 { // Application Insights may deliver a row more than once
				rows = append(rows, trace(logged.Add(time.Millisecond), severity, printed(run, seq, stream, l.Text)))
			}
		}
	}
	for _, text := range notLines {
		rows = append(rows, trace(noon, 1, text))
	}
	other := trace(noon, 1, printed("run-2", 1, protocol.Stdout, "of another app"))
	other["AppRoleName"] = "skls-other"
	host := trace(noon, 1, printed("run-2", 1, protocol.Stdout, "of the host"))
	host["Properties"] = map[string]any{"Category": "Host.Startup"}
	rows = append(rows, other, host)
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	h.reader = reader(t, h.count(store(rows...)))
	return h
}

// notLines are printed by azf-handler's process, but are not valid lines of a run.
var notLines = []string{
	"azf-handler: listening",
	`{"run":"run-2","s":"out","seq":201,"m":"cut o`,
	`{"run":"run-2","s":"both","seq":202,"m":"no such stream"}`,
	`{"run":"run-2","s":"out","seq":0,"m":"no such number"}`,
}

// count passes requests to a service and counts the rows of its answers.
func (h *handlerLines) count(service http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		service.ServeHTTP(recorder, r)
		var body struct {
			Tables []struct{ Rows []json.RawMessage }
		}
		if err := json.Unmarshal(recorder.Body.Bytes(), &body); err == nil {
			for _, table := range body.Tables {
				h.answered += len(table.Rows)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	})
}

// of returns the lines of one stream.
func of(stream string, lines []Line) []Line {
	return slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return l.Stream != stream })
}

func TestLinesOfHandler(t *testing.T) {
	h := newHandlerLines(t)
	one, two := h.want["run-1"], h.want["run-2"]
	both := append(slices.Clone(two), one...) // run-2 was started first

	// numbers restricts the nth run to the lines 20 to 30.
	numbers := func(n int) func(*Query) {
		return func(q *Query) { q.Runs[n].First, q.Runs[n].Last = 20, 30 }
	}
	// window moves the window of the run.
	window := func(from, to time.Duration) func(*Query) {
		return func(q *Query) { q.Runs[0].From, q.Runs[0].To = noon.Add(from), noon.Add(to) }
	}
	unheard := append([]string{"run-2"}, slices.Repeat([]string{"x"}, 29)...)

	for name, c := range map[string]struct {
		q    Query
		want []Line
	}{
		"one run":        {query("run-2"), two},
		"two runs":       {query("run-2", "run-1"), both},
		"stdout":         {query("run-2").with(func(q *Query) { q.Stderr = false }), of(Stdout, two)},
		"stderr":         {query("run-2").with(func(q *Query) { q.Stdout = false }), of(Stderr, two)},
		"since":          {query("run-2").with(func(q *Query) { q.Since = lineAt(150) }), two[149:]},
		"since, a bit":   {query("run-2").with(func(q *Query) { q.Since = lineAt(150).Add(1) }), two[150:]},
		"until":          {query("run-2").with(func(q *Query) { q.Until = lineAt(150) }), two[:150]},
		"until, a bit":   {query("run-2").with(func(q *Query) { q.Until = lineAt(150).Add(-1) }), two[:149]},
		"tail":           {query("run-2", "run-1").with(func(q *Query) { q.Tail = 7 }), both[393:]},
		"tail over runs": {query("run-2", "run-1").with(func(q *Query) { q.Tail = 207 }), both[193:]},
		"tail of stderr": {query("run-2").with(func(q *Query) { q.Tail, q.Stdout = 5, false }), of(Stderr, two)[61:]},
		"long tail":      {query("run-2").with(func(q *Query) { q.Tail = 1000 }), two},
		"tail of a past": {
			query("run-2").with(func(q *Query) { q.Tail, q.Since, q.Until = 2, lineAt(10), lineAt(20) }), two[18:20],
		},
		"numbers": {query("run-2").with(numbers(0)), two[19:30]},
		"numbers of one of two": {
			query("run-2", "run-1").with(numbers(1)), append(slices.Clone(two), one[19:30]...),
		},
		"tail of numbers":        {query("run-2").with(numbers(0)).with(func(q *Query) { q.Tail = 1 }), two[29:30]},
		"clocks differ":          {query("run-2").with(window(4*time.Minute, 5*time.Minute)), two},
		"another time":           {query("run-2").with(window(time.Hour, time.Hour)), nil},
		"numbers of unknown run": {query("run-3").with(numbers(0)), nil},
		"of an unknown workspace": {
			query("run-2").with(func(q *Query) { q.WorkspaceID = "22222222-2222-3333-4444-555555555555" }), nil,
		},
		"run id that is not a word": {query("run-2", `x"]), "" or true //`), two},
		"thirty runs, most unheard": {query(unheard...), two},
	} {
		t.Run(name, func(t *testing.T) {
			h.answered = 0
			check(t, h.reader, c.q, c.want)
			if h.answered != len(c.want) {
				t.Errorf("%d rows were answered for %d lines", h.answered, len(c.want))
			}
		})
	}
}

// TestLinesOfUnknownRun asks for a run that has printed nothing: the only lines in its window belong to no run.
func TestLinesOfUnknownRun(t *testing.T) {
	h := newHandlerLines(t)
	var want []Line
	for _, text := range notLines {
		want = append(want, Line{RunID: "run-3", Time: noon, Stream: Stdout, Text: text})
	}
	got, err := h.reader.Lines(t.Context(), query("run-3").with(func(q *Query) { q.Since = noon.Add(-1) }))
	byText := cmpopts.SortSlices(func(a, b Line) bool { return a.Text < b.Text }) // their order is not fixed
	if d := cmp.Diff(want, got, byText); err != nil || d != "" {
		t.Errorf("%v, lines (-want +got):\n%s", err, d)
	}
}
