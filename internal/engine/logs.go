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

// logMargin widens the window in which Log Analytics is asked: its times are the host's, and lines are stamped as they are flushed.
const logMargin = 5 * time.Minute

// ContainerLogs implements api.Backend. The runs' own answers are the first source; Log Analytics is asked for what they lack.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, opts api.LogOptions) (io.ReadCloser, error) {
	if !opts.Stdout && !opts.Stderr {
		return nil, api.Errorf(api.InvalidParameter, "Bad parameters: you must choose at least one stream")
	}
	c, err := e.cfg.Store.Container(ctx, ref)
	if err != nil {
		return nil, err
	}
	lines, err := e.lines(ctx, c, opts)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, line := range lines {
		writeLine(&out, line, opts.Timestamps, c.Config.Tty)
	}
	return io.NopCloser(&out), nil
}

// lines are the lines of all of a container's runs that opts selects.
func (e *Engine) lines(ctx context.Context, c store.Container, opts api.LogOptions) ([]api.LogLine, error) {
	parts, q, err := e.captured(ctx, c, opts)
	if err != nil {
		return nil, err
	}
	var found []logs.Line
	if len(q.Runs) > 0 {
		if found, err = e.archived(ctx, q); err != nil {
			refused := e.refused(ctx, "read the logs of container "+c.Name, c, err)
			if ctx.Err() != nil || !slices.ContainsFunc(parts, func(p part) bool { return len(p.lines) > 0 }) {
				return nil, refused
			}
			e.cfg.Log.Warn().Str("container_id", c.ID).Err(refused).AnErr("cause", refused.Err).Msg("Log Analytics cannot be read, and only captured output is answered")
		}
	}
	var out []api.LogLine
	for _, p := range slices.Backward(parts) {
		// Of the run that is the first in an answer as long as was asked for, there may be more.
		cut := q.Tail > 0 && len(found) >= q.Tail && found[0].RunID == p.run
		out = append(out, p.merged(linesOf(found, p.run), opts, cut)...)
	}
	if opts.Tail >= 0 {
		out = out[max(0, len(out)-opts.Tail):]
	}
	return out, nil
}

// captured are the lines that runs have brought back, the newest run first, and what to ask Log Analytics for besides; no run in the
// query is nothing. It goes back as far as opts.Tail needs, and has Log Analytics asked only where captured lines do not do.
func (e *Engine) captured(ctx context.Context, c store.Container, opts api.LogOptions) (parts []part, q logs.Query, err error) {
	ids, err := e.cfg.Store.RunIDs(ctx, c.ID)
	if err != nil {
		return nil, q, err
	}
	q = logs.Query{App: c.FunctionApp, Stdout: opts.Stdout, Stderr: opts.Stderr, Since: opts.Since, Until: opts.Until}
	var next time.Time // when the run after began
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
				q.Tail = wanted // older runs need no more
			}
			q.Runs = append(q.Runs, asked)
		}
		have += len(p.lines)
		parts, next = append(parts, p), run.Started
	}
	slices.Reverse(q.Runs)
	return parts, q, nil
}

// window is the time in which a run's lines were logged; next is when the run after began, zero for none.
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

// archived asks Log Analytics; there is nothing in it while it does not exist.
func (e *Engine) archived(ctx context.Context, q logs.Query) ([]logs.Line, error) {
	id, err := e.logAnalytics(ctx)
	if err != nil || id == "" {
		return nil, err
	}
	q.WorkspaceID = id
	return e.cfg.Logs.Lines(ctx, q)
}

// logAnalytics is the customer id of the Log Analytics workspace, empty while there is none. It changes nothing in Azure.
func (e *Engine) logAnalytics(ctx context.Context) (string, error) {
	if id := e.logAnalyticsID.Load(); id != nil {
		return *id, nil
	}
	made, err := e.cfg.Workspaces.FoundationOutputs(ctx)
	if errors.Is(err, workspace.ErrNoWorkspace) || err == nil && made.LogAnalyticsID == "" {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the log analytics workspace: %w", err)
	}
	e.logAnalyticsID.Store(&made.LogAnalyticsID)
	return made.LogAnalyticsID, nil
}

func linesOf(found []logs.Line, run string) []api.LogLine {
	var out []api.LogLine
	for _, l := range found {
		if l.RunID == run {
			out = append(out, api.LogLine{Time: l.Time, Stream: l.Stream, Text: l.Text, Seq: l.Seq})
		}
	}
	return out
}

// Stream numbers in Docker's frames.
const (
	frameStdout = 1
	frameStderr = 2
)

// timestamp is Docker's form: RFC 3339 with all nine digits, so that lines sort and align.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// writeLine writes a line as one frame: stream, three zero bytes, length as 32 bits big-endian, content. With a terminal there are no frames.
func writeLine(w *bytes.Buffer, line api.LogLine, timestamps, tty bool) {
	text := line.Text + "\n"
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
