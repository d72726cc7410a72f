package server_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/server"
)

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
	own, friend := azuretest.NewKeyPair(t, dir, "server"), azuretest.NewKeyPair(t, dir, "friend")
	stranger := azuretest.NewKeyPair(t, dir, "stranger")
	roots := x509.NewCertPool()
	roots.AddCert(own.Leaf)
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
		{name: "a known client", ca: friend.Cert, client: client(friend.Pair)},
		{name: "a client without certificate", ca: friend.Cert, client: client(), fails: true},
		{name: "a client with another's certificate", ca: friend.Cert, client: client(stranger.Pair), fails: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := server.Listen(server.ListenConfig{
				Address: "tcp://127.0.0.1:0", TLSCert: own.Cert, TLSKey: own.Key, TLSClientCA: row.ca,
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
