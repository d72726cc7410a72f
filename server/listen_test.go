package server_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/server"
)

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
		"", "azf.sock", "2375", "unix://", "unix:///run/", "unix://@azf", "unix:///a\x00b",
		"tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:docker", "tcp://127.0.0.1:65536",
		"tcp://::1:2375", "tcp://127.0.0.1:2375/v1", "tcp://a b:1",
		"http://127.0.0.1:2375", "npipe:////./pipe/azf", "fd://3",
	} {
		network, rest, err := server.ParseAddress(address)
		if err == nil || !strings.Contains(err.Error(), "use unix:///path, tcp://host:port or fd://") {
			t.Errorf("%q: got %q, %q, %v; want it refused", address, network, rest, err)
		}
	}
	_, _, err := server.ParseAddress("/" + strings.Repeat("x", 107))
	if err == nil || !strings.Contains(err.Error(), "108 bytes long, and Linux takes 107") {
		t.Errorf("long path: got %v", err)
	}
}

// TestLongestSocketPath listens on the longest path that Linux takes.
func TestLongestSocketPath(t *testing.T) {
	dir := azuretest.ShortDir(t)
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
	dir := azuretest.ShortDir(t)
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
	if _, err := server.Listen(cfg); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("file: got %v, want a refusal", err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "precious" {
		t.Errorf("the file is now %q, %v", content, err)
	}
	cfg.Address = filepath.Join(dir, "none", "s")
	if _, err := server.Listen(cfg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: got %v", err)
	}
}

func TestSocketOwnerAndMode(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12345, 23456 // root can give sockets to others
	}
	path := filepath.Join(azuretest.ShortDir(t), "s")
	l, err := server.Listen(server.ListenConfig{
		Address: path, SocketMode: 0o604, SocketOwner: strconv.Itoa(uid), SocketGroup: strconv.Itoa(gid),
	})
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
	path := filepath.Join(azuretest.ShortDir(t), "s")
	l, err := server.Listen(server.ListenConfig{Address: path, SocketOwner: "root", SocketGroup: "root"})
	if os.Getuid() != 0 {
		const refusal = "only root can give a socket to another user"
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), refusal) {
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

func TestListenTCP(t *testing.T) {
	for _, address := range []string{"tcp://127.0.0.1:0", "127.0.0.1:0", "localhost:0"} {
		l, err := server.Listen(server.ListenConfig{Address: address})
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		dial := func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }
		if serverErr, clientErr := greet(t, l, dial); serverErr != nil || clientErr != nil {
			t.Errorf("%s: %v, %v", address, serverErr, clientErr)
		}
	}
	for _, address := range []string{
		"tcp://0.0.0.0:0", ":0", "[::]:0", "tcp://192.0.2.1:2375", "tcp://build.example.com:2375",
	} {
		_, err := server.Listen(server.ListenConfig{Address: address})
		field, ok := errors.AsType[*server.FieldError](err)
		if !ok || field.Field != "listen" {
			t.Errorf("%s: got %v, want a refusal of listen", address, err)
			continue
		}
		for _, remedy := range []string{"give tls_cert and tls_key", "insecure"} {
			if !strings.Contains(err.Error(), remedy) {
				t.Errorf("%s: got %v, want it to name %q", address, err, remedy)
			}
		}
	}
	l, err := server.Listen(server.ListenConfig{Address: "tcp://0.0.0.0:0", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	pair := azuretest.NewKeyPair(t, t.TempDir(), "server")
	cfg := server.ListenConfig{Address: "tcp://0.0.0.0:0", TLSCert: pair.Cert, TLSKey: pair.Key}
	if l, err = server.Listen(cfg); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenConfigCheck(t *testing.T) {
	dir := t.TempDir()
	pair, other := azuretest.NewKeyPair(t, dir, "server"), azuretest.NewKeyPair(t, dir, "other")
	missing, empty := filepath.Join(dir, "missing"), filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		cfg  server.ListenConfig
		want []string
	}{
		{server.ListenConfig{Address: "/run/s", SocketMode: 0o777, SocketOwner: "0", SocketGroup: "0"}, nil},
		{server.ListenConfig{Address: "fd://", TLSCert: pair.Cert, TLSKey: pair.Key}, nil},
		{server.ListenConfig{Address: "azf"}, []string{`listen: "azf" is not a valid address`}},
		{server.ListenConfig{Address: "/run/s", SocketMode: 0o1777},
			[]string{"socket_mode: 01777 is not a valid mode of a socket"}},
		{server.ListenConfig{Address: "/run/s", SocketOwner: "no-such-user", SocketGroup: "no-such-group"},
			[]string{
				`socket_owner: no user "no-such-user" on this machine`,
				`socket_group: no group "no-such-group" on this machine`,
			}},
		{server.ListenConfig{Address: "/run/s", SocketOwner: "-1"}, []string{`socket_owner: no user "-1"`}},
		{server.ListenConfig{Address: "fd://", SocketOwner: "0"},
			[]string{"socket_owner: it is for unix sockets that the daemon creates, but the daemon listens on fd://"}},
		{server.ListenConfig{Address: "127.0.0.1:0", SocketGroup: "0"}, []string{"socket_group: it is for unix sockets"}},
		{server.ListenConfig{Address: "/run/s", TLSCert: pair.Cert, TLSKey: pair.Key, TLSClientCA: pair.Cert},
			[]string{"tls_cert: a unix socket is not served over TLS", "tls_key: a unix", "tls_client_ca: a unix"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: pair.Cert}, []string{"tls_cert: it needs tls_key"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSKey: pair.Key}, []string{"tls_key: it needs tls_cert"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSClientCA: pair.Cert},
			[]string{"tls_client_ca: it needs tls_cert and tls_key"}},
		{server.ListenConfig{Address: "0.0.0.0:0", TLSClientCA: pair.Cert},
			[]string{"tls_client_ca: it needs tls_cert and tls_key", "listen: other machines could reach"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: missing, TLSKey: missing, TLSClientCA: missing},
			[]string{
				"tls_cert: open " + missing + ": no such file",
				"tls_key: open " + missing,
				"tls_client_ca: open " + missing,
			}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: pair.Cert, TLSKey: other.Key},
			[]string{"tls_cert: " + pair.Cert + " and " + other.Key + " are not a certificate and its private key"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: empty, TLSKey: pair.Key},
			[]string{"tls_cert: " + empty + " and"}},
		{server.ListenConfig{Address: "127.0.0.1:0", TLSCert: pair.Cert, TLSKey: pair.Key, TLSClientCA: empty},
			[]string{"tls_client_ca: " + empty + " holds no certificate"}},
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
				t.Errorf("%+v: Listen returned %v, want %q", row.cfg, err, want)
			}
		}
	}
}
