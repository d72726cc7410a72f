package engine

import (
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// brokenLine stands in a long line for pieces that are missing.
const brokenLine = "[azf: a part of this line is missing]"

// begun returns the number of lines that begin among pieces.
func begun(pieces []api.LogLine) (n int) {
	for _, p := range pieces {
		if p.Continues == 0 {
			n++
		}
	}
	return n
}

// joined returns lines made of pieces, which are in order. A line has time and number of its first piece, its Text is
// the content, byte for byte, and the lines are in the order in which they begin. A line that goes on after the last
// piece has the ending EndsWithMore.
//
// Pieces are joined only where none is missing between them. Otherwise each part is a line of its own and says so,
// unless opts.Since leaves out the beginning. What continues a piece below the number from is dropped.
func joined(pieces []api.LogLine, opts api.LogOptions, from int) []api.LogLine {
	var lines []api.LogLine
	more := map[int][]string{} // what follows the first piece, by the index of the line
	streams := map[string]*openLine{}
	for _, p := range pieces {
		if p.Omitted != nil {
			lines = append(lines, p)
			continue
		}
		open, begun := streams[p.Stream]
		if !begun {
			open = &openLine{dropped: true}
			streams[p.Stream] = open
		}
		continues := p.Continues != 0 && p.Continues == open.last
		content := p.Text
		if len(p.Bytes) > 0 {
			content = string(p.Bytes)
		}
		if !continues && open.last != 0 && !open.dropped {
			more[open.line], lines[open.line].Ending = append(more[open.line], brokenLine), ""
		}
		switch {
		case continues && !open.dropped:
			more[open.line], lines[open.line].Ending = append(more[open.line], content), p.Ending
		case continues:
		case 0 < p.Continues && p.Continues < from:
			open.dropped = true
		default:
			if p.Continues != 0 && (begun || opts.Since.IsZero()) {
				content = brokenLine + content
			}
			open.line, open.dropped = len(lines), false
			p.Text, p.Bytes, p.Continues = content, nil, 0
			lines = append(lines, p)
		}
		open.last = 0
		if p.Ending == protocol.EndsWithMore {
			open.last = p.Seq
		}
	}
	for i, texts := range more {
		lines[i].Text += strings.Join(texts, "")
	}
	return lines
}

// openLine is the last line of a stream.
type openLine struct {
	line    int // its index
	dropped bool
	last    int // the number of its last piece, 0 if the line has ended
}
