package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// logMargin widens the window of a query of Log Analytics: the host's clock stamps a line when it flushes the line.
const logMargin = 5 * time.Minute

// ContainerLogs implements api.Backend. The first source is the output in the answers to the runs. Log Analytics has
// the lines that the answers lack.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opts api.LogOptions) (io.ReadCloser, error) {
	if !opts.Stdout && !opts.Stderr {
		return nil, api.Errorf(api.InvalidParameter, "Bad parameters: you must choose at least one stream")
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return nil, err
	}
	f, err := e.follower(ctx, c, opts)
	if err != nil {
		return nil, err
	}
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// lines returns the lines that opts selects of runs of a container, which are in the order of their starts.
func (e *Engine) lines(
	ctx context.Context, c store.Container, runs []string, opts api.LogOptions,
) ([]api.LogLine, error) {
	parts, q, err := e.captured(ctx, c, runs, opts)
	if err != nil {
		return nil, err
	}
	var found []logs.Line
	if len(q.Runs) > 0 {
		if found, err = e.archived(ctx, q); err != nil {
			refused := e.refused(ctx, "read the logs of container "+c.Name, c, err)
			captured := slices.ContainsFunc(parts, func(p part) bool { return len(p.lines) > 0 })
			if ctx.Err() != nil || !captured {
				return nil, refused
			}
			e.cfg.Log.Warn().Str("container_id", c.ID).Err(refused).AnErr("cause", refused.Err).
				Msg("cannot read Log Analytics: the answer has captured output only")
		}
	}
	var out []api.LogLine
	for _, p := range slices.Backward(parts) {
		// If Log Analytics returned as many lines as the tail allows, the first run among them may have more.
		cut := q.Tail > 0 && logs.Begun(found) >= q.Tail && found[0].RunID == p.run
		out = append(out, p.merged(linesOf(found, p.run), opts, cut)...)
	}
	return last(out, opts.Tail), nil
}

// last returns the last n lines, or all if n is negative.
func last(lines []api.LogLine, n int) []api.LogLine {
	if n < 0 {
		return lines
	}
	return lines[max(0, len(lines)-n):]
}

// captured returns the captured lines of each run, the newest run first, and the query for the lines that they lack. It
// goes back as far as opts.Tail needs. A query without runs means that nothing is lacking.
func (e *Engine) captured(
	ctx context.Context, c store.Container, ids []string, opts api.LogOptions,
) (parts []part, q logs.Query, err error) {
	q = logs.Query{App: c.FunctionApp, Stdout: opts.Stdout, Stderr: opts.Stderr, Since: opts.Since, Until: opts.Until}
	var next time.Time // the start of the run after this one
	have := 0
	for i := len(ids) - 1; i >= 0 && (opts.Tail < 0 || have < opts.Tail); i-- {
		run, err := e.cfg.Store.Run(ctx, ids[i])
		if err != nil {
			return nil, q, err
		}
		p := selectLines(run, opts)
		wanted := opts.Tail - have - p.behind()
		if asked, ok := p.lacks(run, opts); ok && (opts.Tail < 0 || wanted > 0) {
			asked.From, asked.To = e.window(run, next)
			if i == 0 {
				asked.From = asked.From.Add(-logMargin)
			}
			if len(q.Runs) == 0 && opts.Tail > 0 {
				q.Tail = wanted // older runs add at most as much
			}
			q.Runs = append(q.Runs, asked)
		} else if p.gap != nil {
			p.gap.passed = true
		}
		have += begun(p.lines)
		parts, next = append(parts, p), run.Started
	}
	slices.Reverse(q.Runs)
	return parts, q, nil
}

// window returns the time in which a run's lines were logged. next is the start of the run after it, zero if there is
// none.
func (e *Engine) window(run store.Run, next time.Time) (from, to time.Time) {
	to = e.cfg.Store.Now()
	if !run.Finished.IsZero() {
		to = run.Finished
	}
	to = to.Add(logMargin)
	if !next.IsZero() && next.Before(to) {
		to = next
	}
	if to.Before(run.Started) { // clocks differ
		to = run.Started
	}
	return run.Started, to
}

// archived returns the lines that Log Analytics has. Without a Log Analytics workspace there are none.
func (e *Engine) archived(ctx context.Context, q logs.Query) ([]logs.Line, error) {
	id, err := e.logAnalytics(ctx)
	if err != nil || id == "" {
		return nil, err
	}
	q.WorkspaceID = id
	return e.cfg.Logs.Lines(ctx, q)
}

// logAnalytics returns the customer id of the Log Analytics workspace, or "" while there is none. It changes nothing in
// Azure.
func (e *Engine) logAnalytics(ctx context.Context) (string, error) {
	if id := e.logAnalyticsID.Load(); id != nil {
		return *id, nil
	}
	shared, err := e.cfg.Workspaces.FoundationOutputs(ctx)
	if errors.Is(err, workspace.ErrNoWorkspace) || err == nil && shared.LogAnalyticsID == "" {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the Log Analytics workspace: %w", err)
	}
	e.logAnalyticsID.Store(&shared.LogAnalyticsID)
	return shared.LogAnalyticsID, nil
}

// linesOf returns the lines of one run.
func linesOf(found []logs.Line, run string) []api.LogLine {
	var out []api.LogLine
	for _, l := range found {
		if l.RunID == run {
			out = append(out, api.LogLine{
				Time: l.Time, Stream: l.Stream, Text: l.Text, Seq: l.Seq, Continues: l.Continues, Ending: l.Ending,
			})
		}
	}
	return out
}

// Stream numbers in Docker's frames.
const (
	frameStdout = 1
	frameStderr = 2
)

// timestamp is Docker's form of a time: RFC 3339 with all nine digits, so that lines sort and align.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// writeLine writes a line as one frame: stream, three zero bytes, length as 32 bits big-endian, content. For a terminal
// it writes the content alone.
func writeLine(w *bytes.Buffer, line api.LogLine, timestamps, tty bool) {
	text := line.Text
	if line.Ending == "" {
		text += "\n"
	}
	if timestamps {
		text = line.Time.UTC().Format(timestamp) + " " + text
	}
	if !tty {
		header := [8]byte{0: frameStdout}
		if line.Stream == api.Stderr {
			header[0] = frameStderr
		}
		binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
		w.Write(header[:])
	}
	w.WriteString(text)
}
