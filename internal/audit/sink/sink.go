// Package sink sends the records of the audit trail off: to a file, to a syslog server over TLS, to journald. Each
// record arrives at least once, and in order; after a failure some arrive twice. It must not know where the records are
// kept.
package sink

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/audit"
)

// Source is where the records are. A cursor is the number of the last record that a sink has.
type Source interface {
	AuditAfter(ctx context.Context, seq int64, limit int) ([]audit.Line, error)
	AuditCursor(ctx context.Context, sink string) (int64, error)
	MoveAuditCursor(ctx context.Context, sink string, seq int64) error
	// WatchAudit returns a channel that is closed when there may be more records.
	WatchAudit() <-chan struct{}
}

// transport takes records. After an error of send, it is used again.
type transport interface {
	send(ctx context.Context, lines []audit.Line) error
	// unsure is the number of records that a failure may have lost although send took them.
	unsure() int64
	close() error
}

// Sink is one place to which records are sent.
type Sink struct {
	name      string // of the cursor
	transport transport
	problem   atomic.Pointer[string]
}

const (
	// batch bounds the records between two moves of the cursor.
	batch = 100
	// firstDelay doubles up to maxDelay after each failure.
	firstDelay, maxDelay = time.Second, time.Minute
)

// Check returns an error unless a list of URLs, with commas between them, is one that Open takes. It opens nothing.
func Check(list string) error {
	_, err := open(list, "")
	return err
}

// Open returns the sinks of a list of URLs. home is the id of the state folder: what is on this machine has a cursor of
// its own for each. It connects to nothing. The caller calls Close of each.
func Open(list, home string) ([]*Sink, error) {
	if list == "" {
		return nil, nil
	}
	return open(list, home)
}

func open(list, home string) (sinks []*Sink, err error) {
	seen := map[string]bool{}
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		t, local, err := parse(text)
		if err != nil {
			return nil, err
		}
		if seen[text] {
			return nil, fmt.Errorf("%q is there twice: name each sink once", text)
		}
		seen[text] = true
		s := &Sink{name: text, transport: t}
		if local {
			s.name += " " + home
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}

func parse(text string) (t transport, local bool, err error) {
	const forms = "use file:///path, syslog+tls://host:port or journald"
	if text == "journald" {
		return journald{}, true, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("%q: %s", text, forms)
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/") && u.RawQuery == "":
		return &file{path: u.Path}, true, nil
	case u.Scheme == "syslog+tls" && u.Hostname() != "":
		t, err := newSyslog(u)
		return t, false, err
	}
	return nil, false, fmt.Errorf("%q: %s", text, forms)
}

// Problem returns why the last attempt to send failed, "" when it did not.
func (s *Sink) Problem() string {
	if p := s.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Close releases the sink. Deliver must have ended.
func (s *Sink) Close() error { return s.transport.close() }

// Deliver sends records until ctx ends. A failure is logged once, and sending goes on. after is a clock's: time.After.
func (s *Sink) Deliver(
	ctx context.Context, source Source, after func(time.Duration) <-chan time.Time, log zerolog.Logger,
) {
	log = log.With().Str("audit_sink", s.name).Logger()
	delay, rewind := firstDelay, s.transport.unsure()
	for {
		more := source.WatchAudit()
		err := s.drain(ctx, source, rewind)
		if ctx.Err() != nil {
			return
		}
		rewind = 0
		wait := maxDelay
		if err != nil {
			if s.Problem() == "" {
				log.Error().Err(err).Msg("cannot send audit records: they are sent when it is possible again")
			}
			text := fmt.Sprintf("audit records cannot be sent to %s: %v", s.name, err)
			s.problem.Store(&text)
			wait, rewind, more = delay, s.transport.unsure(), nil
			delay = min(2*delay, maxDelay)
		} else {
			if s.problem.Swap(nil) != nil {
				log.Info().Msg("audit records are sent again")
			}
			delay = firstDelay
		}
		select {
		case <-more:
		case <-after(wait):
		case <-ctx.Done():
			return
		}
	}
}

// drain sends what is there. It begins rewind records before the cursor.
func (s *Sink) drain(ctx context.Context, source Source, rewind int64) error {
	seq, err := source.AuditCursor(ctx, s.name)
	if err != nil {
		return err
	}
	for seq = max(0, seq-rewind); ; {
		lines, err := source.AuditAfter(ctx, seq, batch)
		if err != nil || len(lines) == 0 {
			return err
		}
		if err := s.transport.send(ctx, lines); err != nil {
			return err
		}
		seq = lines[len(lines)-1].Seq
		if err := source.MoveAuditCursor(ctx, s.name, seq); err != nil {
			return err
		}
	}
}

var errClosed = errors.New("the server has closed the connection")
