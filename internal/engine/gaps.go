package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
)

// part holds the selected lines that the answer to a run has. Long lines are in pieces.
type part struct {
	run   string
	lines []api.LogLine
	gap   *gap // the omitted lines among them; nil if there are none
	ended bool // the run has ended
}

// gap is a place in an answer where azf-handler omitted lines.
type gap struct {
	at          int // the index in part.lines
	mark        api.LogLine
	first, last int // the numbers of the omitted lines, over both streams
	lines       int // the number of omitted lines of the selected streams
	// A bound of time lies within the gap, so that it does not select all of the lines.
	lateSince, earlyUntil bool
	// The tail ends behind the gap, so that its lines are not wanted.
	passed bool
}

// selectLines returns the lines that opts selects from the answer to a run.
func selectLines(run store.Run, opts api.LogOptions) part {
	p := part{run: run.ID, ended: !run.Finished.IsZero()}
	var before time.Time // the time of the line before
	for _, l := range run.Output {
		if l.Omitted != nil {
			p.gap = gapOf(l, len(p.lines), before, opts)
		} else if selected(l, opts) {
			p.lines = append(p.lines, l)
		}
		before = l.Time
	}
	return p
}

// selected reports whether opts selects a line.
func selected(l api.LogLine, opts api.LogOptions) bool {
	switch {
	case l.Stream == api.Stdout && !opts.Stdout, l.Stream == api.Stderr && !opts.Stderr:
		return false
	}
	return (opts.Since.IsZero() || !l.Time.Before(opts.Since)) && (opts.Until.IsZero() || !l.Time.After(opts.Until))
}

// gapOf returns the gap that a mark stands for, or nil if opts cannot select any of its lines. The omitted lines are
// later than the line before the mark and earlier than the mark.
func gapOf(mark api.LogLine, at int, before time.Time, opts api.LogOptions) *gap {
	g := &gap{
		at: at, mark: mark, first: mark.Seq - mark.Omitted.Stdout - mark.Omitted.Stderr + 1, last: mark.Seq,
		lateSince:  !opts.Since.IsZero() && before.Before(opts.Since),
		earlyUntil: !opts.Until.IsZero() && mark.Time.After(opts.Until),
	}
	if opts.Stdout {
		g.lines += mark.Omitted.Stdout
	}
	if opts.Stderr {
		g.lines += mark.Omitted.Stderr
	}
	if g.lines == 0 || mark.Time.Before(opts.Since) || g.earlyUntil && before.After(opts.Until) {
		return nil
	}
	return g
}

// behind returns the number of lines that begin behind the gap.
func (p part) behind() int {
	if p.gap == nil {
		return 0
	}
	return begun(p.lines[p.gap.at:])
}

// lacks returns what to ask Log Analytics for. ok reports whether Log Analytics can have more of the run.
func (p part) lacks(run store.Run, opts api.LogOptions) (asked logs.Run, ok bool) {
	asked.ID = run.ID
	switch {
	case p.gap != nil:
		asked.First, asked.Last = p.gap.first, p.gap.last
		return asked, true
	case run.Output != nil || run.Sent.IsZero(), // a run that was not sent printed nothing
		!opts.Until.IsZero() && opts.Until.Add(logMargin).Before(run.Started),
		!opts.Since.IsZero() && !run.Finished.IsZero() && run.Finished.Add(logMargin).Before(opts.Since):
		return asked, false
	}
	return asked, true
}

// merged returns the lines of p together with those that Log Analytics has, each in one piece. A mark remains for the
// lines of a gap that are still missing. cut means that there may be more lines before the first of found.
func (p part) merged(found []api.LogLine, opts api.LogOptions, cut bool) []api.LogLine {
	from := 0
	if cut {
		from = found[0].Seq
	}
	if p.gap == nil {
		// A run without an answer has no lines but those of Log Analytics.
		return p.joined(append(p.lines, found...), opts, from)
	}
	found = slices.DeleteFunc(found, func(l api.LogLine) bool { return l.Seq < p.gap.first || l.Seq > p.gap.last })
	out := append(slices.Clone(p.lines[:p.gap.at]), found...)
	if n := p.gap.missing(found, opts, cut); n > 0 && opts.Stderr {
		mark := p.gap.mark
		mark.Text = fmt.Sprintf(protocol.OmittedText, n)
		out = append(out, mark)
	}
	if p.gap.passed {
		from = p.gap.last + 1
	}
	return p.joined(append(out, p.lines[p.gap.at:]...), opts, from)
}

// joined joins pieces, of which those below the number from are not all there. A line that goes on after the last piece
// is broken if the run has ended.
func (p part) joined(pieces []api.LogLine, opts api.LogOptions, from int) []api.LogLine {
	lines := joined(pieces, opts, from)
	for i := range lines {
		if lines[i].Ending == protocol.EndsWithMore && p.ended && opts.Until.IsZero() {
			lines[i].Text, lines[i].Ending = lines[i].Text+brokenLine, ""
		}
	}
	return lines
}

// missing returns the number of omitted lines that are not in found, or 0 if it is not known.
func (g gap) missing(found []api.LogLine, opts api.LogOptions, cut bool) int {
	cut = cut || g.lateSince
	if len(found) == 0 || !cut && !g.earlyUntil {
		return g.lines - len(found)
	}
	if !opts.Stdout || !opts.Stderr {
		return 0 // a line's number counts both streams, so it does not show how many are of one stream
	}
	first, last := g.first, g.last
	if cut {
		first = found[0].Seq
	}
	if g.earlyUntil {
		last = found[len(found)-1].Seq
	}
	return last - first + 1 - len(found)
}
