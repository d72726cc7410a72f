package server_test

import (
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

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/server"
)

func TestLogStreams(t *testing.T) {
	b := &backend{stream: "lines"}
	h := newHandler(b, io.Discard)
	for tty, want := range map[bool]string{
		false: "application/vnd.docker.multiplexed-stream", true: "application/vnd.docker.raw-stream",
	} {
		b.tty = tty
		w := do(h, "GET", "/internal/v1/containers/x/logs?stdout=1", "")
		if w.Body.String() != "lines" || w.Header().Get("Content-Type") != want {
			t.Errorf("terminal %v: got %q as %s", tty, w.Body, w.Header().Get("Content-Type"))
		}
	}
}

// serve runs a server on a socket. It returns a client and a function that stops the server.
func serve(t *testing.T, b *backend, log io.Writer) (*http.Client, func() error) {
	t.Helper()
	path := filepath.Join(azuretest.ShortDir(t), "s")
	l, err := server.Listen(server.ListenConfig{Address: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- server.New(server.Config{Backend: b, Log: zerolog.New(log), ShutdownTimeout: time.Minute}).Serve(ctx, l)
	}()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	return client, func() error {
		cancel()
		client.CloseIdleConnections()
		err := <-done
		if _, statErr := os.Stat(path); !errors.Is(statErr, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", statErr)
		}
		return err
	}
}

func TestWaitSendsHeadersAtOnce(t *testing.T) {
	proceed := make(chan error)
	b := &backend{wait: func(_ context.Context, accepted func()) (api.WaitResponse, error) {
		accepted()
		return api.WaitResponse{StatusCode: 3}, <-proceed
	}}
	client, stop := serve(t, b, io.Discard)
	for _, row := range []struct {
		err  error
		want string
	}{
		{nil, `{"StatusCode":3,"Error":null}`},
		{errors.New("the daemon is stopping"), `{"StatusCode":-1,"Error":{"Message":"the daemon is stopping"}}`},
	} {
		// Post returns when the headers have arrived.
		res, err := client.Post("http://d/internal/v1/containers/x/wait?condition=next-exit", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		proceed <- row.err
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != row.want {
			t.Errorf("got %d %s, %v; want %s", res.StatusCode, body, err, row.want)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	if b.waitCond != api.WaitNextExit {
		t.Errorf("got condition %q", b.waitCond)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestStopWaitsForRequests(t *testing.T) {
	entered, proceed := make(chan struct{}), make(chan struct{})
	b := &backend{wait: func(context.Context, func()) (api.WaitResponse, error) {
		close(entered)
		<-proceed
		return api.WaitResponse{}, nil
	}}
	client, stop := serve(t, b, io.Discard)
	answered, stopped := make(chan error, 1), make(chan error, 1)
	go func() {
		res, err := client.Post("http://d/internal/v1/containers/x/wait", "", nil)
		if err == nil {
			err = res.Body.Close()
		}
		answered <- err
	}()
	<-entered
	go func() { stopped <- stop() }()
	close(proceed)
	if err := <-answered; err != nil {
		t.Errorf("the request was cut off: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// lines is a log that sends its lines on a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestDepartedClientIsNoError(t *testing.T) {
	entered := make(chan struct{})
	b := &backend{wait: func(ctx context.Context, _ func()) (api.WaitResponse, error) {
		close(entered)
		<-ctx.Done()
		return api.WaitResponse{}, context.Cause(ctx)
	}}
	log := make(lines, 10)
	client, stop := serve(t, b, log)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://d/internal/v1/containers/x/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := client.Do(req); err == nil {
			t.Error("got an answer", res.Body.Close())
		}
	}()
	<-entered
	leave()
	<-gone
	if line := <-log; !strings.Contains(line, `"status":499`) || strings.Contains(line, `"level":"error"`) {
		t.Errorf("logged %s", line)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
