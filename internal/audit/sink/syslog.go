package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/sockerless/backend-azf/internal/audit"
)

// syslog sends RFC 5424 messages with the framing of RFC 5425. The protocol has no acknowledgement: what was written
// just before a connection broke may be lost, so that it is sent once more.
type syslog struct {
	address       string
	server        string
	ca, cert, key string // paths of PEM files; empty: the system's authorities, no client certificate
	conn          *tls.Conn
	broken        chan struct{} // closed when the server has closed conn
}

const (
	syslogPort = "6514" // RFC 5425
	// priority is that of facility 13, log audit, and severity 6, informational.
	priority = 13*8 + 6
	// syslogTimeout bounds the connection's establishment and each batch.
	syslogTimeout = 30 * time.Second
	// writeBuffer bounds what the kernel takes before the server's machine has it. With the kernel's own choice, some
	// megabytes of a backlog are on the way when a connection breaks.
	writeBuffer = 64 << 10
	// resent is the number of records that come again after a broken connection. It is about twice what the buffers of
	// both machines hold of records of 600 bytes, the shortest there are.
	resent = 1000
)

func newSyslog(u *url.URL) (*syslog, error) {
	s := &syslog{server: u.Hostname()}
	port := u.Port()
	if port == "" {
		port = syslogPort
	}
	s.address = net.JoinHostPort(s.server, port)
	if u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("%q: a syslog server has no path", u.Redacted())
	}
	if u.User != nil {
		return nil, fmt.Errorf("%q: a syslog server takes no user and password: use a client certificate, cert and key",
			u.Redacted())
	}
	for name, values := range u.Query() {
		field, ok := map[string]*string{"ca": &s.ca, "cert": &s.cert, "key": &s.key}[name]
		if !ok {
			return nil, fmt.Errorf("%q: the parameter %s is unknown: there are ca, cert and key", u.Redacted(), name)
		}
		if len(values) > 1 || !filepath.IsAbs(values[0]) {
			return nil, fmt.Errorf("%q: give %s once, as an absolute path of a PEM file", u.Redacted(), name)
		}
		*field = values[0]
	}
	if (s.cert == "") != (s.key == "") {
		return nil, fmt.Errorf("%q: give both cert and key, or neither", u.Redacted())
	}
	return s, nil
}

func (s *syslog) unsure() int64 { return resent }

func (s *syslog) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

func (s *syslog) send(ctx context.Context, lines []audit.Line) error {
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	select {
	case <-s.broken:
		return errors.Join(errClosed, s.close())
	default:
	}
	var frames bytes.Buffer
	host, err := os.Hostname()
	if err != nil {
		host = "-"
	}
	for _, l := range lines {
		message := fmt.Sprintf("<%d>1 %s %s %s %d audit - %s", priority, l.Time.UTC().Format("2006-01-02T15:04:05.000000Z"),
			host, program, os.Getpid(), l.Line)
		fmt.Fprintf(&frames, "%d %s", len(message), message)
	}
	// A server that does not read must not keep the daemon from its end.
	conn := s.conn.NetConn()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	err = s.conn.SetWriteDeadline(time.Now().Add(syslogTimeout))
	if err == nil {
		_, err = s.conn.Write(frames.Bytes())
	}
	if err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

func (s *syslog) connect(ctx context.Context) error {
	config := &tls.Config{ServerName: s.server, MinVersion: tls.VersionTLS12}
	if s.ca != "" {
		pem, err := os.ReadFile(s.ca)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM form", s.ca)
		}
	}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	ctx, cancel := context.WithTimeout(ctx, syslogTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	s.conn = conn.(*tls.Conn)
	if err := s.conn.NetConn().(*net.TCPConn).SetWriteBuffer(writeBuffer); err != nil {
		return errors.Join(err, s.close())
	}
	s.broken = make(chan struct{})
	go watch(s.conn, s.broken)
	return nil
}

// watch closes broken when the server closes the connection, to which it has nothing to say.
func watch(conn *tls.Conn, broken chan struct{}) {
	defer close(broken)
	_, _ = io.Copy(io.Discard, conn)
}
