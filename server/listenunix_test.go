package server

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// watched is a server on a persistent socket, whose file a test removes or replaces.
type watched struct {
	path  string
	log   bytes.Buffer // to be read after stop
	ticks chan time.Time
	stop  func()
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{path: filepath.Join(azuretest.ShortDir(t), "s"), ticks: make(chan time.Time)}
	l, err := Listen(ListenConfig{Address: w.path, SocketMode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	served, done, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() { served <- srv.Serve(l) }()
	go func() {
		defer close(ended)
		l.(*persistentSocket).watch(w.ticks, done, zerolog.New(&w.log))
	}()
	w.stop = func() {
		t.Helper()
		close(done)
		<-ended
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
	return w
}

// check has the socket checked once: the watcher takes the second tick after the first check has ended.
func (w *watched) check() {
	w.ticks <- time.Time{}
	w.ticks <- time.Time{}
}

// answers reports whether the server answers on its socket.
func (w *watched) answers() bool {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.path)
	}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("http://d/")
	return err == nil && res.Body.Close() == nil
}

func (w *watched) remove(t *testing.T) {
	t.Helper()
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
}

// logged compares how often each message is in the log.
func (w *watched) logged(t *testing.T, want map[string]int) {
	t.Helper()
	for message, n := range want {
		if got := strings.Count(w.log.String(), message); got != n {
			t.Errorf("the log has %q %d times, want %d:\n%s", message, got, n, &w.log)
		}
	}
}

func TestRemovedSocketIsCreatedAgain(t *testing.T) {
	w := newWatched(t)
	w.check()
	if !w.answers() {
		t.Fatal("no answer at first")
	}
	w.remove(t)
	if w.answers() {
		t.Fatal("the socket answers without its file")
	}
	w.check()
	if info, err := os.Lstat(w.path); err != nil || info.Mode().Perm() != 0o600 || !w.answers() {
		t.Errorf("the socket is not created again: %v, %v", info, err)
	}
	w.stop()
	if _, err := os.Lstat(w.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	w.logged(t, map[string]int{"has been created again": 1})
}

func TestFileInPlaceOfTheSocketIsKept(t *testing.T) {
	w := newWatched(t)
	w.remove(t)
	if err := os.WriteFile(w.path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.check()
	w.check()
	if content, err := os.ReadFile(w.path); err != nil || string(content) != "precious" {
		t.Errorf("the file is now %q, %v", content, err)
	}
	w.remove(t)
	w.check()
	if !w.answers() {
		t.Error("no answer after the file was removed")
	}
	w.stop()
	w.logged(t, map[string]int{"the file at this path is not a socket": 1, "has been created again": 1})
}

func TestSocketOfAnotherProcessIsKept(t *testing.T) {
	w := newWatched(t)
	w.remove(t)
	other, err := net.Listen("unix", w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.check()
	w.stop()
	if _, err := os.Lstat(w.path); err != nil {
		t.Errorf("the other process's socket was removed: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	w.logged(t, map[string]int{"another process answers there": 1, "has been created again": 0})
}
