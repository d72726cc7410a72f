package sink

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// memory is a Source.
type memory struct {
	mu      sync.Mutex
	lines   []audit.Line
	cursors map[string]int64
	more    chan struct{}
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
	m.cursors[sink] = max(m.cursors[sink], seq)
	return nil
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

func TestFile(t *testing.T) {
	m, path := newMemory(250), filepath.Join(t.TempDir(), "trail.jsonl")
	// An earlier daemon was killed in the middle of a line.
	if err := os.WriteFile(path, []byte(`{"se`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := deliver(t, "file://"+path, m)
	whole := "{\"se\n" + numbers(1, 250)
	azuretest.Eventually(t, "all records", func() bool { return content(t, path) == whole })

	// The file is rotated.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	m.add(1)
	azuretest.Eventually(t, "the new file", func() bool { return content(t, path) == numbers(251, 251) })
	stop()
	if got := content(t, path+".1"); got != whole {
		t.Error("the rotated file has changed")
	}

	m.add(2)
	_, stop = deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "the records since the stop", func() bool { return content(t, path) == numbers(251, 253) })
	stop()
	if diff := cmp.Diff(map[string]int64{"file://" + path + " home": 253}, m.cursors); diff != "" {
		t.Error(diff)
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	m, path := newMemory(3), filepath.Join(dir, "trail.jsonl")
	s, _ := deliver(t, "file://"+path, m)
	azuretest.Eventually(t, "problem", func() bool { return strings.Contains(s.Problem(), "no such file") })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	azuretest.Eventually(t, "records", func() bool { return content(t, path) == numbers(1, 3) && s.Problem() == "" })

	full, _ := deliver(t, "file:///dev/full", newMemory(1))
	azuretest.Eventually(t, "full disk", func() bool { return strings.Contains(full.Problem(), "no space left") })
}

// server is a syslog server.
type server struct {
	net.Listener
	ca string // a file with its certificate

	mu    sync.Mutex
	got   []string // messages
	conns []net.Conn
}

func startServer(t *testing.T) *server {
	t.Helper()
	https := httptest.NewTLSServer(http.NotFoundHandler())
	defer https.Close()
	s := &server{ca: filepath.Join(t.TempDir(), "ca.pem")}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw})
	if err := os.WriteFile(s.ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	s.Listener, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

// serve reads frames: a length, a blank and a message.
func (s *server) serve(conn net.Conn) {
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	r := bufio.NewReader(conn)
	for {
		length, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSpace(length))
		if err != nil {
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil {
			return
		}
		s.mu.Lock()
		s.got = append(s.got, string(message))
		s.mu.Unlock()
	}
}

func (s *server) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.got...)
}

// drop closes the connections.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func TestSyslog(t *testing.T) {
	srv, m := startServer(t), newMemory(150)
	url := "syslog+tls://" + srv.Addr().String()
	s, _ := deliver(t, url+"?ca="+srv.ca, m)
	azuretest.Eventually(t, "all records", func() bool { return len(srv.messages()) == 150 })
	form := regexp.MustCompile(`^<110>1 2026-11-27T12:00:00\.000001Z \S+ sockerless-backend-azf \d+ audit - \{"seq":1\}$`)
	if got := srv.messages()[0]; !form.MatchString(got) {
		t.Errorf("the first message is %s", got)
	}
	// What the server may have lost with a connection comes again.
	srv.drop()
	azuretest.Eventually(t, "the news of it", func() bool {
		m.add(1)
		return len(srv.messages()) > 250
	})
	seen := map[string]int{}
	for _, message := range srv.messages() {
		seen[message[strings.Index(message, "{"):]]++
	}
	for n := range 150 {
		record := fmt.Sprintf(`{"seq":%d}`, n+1)
		if want := 1; seen[record] < want || n < 50 && seen[record] > want {
			t.Errorf("record %d came %d times", n+1, seen[record])
		}
	}
	azuretest.Eventually(t, "recovery", func() bool { return s.Problem() == "" })

	stranger, _ := deliver(t, url, newMemory(1))
	azuretest.Eventually(t, "refusal of an unknown authority", func() bool {
		return strings.Contains(stranger.Problem(), "certificate")
	})
}

// TestJournald sends to a journal that is not there: tests must not write into that of the machine.
func TestJournald(t *testing.T) {
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		t.Log("journald runs here: only the URL is checked")
		if err := Check("journald"); err != nil {
			t.Error(err)
		}
		return
	}
	s, _ := deliver(t, "journald", newMemory(1))
	azuretest.Eventually(t, "problem", func() bool { return strings.Contains(s.Problem(), "no journald") })
}

func TestCheck(t *testing.T) {
	for list, fine := range map[string]bool{
		"journald": true, "file:///a, journald": true, "syslog+tls://logs": true, "syslog+tls://[::1]:6514?ca=/x": true,
		"file://a": false, "file:///a?x=1": false, "syslog://logs": false, "syslog+tls://": false, "": false,
		"journald,": false, "syslog+tls://logs/x": false, "syslog+tls://logs?cert=/c": false,
	} {
		if err := Check(list); (err == nil) != fine {
			t.Errorf("%q: %v", list, err)
		}
	}
	if sinks, err := Open("", "home"); len(sinks) != 0 || err != nil {
		t.Errorf("got %v, %v", sinks, err)
	}
}
