package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
)

// logMargin widens the window in which Log Analytics is asked: its times are the host's, and lines are stamped as they are flushed.
const logMargin = 5 * time.Minute

// ContainerLogs implements api.Backend. A run's own answer is the first source; Log Analytics is asked when that is missing or incomplete.
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

// lines are the lines of a container's last run that opts selects.
func (e *Engine) lines(ctx context.Context, c store.Container, opts api.LogOptions) ([]api.LogLine, error) {
	run, ok, err := e.cfg.Store.LastRun(ctx, c.ID)
	if err != nil || !ok {
		return nil, err
	}
	lines := run.Output
	if lines == nil || run.Truncated {
		archived, err := e.archivedLines(ctx, c, run)
		if err != nil {
			return nil, e.refused(ctx, "read the logs of container "+c.Name, c, err)
		}
		// Rows arrive late: fewer lines than the answer brought are not the better source.
		if len(archived) > len(lines) {
			lines = archived
		}
	}
	return selectLines(lines, opts), nil
}

func (e *Engine) archivedLines(ctx context.Context, c store.Container, run store.Run) ([]api.LogLine, error) {
	shared, err := e.foundation(ctx)
	if err != nil {
		return nil, err
	}
	until := e.cfg.Store.Now()
	if !run.Finished.IsZero() {
		until = run.Finished
	}
	found, err := e.cfg.Logs.Lines(ctx, logs.Query{
		WorkspaceID: shared.LogAnalyticsID, App: c.FunctionApp, RunID: run.ID,
		From: run.Started.Add(-logMargin), To: until.Add(logMargin),
	})
	if err != nil {
		return nil, err
	}
	lines := make([]api.LogLine, len(found))
	for i, l := range found {
		lines[i] = api.LogLine{Time: l.Time, Stream: l.Stream, Text: l.Text}
	}
	return lines, nil
}

func selectLines(lines []api.LogLine, opts api.LogOptions) []api.LogLine {
	var out []api.LogLine
	for _, l := range lines {
		switch {
		case l.Stream == api.Stdout && !opts.Stdout, l.Stream == api.Stderr && !opts.Stderr:
		case !opts.Since.IsZero() && l.Time.Before(opts.Since), !opts.Until.IsZero() && l.Time.After(opts.Until):
		default:
			out = append(out, l)
		}
	}
	if opts.Tail >= 0 && len(out) > opts.Tail {
		out = out[len(out)-opts.Tail:]
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
