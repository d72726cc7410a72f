package sink

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
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

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// server is a syslog server.
type server struct {
	net.Listener
	ca string // a file with its certificate

	mu      sync.Mutex
	got     []string // messages
	conns   []net.Conn
	stalled bool // new connections are not read
}

// stall decides whether the server reads from the next connections.
func (s *server) stall(stalled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = stalled
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
	stalled := s.stalled
	s.mu.Unlock()
	if stalled {
		_ = conn.(*tls.Conn).Handshake() // the client sees a failure, too
	}
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	if stalled {
		return
	}
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

func (s *server) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0
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
	const records = resent + 200
	srv, m := startServer(t), newMemory(records)
	url := "syslog+tls://" + srv.Addr().String()
	s, _ := deliver(t, url+"?ca="+srv.ca, m)
	azuretest.Eventually(t, "all records", func() bool { return len(srv.messages()) == records })
	form := regexp.MustCompile(`^<110>1 2026-11-27T12:00:00\.000001Z \S+ sockerless-backend-azf \d+ audit - \{"seq":1\}$`)
	if got := srv.messages()[0]; !form.MatchString(got) {
		t.Errorf("the first message is %s", got)
	}
	// What the server may have lost with a connection comes again.
	srv.drop()
	azuretest.Eventually(t, "the news of it", func() bool {
		m.add(1)
		return len(srv.messages()) >= records+resent
	})
	seen := map[string]int{}
	for _, message := range srv.messages() {
		seen[message[strings.Index(message, "{"):]]++
	}
	for n := range records {
		record := fmt.Sprintf(`{"seq":%d}`, n+1)
		if seen[record] < 1 || n < records-resent && seen[record] > 1 {
			t.Errorf("record %d came %d times", n+1, seen[record])
		}
	}
	azuretest.Eventually(t, "recovery", func() bool { return s.Problem() == "" })

	stranger, _ := deliver(t, url, newMemory(1))
	azuretest.Eventually(t, "refusal of an unknown authority", func() bool {
		return strings.Contains(stranger.Problem(), "certificate")
	})
}

// filled returns a Source with n records that have size bytes of filler.
func filled(n, size int) *memory {
	m := newMemory(0)
	for i := range n {
		line := fmt.Appendf(nil, `{"seq":%d,"filler":%q}`, i+1, strings.Repeat("x", size))
		m.lines = append(m.lines, audit.Line{Seq: int64(i + 1), Line: line})
	}
	return m
}

// TestSyslogServerThatStopsReading has a server that takes a connection, reads nothing and ends, in the middle of a
// backlog. What lay in the buffers of both machines is lost with it, and comes again.
func TestSyslogServerThatStopsReading(t *testing.T) {
	const records = 5000
	srv, m := startServer(t), filled(records, 500)
	srv.stall(true)
	deliver(t, "syslog+tls://"+srv.Addr().String()+"?ca="+srv.ca, m)
	before, same := int64(0), 0
	azuretest.Eventually(t, "full buffers", func() bool {
		now := m.cursor()
		same++
		if now != before {
			before, same = now, 0
		}
		return now > 0 && same == 10
	})
	srv.stall(false)
	srv.drop()
	azuretest.Eventually(t, "the end of the backlog", func() bool {
		got := srv.messages()
		return len(got) > 0 && strings.Contains(got[len(got)-1], fmt.Sprintf(`{"seq":%d,`, records))
	})
	seen := map[string]bool{}
	for _, message := range srv.messages() {
		record, _, _ := strings.Cut(message[strings.Index(message, "{"):], ",")
		seen[record] = true
	}
	if len(seen) != records {
		t.Errorf("%d of %d records came", len(seen), records)
	}
}

// TestStopWhileSyslogServerReadsNothing ends a delivery whose first batch is more than all buffers hold.
func TestStopWhileSyslogServerReadsNothing(t *testing.T) {
	srv := startServer(t)
	srv.stall(true)
	_, stop := deliver(t, "syslog+tls://"+srv.Addr().String()+"?ca="+srv.ca, filled(batch, 1<<18))
	azuretest.Eventually(t, "connection", srv.connected)
	start := time.Now()
	stop()
	if took := time.Since(start); took > syslogTimeout/3 {
		t.Errorf("the end took %v", took)
	}
}
