package daemon_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/server"
)

// as returns a client of the daemon that is another user of the machine.
func (p *playground) as(t *testing.T, uid int) *client.Client {
	t.Helper()
	azuretest.Needs(t, "root")
	if err := os.Chmod(filepath.Dir(p.socket), 0o755); err != nil {
		t.Fatal(err)
	}
	c := client.New("unix", p.socket)
	t.Cleanup(c.Close)
	dial := func(context.Context, string, string) (net.Conn, error) { return azuretest.DialAs(uid, p.socket) }
	c.HTTP = &http.Client{Transport: &http.Transport{DialContext: dial}}
	return c
}

// TestTwoUsersInTheTrail: two users of the machine are told apart.
func TestTwoUsersInTheTrail(t *testing.T) {
	azuretest.Needs(t, "root")
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Listen.SocketMode = 0o666 })
	nobody := p.as(t, 65534)
	pull := map[string]string{"reference": p.image}
	p.must(t, http.MethodPost, "/images/pull", pull, nil)
	if err := nobody.Call(t.Context(), http.MethodPost, "/images/pull", pull, nil); err != nil {
		t.Fatal(err)
	}
	var uids []uint32
	for _, r := range p.records(t) {
		if r.Action == audit.ActionImage {
			uids = append(uids, *r.Requester.UID)
		}
	}
	if diff := cmp.Diff([]uint32{0, 65534}, uids); diff != "" {
		t.Error(diff)
	}
}

// TestTwoCertificatesInTheTrail: two clients over TLS are told apart.
func TestTwoCertificatesInTheTrail(t *testing.T) {
	dir := t.TempDir()
	own := azuretest.NewKeyPair(t, dir, "server")
	clients := map[string]azuretest.KeyPair{
		"CN=one": azuretest.NewKeyPair(t, dir, "one"), "CN=two": azuretest.NewKeyPair(t, dir, "two"),
	}
	authorities := filepath.Join(dir, "clients.crt")
	var bundle []byte
	for _, c := range clients {
		content, err := os.ReadFile(c.Cert)
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, content...)
	}
	if err := os.WriteFile(authorities, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newAzure(t)
	cfg, err := simulated(t.Context(), p.sim.Access(), p.sim.Transport(), p.dir, p.socket)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tools, cfg.Log = p.tools, zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	cfg.Listen = server.ListenConfig{
		Address: "tcp://127.0.0.1:0", TLSCert: own.Cert, TLSKey: own.Key, TLSClientCA: authorities,
	}
	d, err := daemon.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	address := d.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- d.Run(ctx) }()
	roots := x509.NewCertPool()
	roots.AddCert(own.Leaf)
	want := map[string]string{} // fingerprints by names of images
	for name, c := range clients {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{c.Pair}}}
			return dialer.DialContext(ctx, "tcp", address)
		}
		over := client.New("tcp", address)
		over.HTTP = &http.Client{Transport: &http.Transport{DialContext: dial}}
		pull := map[string]string{"reference": p.image}
		if err := over.Call(t.Context(), http.MethodPost, "/images/pull", pull, nil); err != nil {
			t.Error(err)
		}
		over.Close()
		sum := sha256.Sum256(c.Leaf.Raw)
		want[name] = hex.EncodeToString(sum[:])
	}
	got := map[string]string{}
	for _, r := range p.records(t) {
		if r.Action == audit.ActionImage {
			got[r.Requester.Subject] = r.Requester.Fingerprint
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestPolicyOfRequesters: rules see who asks, as the kernel knows it, and how many containers that user has.
func TestPolicyOfRequesters(t *testing.T) {
	dir := t.TempDir()
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.Listen.SocketMode = 0o666
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", `package main

deny contains "one is enough" if {
	input.sockerless.requester.uid != 0
	input.sockerless.counts.by_requester > 1
}
`)}
	})
	nobody := p.as(t, 65534)
	req := api.CreateRequest{Config: &api.Config{Image: p.image}}
	create := func(c *client.Client, name string) error {
		return c.Call(t.Context(), http.MethodPost, "/containers?name="+name, req, nil)
	}
	for _, name := range []string{"root1", "root2"} {
		if err := create(p.Client, name); err != nil {
			t.Error(err)
		}
	}
	if err := create(nobody, "first"); err != nil {
		t.Error(err)
	}
	if err := create(nobody, "second"); !answered(err, http.StatusForbidden) {
		t.Errorf("got %v, want 403", err)
	}
	p.must(t, http.MethodDelete, "/containers/first", nil, nil)
	if err := create(nobody, "second"); err != nil {
		t.Error(err)
	}
}
