// Package server speaks the internal API over HTTP and turns errors into Docker's statuses in one table. It decodes requests,
// calls an api.Backend and encodes answers, and must not know how the backend does its work.
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

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
)

// Prefix is the path below which the internal API answers.
const Prefix = "/internal/v1"

// maxBody is the largest request body. 64 KiB of environment and labels each leave it far away.
const maxBody = 4 << 20

// Config configures New.
type Config struct {
	Backend api.Backend
	// ShutdownTimeout is how long Serve waits for requests under way when it is told to stop; 0 means 10 seconds.
	ShutdownTimeout time.Duration
	Log             zerolog.Logger
}

// Server is an http.Handler for the internal API.
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
	s.register(Prefix, s.internalRoutes())
	s.registerDocker()
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers requests on l until ctx ends, then waits for those under way, at most ShutdownTimeout. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// What net/http has to tell is of clients that speak no TLS or left.
	errorLog := slog.NewLogLogger(zerolog.NewSlogHandler(s.cfg.Log), slog.LevelWarn)
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: errorLog}
	if socket, ok := l.(*lasting); ok {
		ticker, ended := time.NewTicker(socketLook), make(chan struct{})
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

// requestIDHeader names a request in the log.
const requestIDHeader = "X-Request-Id"

// logRequests logs each request once it has been answered, with the correlation ids of its Azure calls. The query is left out: it
// may hold what users type.
func (s *Server) logRequests(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		started := time.Now()
		id := uuid.NewString()
		c.Response().Header().Set(requestIDHeader, id)
		ctx, calls := api.WithCorrelations(c.Request().Context())
		c.SetRequest(c.Request().WithContext(ctx))
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		line := s.cfg.Log.Info().Str("request_id", id).Str("method", c.Request().Method).Str("path", c.Request().URL.Path).
			Int("status", c.Response().Status).Dur("duration", time.Since(started))
		if ids := calls(); len(ids) > 0 {
			line = line.Strs("azure_correlation_ids", ids)
		}
		line.Msg("request")
		return nil
	}
}
