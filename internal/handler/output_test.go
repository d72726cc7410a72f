package handler

import (
	"fmt"
	"strings"
	"testing"

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

func TestLongLinesAreCut(t *testing.T) {
	f := setup(t, `i=0; while [ $i -lt 3000 ]; do printf 'ä€'; i=$((i+1)); done; echo`)
	run := f.run(t, "r", 0)
	whole := ""
	for _, l := range run.Lines {
		if len(l.Text) > maxLine {
			t.Errorf("a line has %d bytes", len(l.Text))
		}
		whole += l.Text
	}
	if whole != strings.Repeat("ä€", 3000) || len(run.Lines) != 4 {
		t.Errorf("got %d bytes in %d lines", len(whole), len(run.Lines))
	}
}
