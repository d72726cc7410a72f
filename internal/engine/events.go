package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/filters"
)

// eventBatch is the number of events that are read at once.
const eventBatch = 100

// SystemEvents implements api.Backend. The stream ends at opts.Until, when ctx ends, and when the daemon stops.
func (e *Engine) SystemEvents(ctx context.Context, opts api.EventsOptions) (io.ReadCloser, error) {
	match, err := filters.Events(opts.Filters)
	if err != nil {
		return nil, err
	}
	s := &eventStream{engine: e, opts: opts, match: match}
	if opts.Since.IsZero() && opts.Until.IsZero() {
		if s.seq, err = e.cfg.Store.LastEvent(ctx); err != nil {
			return nil, err
		}
	}
	s.next = func() error { return s.fill(ctx) }
	return s, nil
}

// eventStream turns events into JSON lines as they are read. It holds no resources.
type eventStream struct {
	engine *Engine
	opts   api.EventsOptions
	match  func(api.Event) bool
	seq    int64 // the sequence number of the last event that was read
	lines  bytes.Buffer
	ended  bool // the last event is after opts.Until
	next   func() error
}

// Read blocks until there is an event, or the stream ends.
func (s *eventStream) Read(p []byte) (int, error) {
	for s.lines.Len() == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	return s.lines.Read(p)
}

// Close does nothing: a blocked Read ends with its context.
func (s *eventStream) Close() error { return nil }

// fill appends further events to lines, or waits until there may be some. It returns io.EOF at the end of the stream.
func (s *eventStream) fill(ctx context.Context) error {
	if s.ended {
		return io.EOF
	}
	changed := s.engine.cfg.Store.WatchAll()
	list, err := s.engine.cfg.Store.EventsAfter(ctx, s.seq, s.opts.Since, eventBatch)
	if ctx.Err() != nil {
		return io.EOF
	}
	if err != nil {
		return err
	}
	for _, event := range list {
		if event.Action == api.EventDie && s.match(event.Event) {
			if s.lines.Len() > 0 {
				return nil // the events before it do not wait
			}
			s.engine.flushed(ctx, event.Actor.ID, time.Unix(0, event.TimeNano)) // clients end at this event
		}
		s.seq = event.Seq
		if !s.opts.Until.IsZero() && event.TimeNano > s.opts.Until.UnixNano() {
			s.ended = true // Read still returns the events of this batch before it
			return nil
		}
		if s.match(event.Event) {
			if err := json.NewEncoder(&s.lines).Encode(event.Event); err != nil {
				return err
			}
		}
	}
	if len(list) > 0 {
		return nil
	}
	var ended <-chan time.Time
	if !s.opts.Until.IsZero() {
		left := s.opts.Until.Sub(s.engine.cfg.Store.Now())
		if left <= 0 {
			return io.EOF
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		ended = timer.C
	}
	select {
	case <-changed:
		return nil
	case <-ended:
		return nil // read the events until now once more
	case <-ctx.Done():
	case <-s.engine.stopping:
	}
	return io.EOF
}
