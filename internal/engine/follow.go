package engine

import (
	"bytes"
	"context"
	"io"
	"slices"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/store"
)

// pollLines is the time between two queries of Log Analytics for the lines of a run under way. Log Analytics shows a
// line minutes after it was printed, so that asking more often would show nothing earlier.
const pollLines = 30 * time.Second

// follower is a stream of a container's lines. It begins with those that are known. Then it may go on with one run: it
// has the lines that Log Analytics gets while the run goes on, and at the run's end all others. It holds no resources.
type follower struct {
	engine    *Engine
	container store.Container
	opts      api.LogOptions
	earlier   []string // the runs with whose lines it begins
	started   int      // the number of runs that had started when it began
	// run is the run that it goes on with, "" for none. With awaited set, it is the next run that starts.
	run     string
	awaited bool
	next    int // the number of the run's first line that is not written yet
	frames  bytes.Buffer
	fill    func() error
	close   func()
}

// follower returns a stream of the lines that opts selects. The caller must call begin. With opts.Follow it goes on
// with the run under way, if there is one.
func (e *Engine) follower(ctx context.Context, c store.Container, opts api.LogOptions) (*follower, error) {
	runs, err := e.cfg.Store.RunIDs(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	f := &follower{engine: e, container: c, opts: opts, earlier: runs, started: len(runs), next: 1}
	if opts.Follow && c.State == store.Running && len(runs) > 0 {
		f.earlier, f.run = runs[:len(runs)-1], runs[len(runs)-1]
	}
	return f, nil
}

// begin writes the lines that are known. They must be there before the first Read, which cannot report an error to the
// client. The stream ends with ctx.
func (f *follower) begin(ctx context.Context) error {
	lines, err := f.engine.lines(ctx, f.container, f.earlier, f.opts)
	if err != nil {
		return err
	}
	if f.run != "" {
		lines = append(lines, f.poll(ctx)...)
	}
	f.write(last(lines, f.opts.Tail))
	f.fill = func() error { return f.goOn(ctx) }
	return nil
}

// Read blocks until there are further lines or the stream ends.
func (f *follower) Read(p []byte) (int, error) {
	for f.frames.Len() == 0 {
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
	return f.frames.Read(p)
}

// Write refuses what an attached client sends: the command's input is empty.
func (f *follower) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Close says that the client has all that it will get. A blocked Read ends with its context.
func (f *follower) Close() error {
	if f.close != nil {
		f.close()
	}
	return nil
}

func (f *follower) write(lines []api.LogLine) {
	for _, line := range lines {
		writeLine(&f.frames, line, f.opts.Timestamps, f.container.Config.Tty)
	}
}

// goOn writes further lines, or waits until there may be some.
func (f *follower) goOn(ctx context.Context) error {
	e := f.engine
	changed := e.cfg.Store.Watch(f.container.ID)
	ended, err := f.look(ctx)
	if err == nil && !ended && f.run == "" && !f.awaited {
		return io.EOF
	}
	again := e.lookAgain(err)
	switch {
	case api.KindOf(err) == api.NotFound:
		return io.EOF // the container is gone, and its output with it
	case err != nil && again == nil:
		return err
	case ended:
		return f.finish(ctx)
	}
	poll := again
	if again == nil && f.run != "" {
		poll = e.cfg.Clock.After(pollLines)
	}
	select {
	case <-changed:
		return nil
	case <-poll:
		if again == nil {
			f.write(f.poll(ctx))
		}
		return nil
	case <-ctx.Done():
	case <-e.stopping:
	}
	return io.EOF
}

// look reports whether the run has ended. It finds the awaited run.
func (f *follower) look(ctx context.Context) (ended bool, err error) {
	db := f.engine.cfg.Store
	if f.awaited {
		c, err := db.Container(ctx, f.container.ID)
		if err != nil {
			return false, err
		}
		runs, err := db.RunIDs(ctx, c.ID)
		switch {
		case err != nil:
			return false, err
		case len(runs) > f.started:
			f.run, f.awaited = runs[f.started], false
		case c.State == store.Removing || c.State == store.Dead:
			f.awaited = false // it will not start
		}
	}
	if f.run == "" {
		return false, nil
	}
	run, err := db.Run(ctx, f.run)
	return err == nil && !run.Finished.IsZero(), err
}

// finish writes the lines of the ended run that are not written yet. The stream ends behind them.
func (f *follower) finish(ctx context.Context) error {
	opts := f.opts
	opts.Tail = -1
	lines, err := f.engine.lines(ctx, f.container, []string{f.run}, opts)
	f.run = ""
	if api.KindOf(err) == api.NotFound {
		return io.EOF
	}
	if err != nil {
		return err
	}
	f.write(slices.DeleteFunc(lines, func(l api.LogLine) bool { return l.Seq > 0 && l.Seq < f.next }))
	return nil
}

// poll returns the wanted lines of the run under way that Log Analytics has by now and that are not written yet, up to
// the first that is missing or not whole: lines arrive there out of order, and clients get them in order. Lines that it
// cannot get come with the end of the run.
func (f *follower) poll(ctx context.Context) []api.LogLine {
	lines, err := f.engine.underWay(ctx, f.container, f.run)
	if err != nil {
		f.engine.cfg.Log.Debug().Err(err).Str("run_id", f.run).Msg("cannot read the lines of a run under way")
		return nil
	}
	slices.SortStableFunc(lines, func(a, b api.LogLine) int { return a.Seq - b.Seq })
	var arrived, wanted []api.LogLine
	next := 1
	for _, line := range lines {
		if line.Seq != next {
			continue // behind a gap, or not numbered
		}
		next++
		if selected(line, f.opts) {
			arrived = append(arrived, line)
		}
	}
	for _, line := range joined(arrived, f.opts, 0) {
		if line.Ending == protocol.EndsWithMore {
			next = line.Seq // the line is not whole yet
			break
		}
		if line.Seq >= f.next {
			wanted = append(wanted, line)
		}
	}
	f.next = max(f.next, next)
	return wanted
}

// underWay returns the lines of a run under way that Log Analytics has, of both streams: only these have no gaps in
// their numbers.
func (e *Engine) underWay(ctx context.Context, c store.Container, runID string) ([]api.LogLine, error) {
	run, err := e.cfg.Store.Run(ctx, runID)
	if err != nil || run.Sent.IsZero() {
		return nil, err // without a call nothing was printed
	}
	asked := logs.Run{ID: run.ID}
	asked.From, asked.To = e.window(run, time.Time{})
	found, err := e.archived(ctx, logs.Query{App: c.FunctionApp, Stdout: true, Stderr: true, Runs: []logs.Run{asked}})
	return linesOf(found, run.ID), err
}
