// Package server serves the internal API and the Docker Engine API over HTTP. One route list serves both, and one
// table maps kinds of error to Docker's statuses. The package decodes requests, calls an api.Backend and encodes
// answers. It must not know how the backend does its work.
//
// This package makes no promise to other modules: invoker/protocol is the only Go API of this module that does.
//
//	l, err := server.Listen(server.ListenConfig{Address: "unix:///run/azf.sock"})
//	err = server.New(server.Config{Backend: engine, Log: log}).Serve(ctx, l)
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
)

// Prefix is the path below which the internal API answers.
const Prefix = "/internal/v1"

// maxBody is the largest request body in bytes. The largest valid one has 64 KiB of environment and 64 KiB of labels.
const maxBody = 4 << 20

// Config configures New.
type Config struct {
	Backend api.Backend
	// ShutdownTimeout limits how long Serve waits for requests under way after its context has ended; 0 means 10
	// seconds.
	ShutdownTimeout time.Duration
	Log             zerolog.Logger
}

// Server is an http.Handler for both APIs.
type Server struct {
	cfg  Config
	echo *echo.Echo
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = 10 * time.Second
	}
	s := &Server{cfg: cfg, echo: echo.New()}
	s.echo.HTTPErrorHandler = s.handleError
	s.echo.Pre(slashedNames)
	s.echo.Use(s.logRequests, middleware.Recover(), noOptions)
	s.registerRoutes()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers requests on l until ctx ends. It then waits for the requests under way, at most ShutdownTimeout, and
// closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// net/http logs only about clients, such as those that left or do not use TLS.
	errorLog := slog.NewLogLogger(zerolog.NewSlogHandler(s.cfg.Log), slog.LevelWarn)
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: errorLog, ConnContext: withPeer,
	}
	if socket, ok := l.(*persistentSocket); ok {
		ticker, ended := time.NewTicker(socketCheckInterval), make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() { socket.watch(ticker.C, ended, s.cfg.Log) })
		defer func() {
			ticker.Stop()
			close(ended)
			watch.Wait()
		}()
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// The ended context would end the shutdown at once.
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
	defer cancel()
	err := srv.Shutdown(stopCtx)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were cut off: %w", err), srv.Close())
	}
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
