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

// part is what a run's answer has of the lines that are selected.
type part struct {
	run   string
	lines []api.LogLine
	gap   *gap // where lines are missing among them, nil when none are
}

// gap is a place where lines were left out of an answer.
type gap struct {
	at          int // the place in part.lines
	mark        api.LogLine
	first, last int // the numbers of the lines, over both streams
	lines       int // how many of them are of the selected streams
	// Bounds of time begin or end within it, so that not all of the lines are selected.
	lateSince, earlyUntil bool
}

func selectLines(run store.Run, opts api.LogOptions) part {
	p := part{run: run.ID}
	var before time.Time // of the line before
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

func selected(l api.LogLine, opts api.LogOptions) bool {
	switch {
	case l.Stream == api.Stdout && !opts.Stdout, l.Stream == api.Stderr && !opts.Stderr:
		return false
	}
	return (opts.Since.IsZero() || !l.Time.Before(opts.Since)) && (opts.Until.IsZero() || !l.Time.After(opts.Until))
}

// gapOf is the gap that a mark stands for, or nil when none of its lines can be selected. The times of the lines lie between that of
// the line before and that of the mark.
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

// behind is how many lines it has behind what it lacks.
func (p part) behind() int {
	if p.gap == nil {
		return 0
	}
	return len(p.lines) - p.gap.at
}

// lacks tells what Log Analytics may have of a run besides; ok is false when that is nothing.
func (p part) lacks(run store.Run, opts api.LogOptions) (asked logs.Run, ok bool) {
	asked.ID = run.ID
	switch {
	case p.gap != nil:
		asked.First, asked.Last = p.gap.first, p.gap.last
		return asked, true
	case run.Output != nil || run.Sent.IsZero(), // a call that was not made printed nothing
		!opts.Until.IsZero() && opts.Until.Add(logMargin).Before(run.Started),
		!opts.Since.IsZero() && !run.Finished.IsZero() && run.Finished.Add(logMargin).Before(opts.Since):
		return asked, false
	}
	return asked, true
}

// merged is p with the lines that were found for it. A mark stays for those of a gap that are still missing. cut tells that more lines
// may be there, before the first.
func (p part) merged(found []api.LogLine, opts api.LogOptions, cut bool) []api.LogLine {
	if p.gap == nil {
		return append(p.lines, found...) // of a run without an answer all lines are found
	}
	found = slices.DeleteFunc(found, func(l api.LogLine) bool { return l.Seq < p.gap.first || l.Seq > p.gap.last })
	out := append(slices.Clone(p.lines[:p.gap.at]), found...)
	if n := p.gap.missing(found, opts, cut); n > 0 && opts.Stderr {
		mark := p.gap.mark
		mark.Text = fmt.Sprintf(protocol.OmittedText, n)
		out = append(out, mark)
	}
	return append(out, p.lines[p.gap.at:]...)
}

// missing is how many lines are missing beside those that were found, as far as that is known.
func (g gap) missing(found []api.LogLine, opts api.LogOptions, cut bool) int {
	cut = cut || g.lateSince
	if len(found) == 0 || !cut && !g.earlyUntil {
		return g.lines - len(found)
	}
	if !opts.Stdout || !opts.Stderr {
		return 0 // how many of the lines on this side of a bound are of one stream is not known
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
