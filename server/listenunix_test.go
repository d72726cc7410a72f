package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// answers asks the server on a socket.
func answers(path string) bool {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("http://d/")
	return err == nil && res.Body.Close() == nil
}

// TestSocketThatIsRemoved takes the file away from under a server.
func TestSocketThatIsRemoved(t *testing.T) {
	dir, err := os.MkdirTemp("", "azf")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "s")
	l, err := Listen(ListenConfig{Address: path, SocketMode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	socket := l.(*lasting)
	srv := &http.Server{Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	var log bytes.Buffer
	ticks, ended, watched := make(chan time.Time), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		socket.watch(ticks, ended, zerolog.New(&log))
	}()
	look := func() { // the second tick is taken when the first look is over
		ticks <- time.Time{}
		ticks <- time.Time{}
	}

	look()
	if !answers(path) {
		t.Fatal("no answer at first")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if answers(path) {
		t.Fatal("the socket answers without its file")
	}
	look()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 || !answers(path) {
		t.Errorf("the socket is not made anew: %v, %v", info, err)
	}

	// What others have put there is left alone, also at the end.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look()
	if !answers(path) {
		t.Error("no answer when the file was out of the way")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	look()
	close(ended)
	<-watched
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's socket was removed: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	content, err := io.ReadAll(&log)
	if err != nil {
		t.Fatal(err)
	}
	for text, n := range map[string]int{"is made anew": 2, "a file that is no socket is in the way": 1, "another process answers there": 1} {
		if got := strings.Count(string(content), text); got != n {
			t.Errorf("%q is said %d times, want %d:\n%s", text, got, n, content)
		}
	}
}
