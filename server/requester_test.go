package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/server"
)

// witness keeps the origins of the requests that reach it.
type witness struct {
	api.Backend
	seen chan api.Origin
}

func (w witness) Info(ctx context.Context) (api.Info, error) {
	origin, _ := api.OriginOf(ctx)
	w.seen <- origin
	return api.Info{}, nil
}

// witnessed serves on l until the test ends, and returns the origins of its requests.
func witnessed(t *testing.T, l net.Listener) <-chan api.Origin {
	t.Helper()
	w := witness{seen: make(chan api.Origin, 1)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.New(server.Config{Backend: w, Log: zerolog.Nop()}).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w.seen
}

// ask sends a request over the connections of dial.
func ask(t *testing.T, dial func(ctx context.Context, network, addr string) (net.Conn, error)) string {
	t.Helper()
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://daemon/internal/v1/info", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "test/1"+strings.Repeat(" x", 1000))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %d, %v", resp.StatusCode, err)
	}
	return resp.Header.Get("X-Request-Id")
}

// TestUnixRequester tells the users of a unix socket apart.
func TestUnixRequester(t *testing.T) {
	dir, err := os.MkdirTemp("", "azf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := server.Listen(server.ListenConfig{Address: "unix://" + path, SocketMode: 0o666})
	if err != nil {
		t.Fatal(err)
	}
	seen := witnessed(t, l)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	id := ask(t, dial)
	got := <-seen
	r := got.Requester
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != api.RequesterUnix || r.UID == nil || int(*r.UID) != os.Geteuid() || int(*r.GID) != os.Getegid() ||
		int(r.PID) != os.Getpid() || r.User == "" || r.Executable != exe || !strings.HasPrefix(r.Cgroup, "/") {
		t.Errorf("got %+v", r)
	}
	if got.Request == nil || got.Request.ID != id || got.Request.API != "internal/v1" ||
		!strings.HasPrefix(got.Request.UserAgent, "test/1 x") || len(got.Request.UserAgent) != 256 {
		t.Errorf("got request %+v, want id %s", got.Request, id)
	}

	azuretest.Needs(t, "root")
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root, since it connects as another user")
	}
	ask(t, func(context.Context, string, string) (net.Conn, error) { return azuretest.DialAs(65534, path) })
	if r := (<-seen).Requester; r.UID == nil || *r.UID != 65534 || int(r.PID) != os.Getpid() {
		t.Errorf("as user 65534: got %+v", r)
	}
}

// TestUnixRequesterThatIsGone: of a client that has ended before it is accepted, nothing is read from /proc, where
// another process may have its number.
func TestUnixRequesterThatIsGone(t *testing.T) {
	perl := azuretest.NeedsProgram(t, "perl")
	dir, err := os.MkdirTemp("", "azf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "s")
	l, err := server.Listen(server.ListenConfig{Address: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), perl, "-MIO::Socket::UNIX", "-e",
		`$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; print $s "GET /internal/v1/info HTTP/1.0\r\n\r\n"`, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := (<-witnessed(t, l)).Requester
	if r.Kind != api.RequesterUnix || r.UID == nil || int(*r.UID) != os.Geteuid() ||
		int(r.PID) != cmd.Process.Pid || r.Executable != "" || r.Cgroup != "" || len(r.Groups) > 0 {
		t.Errorf("got %+v", r)
	}
}

// TestCertificateRequester tells two client certificates apart, and a client without one.
func TestCertificateRequester(t *testing.T) {
	dir := t.TempDir()
	pair, one := azuretest.NewKeyPair(t, dir, "server"), azuretest.NewKeyPair(t, dir, "one")
	two := azuretest.NewKeyPair(t, dir, "two")
	both := filepath.Join(dir, "both.crt")
	var bundle []byte
	for _, p := range []azuretest.KeyPair{one, two} {
		content, err := os.ReadFile(p.Cert)
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, content...)
	}
	if err := os.WriteFile(both, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	serve := func(clientCA string) func(certificates ...tls.Certificate) api.Requester {
		l, err := server.Listen(server.ListenConfig{
			Address: "tcp://127.0.0.1:0", TLSCert: pair.Cert, TLSKey: pair.Key, TLSClientCA: clientCA,
		})
		if err != nil {
			t.Fatal(err)
		}
		seen := witnessed(t, l)
		return func(certificates ...tls.Certificate) api.Requester {
			ask(t, func(ctx context.Context, _, _ string) (net.Conn, error) {
				d := tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: certificates}}
				return d.DialContext(ctx, "tcp", l.Addr().String())
			})
			return (<-seen).Requester
		}
	}
	verified := serve(both)
	prints := map[string]bool{}
	for name, p := range map[string]azuretest.KeyPair{"one": one, "two": two} {
		r := verified(p.Pair)
		if r.Kind != api.RequesterMTLS || r.Subject != "CN="+name || r.Issuer != "CN="+name || r.Serial != "1" ||
			!slices.Equal(r.Names, []string{"127.0.0.1"}) || len(r.Fingerprint) != 64 || r.Address == "" || r.UID != nil {
			t.Errorf("%s: got %+v", name, r)
		}
		prints[r.Fingerprint] = true
	}
	if len(prints) != 2 {
		t.Errorf("fingerprints are %v", prints)
	}
	// A certificate that nobody has verified says nothing.
	if r := serve("")(one.Pair); r.Kind != api.RequesterTCP || r.Subject != "" || r.Address == "" {
		t.Errorf("without tls_client_ca: got %+v", r)
	}
}

func TestTCPRequester(t *testing.T) {
	l, err := server.Listen(server.ListenConfig{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	seen := witnessed(t, l)
	ask(t, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	})
	if r := (<-seen).Requester; r.Kind != api.RequesterTCP || !strings.HasPrefix(r.Address, "127.0.0.1:") {
		t.Errorf("got %+v", r)
	}
}

func TestRequesterInWords(t *testing.T) {
	uid := uint32(1000)
	for want, r := range map[string]api.Requester{
		"ci uid=1000 pid=7 /usr/bin/docker": {
			Kind: api.RequesterUnix, UID: &uid, PID: 7, User: "ci", Executable: "/usr/bin/docker",
		},
		"CN=ci serial=1f":          {Kind: api.RequesterMTLS, Subject: "CN=ci", Serial: "1f"},
		"192.0.2.1:7 (unverified)": {Kind: api.RequesterTCP, Address: "192.0.2.1:7"},
		"daemon: reconcile":        {Kind: api.RequesterDaemon, Cause: "reconcile"},
		"unknown":                  {},
	} {
		if got := fmt.Sprint(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
