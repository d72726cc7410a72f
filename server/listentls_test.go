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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/server"
)

// keyPair is a certificate with its key, in files.
type keyPair struct {
	cert, key string
	leaf      *x509.Certificate
	pair      tls.Certificate
}

// newKeyPair creates a self-signed certificate for 127.0.0.1.
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
	for path, block := range map[string]*pem.Block{
		p.cert: {Type: "CERTIFICATE", Bytes: der}, p.key: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
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

// greet accepts one connection on l, which dial opens, and sends "hello" over it. It returns the error of each side.
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

func TestListenTLS(t *testing.T) {
	dir := t.TempDir()
	own, friend, stranger := newKeyPair(t, dir, "server"), newKeyPair(t, dir, "friend"), newKeyPair(t, dir, "stranger")
	roots := x509.NewCertPool()
	roots.AddCert(own.leaf)
	// client returns the configuration of a client that trusts the server and shows certificates.
	client := func(certificates ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: roots, Certificates: certificates}
	}
	tls11 := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	for _, row := range []struct {
		name   string
		ca     string
		client *tls.Config // nil speaks plain text
		fails  bool
	}{
		{name: "a client that knows the server", client: client()},
		{name: "a client that does not", client: &tls.Config{}, fails: true},
		{name: "TLS 1.2", client: &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}},
		{name: "TLS 1.1", client: tls11, fails: true},
		{name: "a client without TLS", fails: true},
		{name: "a known client", ca: friend.cert, client: client(friend.pair)},
		{name: "a client without certificate", ca: friend.cert, client: client(), fails: true},
		{name: "a client with another's certificate", ca: friend.cert, client: client(stranger.pair), fails: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := server.Listen(server.ListenConfig{
				Address: "tcp://127.0.0.1:0", TLSCert: own.cert, TLSKey: own.key, TLSClientCA: row.ca,
			})
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
