package server_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/server"
)

// shortDir is a folder whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestParseAddress(t *testing.T) {
	for _, row := range []struct{ address, network, rest string }{
		{"unix:///run/azf.sock", "unix", "/run/azf.sock"},
		{"unix://azf.sock", "unix", "azf.sock"},
		{"/run/azf.sock", "unix", "/run/azf.sock"},
		{"./azf.sock", "unix", "./azf.sock"},
		{"run/a:b", "unix", "run/a:b"},
		{"tcp://127.0.0.1:2375", "tcp", "127.0.0.1:2375"},
		{"tcp://[::1]:0", "tcp", "[::1]:0"},
		{"localhost:2375", "tcp", "localhost:2375"},
		{":2375", "tcp", ":2375"},
		{"fd://", "fd", ""},
		{"/" + strings.Repeat("x", 106), "unix", "/" + strings.Repeat("x", 106)},
	} {
		network, rest, err := server.ParseAddress(row.address)
		if err != nil || network != row.network || rest != row.rest {
			t.Errorf("%q: got %q, %q, %v", row.address, network, rest, err)
		}
	}
	for _, address := range []string{
		"", "azf.sock", "2375", "unix://", "unix:///run/", "unix://@azf", "unix:///a\x00b", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:docker", "tcp://127.0.0.1:65536",
		"tcp://::1:2375", "tcp://127.0.0.1:2375/v1", "tcp://a b:1", "http://127.0.0.1:2375", "npipe:////./pipe/azf", "fd://3",
	} {
		if network, rest, err := server.ParseAddress(address); err == nil || !strings.Contains(err.Error(), "use unix:///path, tcp://host:port or fd://") {
			t.Errorf("%q: got %q, %q, %v; want it refused", address, network, rest, err)
		}
	}
	if _, _, err := server.ParseAddress("/" + strings.Repeat("x", 107)); err == nil || !strings.Contains(err.Error(), "108 bytes long, and Linux takes 107") {
		t.Errorf("long path: got %v", err)
	}
}

