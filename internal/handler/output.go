package handler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// maxLine is where a longer line is cut in two: Application Insights takes at most 32 KiB in one message, JSON and escapes included.
const maxLine = 4 << 10

// lines is the writer behind one stream of a run: it cuts lines, prints and captures them.
type lines struct {
	runs   *runs
	run    *runState
	id     string
	stream string
	part   []byte // of a line that has not ended
}

func (r *runs) newLines(rn *runState, id, stream string) *lines {
	return &lines{runs: r, run: rn, id: id, stream: stream}
}

// Write never fails, so that a command never gets a broken pipe.
func (l *lines) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	rest := l.part
	for {
		if i := bytes.IndexByte(rest, '\n'); i >= 0 && i <= maxLine {
			l.emit(rest[:i])
			rest = rest[i+1:]
		} else if len(rest) > maxLine {
			n := cut(rest)
			l.emit(rest[:n])
			rest = rest[n:]
		} else {
			break
		}
	}
	l.part = append(l.part[:0], rest...)
	return len(p), nil
}

// cut is where a line that is longer than maxLine is cut: not within a character, unless the bytes are no UTF-8.
func cut(line []byte) int {
	for n := maxLine; n > maxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return maxLine
}

// flush ends a last line that had no line feed.
func (l *lines) flush() {
	if len(l.part) > 0 {
		l.emit(l.part)
		l.part = l.part[:0]
	}
}

func (l *lines) emit(text []byte) {
	line := protocol.Line{Stream: l.stream, Text: strings.ToValidUTF8(strings.TrimSuffix(string(text), "\r"), "\uFFFD")}
	l.run.mu.Lock()
	line.Time = time.Now().UTC().Truncate(100 * time.Nanosecond) // here, so that times are in the order of the numbers
	line = l.run.output.add(line)
	l.run.mu.Unlock()
	line.RunID = l.id
	l.runs.print(line)
}

// print prints a line for Application Insights.
func (r *runs) print(line protocol.Line) {
	content, err := json.Marshal(line)
	if err != nil {
		return // strings and numbers always encode
	}
	w := r.out
	if line.Stream == protocol.Stderr {
		w = r.errs
	}
	r.printMu.Lock()
	defer r.printMu.Unlock()
	_, _ = io.WriteString(w, string(content)+"\n") // the host has gone; the captured line stays
}

// capture keeps the head and the tail of a run's output within a limit.
type capture struct {
	limit    int // of head and tail each, in bytes of text
	seq      int
	head     []protocol.Line
	headSize int
	tail     []protocol.Line
	tailSize int
	dropped  protocol.Omitted
}

func newCapture(limit int) capture { return capture{limit: limit / 2} }

// lineOverhead is what a line costs beside its text, so that many empty lines are bounded too.
const lineOverhead = 16

// add numbers a line, keeps it, and returns it.
func (c *capture) add(line protocol.Line) protocol.Line {
	c.seq++
	line.Seq = c.seq
	size := len(line.Text) + lineOverhead
	if len(c.tail) == 0 && c.dropped == (protocol.Omitted{}) && c.headSize+size <= c.limit {
		c.head, c.headSize = append(c.head, line), c.headSize+size
		return line
	}
	c.tail, c.tailSize = append(c.tail, line), c.tailSize+size
	for len(c.tail) > 0 && c.tailSize > c.limit {
		c.tailSize -= len(c.tail[0].Text) + lineOverhead
		if c.tail[0].Stream == protocol.Stdout {
			c.dropped.Stdout++
		} else {
			c.dropped.Stderr++
		}
		c.tail = c.tail[1:]
	}
	return line
}

// lines are head and tail, with a line between that says how many are missing.
func (c *capture) lines() ([]protocol.Line, bool) {
	dropped := c.dropped
	if dropped == (protocol.Omitted{}) {
		return append(c.head[:len(c.head):len(c.head)], c.tail...), false
	}
	mark := protocol.Line{Stream: protocol.Stderr, Omitted: &dropped, Text: fmt.Sprintf(protocol.OmittedText, dropped.Stdout+dropped.Stderr)}
	if len(c.tail) > 0 {
		mark.Seq, mark.Time = c.tail[0].Seq-1, c.tail[0].Time
	} else {
		mark.Seq, mark.Time = c.seq, time.Now().UTC()
	}
	return append(append(c.head[:len(c.head):len(c.head)], mark), c.tail...), true
}
