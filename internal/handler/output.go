package handler

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// maxLine is the longest line in bytes; a longer one is split. Application Insights accepts at most 32 KiB in one
// message, including JSON and escapes.
const maxLine = 4 << 10

// lines is the writer for one stream of a run. It splits the output into lines, prints them and captures them.
type lines struct {
	runs   *runs
	run    *runState
	id     string
	stream string
	part   []byte // the beginning of a line that has not ended
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

// cut returns the index at which to split a line that is longer than maxLine. The index is between two characters,
// unless the bytes are not valid UTF-8.
func cut(line []byte) int {
	for n := maxLine; n > maxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return maxLine
}

// flush emits the last line when it had no line feed.
func (l *lines) flush() {
	if len(l.part) > 0 {
		l.emit(l.part)
		l.part = l.part[:0]
	}
}

func (l *lines) emit(text []byte) {
	line := protocol.Line{
		Stream: l.stream, Text: strings.ToValidUTF8(strings.TrimSuffix(string(text), "\r"), "\uFFFD"),
	}
	l.run.mu.Lock()
	// Under the lock, so that the times have the order of the numbers.
	line.Time = time.Now().UTC().Truncate(100 * time.Nanosecond)
	line = l.run.output.Add(line)
	l.run.mu.Unlock()
	line.RunID = l.id
	l.runs.print(line)
}

// print prints a line for Application Insights.
func (r *runs) print(line protocol.Line) {
	content, err := json.Marshal(line)
	if err != nil {
		return // strings and numbers always have an encoding
	}
	w := r.out
	if line.Stream == protocol.Stderr {
		w = r.errs
	}
	r.printMu.Lock()
	defer r.printMu.Unlock()
	_, _ = io.WriteString(w, string(content)+"\n") // fails after the host has ended; the captured line stays
}
