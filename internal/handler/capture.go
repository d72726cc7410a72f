package handler

import (
	"fmt"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// Capture keeps the head and the tail of a run's output. It is not safe for concurrent use.
type Capture struct {
	limit    int // of head and tail each, in bytes of content
	seq      int
	head     []protocol.Line
	headSize int
	tail     []protocol.Line
	tailSize int
	dropped  protocol.Omitted
}

// LineOverhead is the size of a line without its content. It bounds the number of empty lines too.
const LineOverhead = 16

// NewCapture returns a Capture that keeps lines of limit bytes, half of it at each end.
func NewCapture(limit int) Capture { return Capture{limit: limit / 2} }

// Add numbers a line, keeps it, and returns it with its number.
func (c *Capture) Add(line protocol.Line) protocol.Line {
	c.seq++
	line.Seq = c.seq
	size := sizeOf(line)
	if len(c.tail) == 0 && c.dropped == (protocol.Omitted{}) && c.headSize+size <= c.limit {
		c.head, c.headSize = append(c.head, line), c.headSize+size
		return line
	}
	c.tail, c.tailSize = append(c.tail, line), c.tailSize+size
	for len(c.tail) > 0 && c.tailSize > c.limit {
		c.tailSize -= sizeOf(c.tail[0])
		if c.tail[0].Stream == protocol.Stdout {
			c.dropped.Stdout++
		} else {
			c.dropped.Stderr++
		}
		c.tail = c.tail[1:]
	}
	return line
}

func sizeOf(line protocol.Line) int {
	if n := len(line.Bytes); n > 0 {
		return n + LineOverhead
	}
	return len(line.Text) + LineOverhead
}

// Lines returns head and tail, and reports whether lines are missing. In that case a line between them states how many.
func (c *Capture) Lines() (lines []protocol.Line, truncated bool) {
	dropped := c.dropped
	if dropped == (protocol.Omitted{}) {
		return append(c.head[:len(c.head):len(c.head)], c.tail...), false
	}
	text := fmt.Sprintf(protocol.OmittedText, dropped.Stdout+dropped.Stderr)
	mark := protocol.Line{Stream: protocol.Stderr, Omitted: &dropped, Text: text}
	if len(c.tail) > 0 {
		mark.Seq, mark.Time = c.tail[0].Seq-1, c.tail[0].Time
	} else {
		mark.Seq, mark.Time = c.seq, time.Now().UTC()
	}
	return append(append(c.head[:len(c.head):len(c.head)], mark), c.tail...), true
}
