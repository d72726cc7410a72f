package handler

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// lines is the writer for one stream of a run. It splits the output into lines and long lines into pieces, prints these
// and captures them.
type lines struct {
	runs   *runs
	run    *runState
	id     string
	stream string
	rest   []byte // of a line that has not ended, what is not emitted yet
	piece  int    // the number of the piece that rest continues; 0 if rest begins a line
}

func (r *runs) newLines(rn *runState, id, stream string) *lines {
	return &lines{runs: r, run: rn, id: id, stream: stream}
}

// Write never fails, so that a command never gets a broken pipe.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	rest := l.rest
	for {
		if i := bytes.IndexByte(rest, '\n'); i >= 0 && i <= protocol.MaxPiece {
			l.emit(rest[:i], "")
			rest = rest[i+1:]
		} else if len(rest) > protocol.MaxPiece {
			n := cut(rest)
			l.emit(rest[:n], protocol.EndsWithMore)
			rest = rest[n:]
		} else {
			break
		}
	}
	l.rest = append(l.rest[:0], rest...)
	return len(p), nil
}

// cut returns the index at which to split a line that is longer than a piece. The index is between two characters,
// unless the bytes are not valid UTF-8.
func cut(line []byte) int {
	for n := protocol.MaxPiece; n > protocol.MaxPiece-utf8.UTFMax; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return protocol.MaxPiece
}

// flush emits the last line when it had no line feed.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.emit(l.rest, protocol.EndsWithout)
		l.rest = l.rest[:0]
	}
}

func (l *lines) emit(content []byte, ending string) {
	line := protocol.Line{Stream: l.stream, Continues: l.piece, Ending: ending}
	line.SetContent(content)
	l.run.mu.Lock()
	// Under the lock, so that the times have the order of the numbers.
	line.Time = time.Now().UTC().Truncate(100 * time.Nanosecond)
	line = l.run.output.Add(line)
	l.run.mu.Unlock()
	l.piece = 0
	if ending == protocol.EndsWithMore {
		l.piece = line.Seq
	}
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
