package sink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/audit"
)

// memory is a Source.
type memory struct {
	mu      sync.Mutex
	lines   []audit.Line
	cursors map[string]int64
	more    chan struct{}
	broken  bool // no cursor moves
}

func newMemory(n int) *memory {
	m := &memory{cursors: map[string]int64{}, more: make(chan struct{})}
	m.add(n)
	return m
}

func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		seq := int64(len(m.lines) + 1)
		at := time.Date(2026, 11, 27, 12, 0, 0, int(seq)*1000, time.UTC)
		m.lines = append(m.lines, audit.Line{Seq: seq, Time: at, Line: fmt.Appendf(nil, `{"seq":%d}`, seq)})
	}
	close(m.more)
	m.more = make(chan struct{})
}

func (m *memory) AuditAfter(_ context.Context, seq int64, limit int) ([]audit.Line, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := m.lines[min(seq, int64(len(m.lines))):]
	return rest[:min(len(rest), limit)], nil
}

func (m *memory) AuditCursor(_ context.Context, sink string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[sink], nil
}

func (m *memory) MoveAuditCursor(_ context.Context, sink string, seq int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errors.New("the database has gone")
	}
	m.cursors[sink] = max(m.cursors[sink], seq)
	return nil
}

// fail decides whether cursors can be moved.
func (m *memory) fail(broken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = broken
}

// cursor returns the cursor of the only sink.
func (m *memory) cursor() (seq int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seq = range m.cursors {
		break
	}
	return seq
}

func (m *memory) WatchAudit() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.more
}

// deliver delivers to a sink until stop is called or the test ends. Its clock lets each delay pass at once.
func deliver(t *testing.T, url string, m *memory) (s *Sink, stop func()) {
	t.Helper()
	sinks, err := Open(url, "home")
	if err != nil || len(sinks) != 1 {
		t.Fatalf("%v, %v", sinks, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	at := make(chan time.Time)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			select {
			case at <- time.Time{}:
			case <-ctx.Done():
			}
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		sinks[0].Deliver(ctx, m, func(d time.Duration) <-chan time.Time {
			if d < firstDelay || d > maxDelay {
				t.Errorf("a delay of %v", d)
			}
			return at
		}, zerolog.Nop())
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-ended
			<-done
			if err := sinks[0].Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return sinks[0], stop
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// numbers returns lines with these numbers.
func numbers(from, to int) string {
	var text strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&text, "{\"seq\":%d}\n", n)
	}
	return text.String()
}

func TestCheck(t *testing.T) {
	for list, fine := range map[string]bool{
		"journald": true, "file:///a, journald": true, "syslog+tls://logs": true, "syslog+tls://[::1]:6514?ca=/x": true,
		"file://a": false, "file:///a?x=1": false, "syslog://logs": false, "syslog+tls://": false, "": false,
		"journald,": false, "syslog+tls://logs/x": false, "syslog+tls://logs?cert=/c": false,
		"journald, journald": false, "syslog+tls://me:secret@logs": false, "syslog+tls://logs?ca=ca.pem": false,
		"syslog+tls://logs?ca=/a&ca=/b": false, "syslog+tls://logs?cert=/c&key=/k": true,
	} {
		if err := Check(list); (err == nil) != fine {
			t.Errorf("%q: %v", list, err)
		}
	}
	if sinks, err := Open("", "home"); len(sinks) != 0 || err != nil {
		t.Errorf("got %v, %v", sinks, err)
	}
}