// TestLongestSocketPath holds the limit against the kernel's own.
func TestLongestSocketPath(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	l, err := server.Listen(server.ListenConfig{Address: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenUnix(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	cfg := server.ListenConfig{Address: "unix://" + path}
	l, err := server.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("got %v, %v; want mode 0660", info.Mode(), err)
	}
	if _, err := server.Listen(cfg); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("live socket: got %v, want a refusal", err)
	}
	// A daemon that was killed leaves its socket behind.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = server.Listen(cfg); err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("closed: the socket is left: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(cfg); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("file: got %v, want a refusal", err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "precious" {
		t.Errorf("the file is now %q, %v", content, err)
	}
	if _, err := server.Listen(server.ListenConfig{Address: filepath.Join(dir, "none", "s")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: got %v", err)
	}
}

func TestSocketOwnerAndMode(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12345, 23456 // root gives sockets away
	}
	path := filepath.Join(shortDir(t), "s")
	l, err := server.Listen(server.ListenConfig{Address: path, SocketMode: 0o604, SocketOwner: strconv.Itoa(uid), SocketGroup: strconv.Itoa(gid)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o604 || int(stat.Uid) != uid || int(stat.Gid) != gid {
		t.Errorf("got %v of %d:%d, want 0604 of %d:%d", info.Mode(), stat.Uid, stat.Gid, uid, gid)
	}
}

func TestSocketOwnerByName(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := server.Listen(server.ListenConfig{Address: path, SocketOwner: "root", SocketGroup: "root"})
	if os.Getuid() != 0 {
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "only root gives a socket to another user") {
			t.Errorf("got %v, want a refusal", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("refused: the socket is left: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// keyPair is a certificate with its key, in files.
type keyPair struct {
	cert, key string
	leaf      *x509.Certificate
	pair      tls.Certificate
}

// newKeyPair makes a certificate for 127.0.0.1 that vouches for itself.
func newKeyPair(t *testing.T, dir, name string) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := keyPair{cert: filepath.Join(dir, name+".crt"), key: filepath.Join(dir, name+".key")}
	for path, block := range map[string]*pem.Block{p.cert: {Type: "CERTIFICATE", Bytes: der}, p.key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p.leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if p.pair, err = tls.LoadX509KeyPair(p.cert, p.key); err != nil {
		t.Fatal(err)
	}
	return p
}

// greet listens, and says "hello" to one client, whose way to l is given. Both errors are returned.
func greet(t *testing.T, l net.Listener, dial func(addr string) (net.Conn, error)) (server, client error) {
	t.Helper()
	greeted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = io.WriteString(conn, "hello\n")
			err = errors.Join(err, conn.Close())
		}
		greeted <- err
	}()
	conn, err := dial(l.Addr().String())
	if err == nil {
		var line string
		line, err = bufio.NewReader(conn).ReadString('\n')
		if err == nil && line != "hello\n" {
			err = fmt.Errorf("got %q", line)
		}
		if closeErr := conn.Close(); err == nil {
			err = closeErr
		}
	}
	server = <-greeted
	if closeErr := l.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return server, err
}

func TestListenTCP(t *testing.T) {
	for _, address := range []string{"tcp://127.0.0.1:0", "127.0.0.1:0", "localhost:0"} {
		l, err := server.Listen(server.ListenConfig{Address: address})
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if serverErr, clientErr := greet(t, l, func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }); serverErr != nil || clientErr != nil {
			t.Errorf("%s: %v, %v", address, serverErr, clientErr)
		}
	}
	for _, address := range []string{"tcp://0.0.0.0:0", ":0", "[::]:0", "tcp://192.0.2.1:2375", "tcp://build.example.com:2375"} {
		_, err := server.Listen(server.ListenConfig{Address: address})
		field, ok := errors.AsType[*server.FieldError](err)
		if !ok || field.Field != "listen" || !strings.Contains(err.Error(), "give tls_cert and tls_key") || !strings.Contains(err.Error(), "insecure") {
			t.Errorf("%s: got %v, want a refusal that says what to do", address, err)
		}
	}
	l, err := server.Listen(server.ListenConfig{Address: "tcp://0.0.0.0:0", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	pair := newKeyPair(t, t.TempDir(), "server")
	if l, err = server.Listen(server.ListenConfig{Address: "tcp://0.0.0.0:0", TLSCert: pair.cert, TLSKey: pair.key}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenTLS(t *testing.T) {
	dir := t.TempDir()
	own, friend, stranger := newKeyPair(t, dir, "server"), newKeyPair(t, dir, "friend"), newKeyPair(t, dir, "stranger")
	roots := x509.NewCertPool()
	roots.AddCert(own.leaf)
	for _, row := range []struct {
		name   string
		ca     string
		client *tls.Config // nil speaks in clear
		fails  bool
	}{
		{name: "a client that knows the server", client: &tls.Config{RootCAs: roots}},
		{name: "a client that does not", client: &tls.Config{}, fails: true},
		{name: "TLS 1.2", client: &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}},
		{name: "TLS 1.1", client: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, fails: true},
		{name: "a client in clear", fails: true},
		{name: "a known client", ca: friend.cert, client: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{friend.pair}}},
		{name: "a client without certificate", ca: friend.cert, client: &tls.Config{RootCAs: roots}, fails: true},
		{name: "a client with another's certificate", ca: friend.cert, client: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{stranger.pair}}, fails: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := server.Listen(server.ListenConfig{Address: "tcp://127.0.0.1:0", TLSCert: own.cert, TLSKey: own.key, TLSClientCA: row.ca})
			if err != nil {
				t.Fatal(err)
			}
			serverErr, clientErr := greet(t, l, func(addr string) (net.Conn, error) {
				if row.client == nil {
					conn, err := net.Dial("tcp", addr)
					if err == nil {
						_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
					}
					return conn, err
				}
				return tls.Dial("tcp", addr, row.client)
			})
			if (serverErr != nil) != row.fails || (clientErr != nil) != row.fails {
				t.Errorf("server: %v, client: %v", serverErr, clientErr)
			}
		})
	}
}

func TestListenConfigCheck(t *testing.T) {
	dir := t.TempDir()
	pair, other := newKeyPair(t, dir, "server"), newKeyPair(t, dir, "other")
	missing, empty := filepath.Join(dir, "missing"), filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		cfg  server.ListenConfig
		want []string
	}{
		{server.ListenConfig{Address: "/run/s", SocketMode: 0o777, SocketOwner: "0", SocketGroup: "0"}, nil},
		{server.ListenConfig{Address: "fd://", TLSCert: pair.cert, TLSKey: pair.key}, nil},
		{server.ListenConfig{Address: "azf"}, []string{`listen: "azf" is no address`}},
		{server.ListenConfig{Address: "/run/s", SocketMode: 0o1777}, []string{"socket_mode: 01777 is no mode of a socket"}},
		{server.ListenConfig{Address: "/run/s", SocketOwner: "no-such-user", SocketGroup: "no-such-group"},
			[]string{`socket_owner: no user "no-such-user" on this machine`, `socket_group: no group "no-such-group" on this machine`}},
		{server.ListenConfig{Address: "/run/s", SocketOwner: "-1"}, []string{`socket_owner: no user "-1"`}},
		{server.ListenConfig{Address: "fd://", SocketOwner: "0"}, []string{"socket_owner: it is for unix sockets that the daemon makes, and it listens on fd://"}},
		{server.ListenConfig{Address: "127.0.0.1:0", SocketGroup: "0"}, []string{"socket_group: it is for unix sockets"}},
		{server.ListenConfig{Address: "/run/s", TLSCert: pair.cert, TLSKey: pair.key, TLSClientCA: pair.cert},
			[]string{"tls_cert: a unix socket is not served over TLS", "tls_key: a unix", "tls_client_ca: a unix"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: pair.cert}, []string{"tls_cert: it needs tls_key"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSKey: pair.key}, []string{"tls_key: it needs tls_cert"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSClientCA: pair.cert}, []string{"tls_client_ca: it needs tls_cert and tls_key"}},
		{server.ListenConfig{Address: "0.0.0.0:0", TLSClientCA: pair.cert}, []string{"tls_client_ca: it needs tls_cert and tls_key", "listen: other machines could reach"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: missing, TLSKey: missing, TLSClientCA: missing},
			[]string{"tls_cert: open " + missing + ": no such file", "tls_key: open " + missing, "tls_client_ca: open " + missing}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: pair.cert, TLSKey: other.key}, []string{"tls_cert: " + pair.cert + " and " + other.key + " are no pair"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: empty, TLSKey: pair.key}, []string{"tls_cert: " + empty + " and"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: pair.cert, TLSKey: pair.key, TLSClientCA: empty}, []string{"tls_client_ca: " + empty + " holds no certificate"}},
	} {
		got := row.cfg.Check()
		if len(got) != len(row.want) {
			t.Errorf("%+v: got %v, want %q", row.cfg, got, row.want)
			continue
		}
		for i, want := range row.want {
			if !strings.HasPrefix(got[i].Error(), want) {
				t.Errorf("%+v: got %v, want %q", row.cfg, got[i], want)
			}
		}
		if len(row.want) == 0 {
			continue
		}
		_, err := server.Listen(row.cfg)
		for _, want := range row.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: Listen says %v, want %q", row.cfg, err, want)
			}
		}
	}
}
