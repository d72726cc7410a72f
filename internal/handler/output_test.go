package handler

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

func TestCapture(t *testing.T) {
	// 1000 lines of 10 bytes; 2000 bytes hold about 38 at each end.
	f := setup(t, "i=0; while [ $i -lt 1000 ]; do printf '%010d\n' $i; i=$((i+1)); done", "AZF_OUTPUT_LIMIT=2000")
	run := f.run(t, "r", 0)
	if !run.Truncated || run.Lines[0].Text != "0000000000" || run.Lines[len(run.Lines)-1].Text != "0000000999" {
		t.Fatalf("got %q, truncated %v", shown(run.Lines), run.Truncated)
	}
	size, marks := 0, 0
	for i, l := range run.Lines {
		size += len(l.Text)
		if i > 0 && l.Seq <= run.Lines[i-1].Seq {
			t.Errorf("line %d has seq %d after %d", i, l.Seq, run.Lines[i-1].Seq)
		}
		if l.Omitted == nil {
			continue
		}
		marks++
		left := 1000 - len(run.Lines) + 1
		text := fmt.Sprintf("[azf-handler: %d lines are left out here]", left)
		if *l.Omitted != (protocol.Omitted{Stdout: left}) || l.Text != text ||
			l.Seq != run.Lines[i+1].Seq-1 || l.Seq-left != run.Lines[i-1].Seq || !l.Time.Equal(run.Lines[i+1].Time) {
			t.Errorf("got %+v for %d lines, between %+v and %+v", l, left, run.Lines[i-1], run.Lines[i+1])
		}
	}
	if size > 2100 || marks != 1 {
		t.Errorf("kept %d bytes with %d marks", size, marks)
	}
	if printed := f.out.lines(t); len(printed) != 1000 {
		t.Errorf("printed %d lines, want all", len(printed))
	}
}

// TestOutputIsKept writes what commands may print, in writes of several sizes, and joins it again.
func TestOutputIsKept(t *testing.T) {
	random := make([]byte, 20_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	long := strings.Repeat("x", protocol.MaxPiece)
	for name, output := range map[string]string{
		"nothing": "", "a line": "a\n", "no line feed": "a\nb", "empty lines": "\n\na\n", "carriage returns": "a\r\nb\rc\r",
		"a piece": long + "\n", "a piece without line feed": long, "a piece and a byte": long + "x\n",
		"pieces": strings.Repeat(long, 3) + "\n", "characters": strings.Repeat("ä€\U0001F600", 3000) + "\nö",
		"one that is not valid": strings.Repeat("ä", 5000) + "\xff" + strings.Repeat("ä", 5000) + "\n",
		"continuations":         strings.Repeat("\x80", 10_000), "NUL": strings.Repeat("\x00", 9000),
		"anything": string(random),
	} {
		for _, size := range []int{1, 1000, protocol.MaxPiece, 1 << 20} {
			var out buffer
			r := newRuns(config{}, &out, &out)
			l := r.newLines(&runState{output: NewCapture(1 << 20)}, "r", protocol.Stdout)
			for chunk := range slices.Chunk([]byte(output), size) {
				if n, err := l.Write(chunk); n != len(chunk) || err != nil {
					t.Fatal(n, err)
				}
			}
			l.flush()
			captured, _ := l.run.output.Lines()
			for kind, lines := range map[string][]protocol.Line{"captured": captured, "printed": out.all(t)} {
				if got := together(t, lines); got != output {
					t.Errorf("%s, in writes of %d bytes, %s: got %d bytes, want %d", name, size, kind, len(got), len(output))
				}
			}
		}
	}
}

// together returns the output that lines of one stream describe.
func together(t *testing.T, lines []protocol.Line) string {
	t.Helper()
	var b strings.Builder
	piece := 0
	for _, l := range lines {
		if l.Continues != piece || len(l.Content()) > protocol.MaxPiece {
			t.Errorf("line %d of %d bytes continues %d, want %d", l.Seq, len(l.Content()), l.Continues, piece)
		}
		if len(l.Bytes) > 0 == utf8.Valid(l.Bytes) || !utf8.ValidString(l.Text) {
			t.Errorf("line %d has %d bytes and the text %.20q", l.Seq, len(l.Bytes), l.Text)
		}
		b.WriteString(l.Content())
		piece = 0
		switch l.Ending {
		case protocol.EndsWithMore:
			piece = l.Seq
		case "":
			b.WriteByte('\n')
		case protocol.EndsWithout:
		default:
			t.Errorf("line %d has the ending %q", l.Seq, l.Ending)
		}
	}
	return b.String()
}

// TestStreamsDoNotMix expects that a piece continues one of its own stream.
func TestStreamsDoNotMix(t *testing.T) {
	r := newRuns(config{}, io.Discard, io.Discard)
	rn := &runState{output: NewCapture(1 << 20)}
	stdout, stderr := r.newLines(rn, "r", protocol.Stdout), r.newLines(rn, "r", protocol.Stderr)
	for range 4 {
		for l, text := range map[*lines]string{stdout: "o", stderr: "e"} {
			if _, err := io.WriteString(l, strings.Repeat(text, 3000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	stdout.flush()
	stderr.flush()
	captured, _ := rn.output.Lines()
	for stream, want := range map[string]string{protocol.Stdout: "o", protocol.Stderr: "e"} {
		own := slices.DeleteFunc(slices.Clone(captured), func(l protocol.Line) bool { return l.Stream != stream })
		if got := together(t, own); got != strings.Repeat(want, 12_000) {
			t.Errorf("%s: got %d bytes", stream, len(got))
		}
	}
}

// TestPrintedLinesFit prints the lines that have the longest JSON. Application Insights cuts a message at 32,768
// characters.
func TestPrintedLinesFit(t *testing.T) {
	for _, unit := range []string{"x", "\x00", "<", "\xff", "\x00\xff", "\u2028", "\U0001F600"} {
		var out buffer
		r := newRuns(config{}, &out, &out)
		l := r.newLines(&runState{output: NewCapture(1 << 20)}, strings.Repeat("r", 64), protocol.Stdout)
		output := strings.Repeat(unit, 3*protocol.MaxPiece) + strings.Repeat("\x00", 9000) + "\xff"
		if _, err := io.WriteString(l, output); err != nil {
			t.Fatal(err)
		}
		l.flush()
		for text := range strings.Lines(out.buf.String()) {
			if len(text) > 32_768 {
				t.Errorf("%q: printed %d bytes", unit, len(text))
			}
		}
	}
}
