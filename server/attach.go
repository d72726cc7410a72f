package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// containerAttach answers an attach. The Backend refuses it, or returns a stream.
func (s *Server) containerAttach(c echo.Context) error {
	stream, err := s.cfg.Backend.ContainerAttach(c.Request().Context(), containerRef(c), api.AttachOptions{
		Stdin: boolean(c, "stdin"), Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"),
		Stream: boolean(c, "stream"), Logs: boolean(c, "logs"),
	})
	if err != nil {
		return err
	}
	info, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	return s.upgraded(c, info.Config != nil && info.Config.Tty, stream)
}

// websocketAttach refuses: the server has no websockets.
func (s *Server) websocketAttach(echo.Context) error { return api.NeedsExec("attach") }

// dockerAttach is containerAttach, but refuses within the stream when the container runs: Docker's clients show the
// stream, but not the body of a 501. When the container does not run, the answer is a 501, which keeps a foreground
// docker run from starting it.
func (s *Server) dockerAttach(c echo.Context) error {
	refusal := s.containerAttach(c)
	if api.KindOf(refusal) != api.NotImplemented || c.Response().Committed {
		return refusal
	}
	info, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if err != nil || info.State == nil || !info.State.Running || info.Config == nil || info.Config.Tty {
		return refusal
	}
	if c.Request().Header.Get("Upgrade") == "" {
		return refusal
	}
	text := refusal.Error() + "\n"
	frame := [8]byte{0: frameSystemError}
	binary.BigEndian.PutUint32(frame[4:], uint32(len(text)))
	return s.upgraded(c, false, io.NopCloser(io.MultiReader(bytes.NewReader(frame[:]), strings.NewReader(text))))
}

// frameSystemError is the stream number in Docker's frames for the daemon's own errors.
const frameSystemError = 3

// leaveTime is the time that a client has to close its side after the end of a stream.
const leaveTime = 5 * time.Second

// upgraded takes over the connection and sends a stream on it. It closes the stream and the connection at the end.
// What the client sends is read, so that its end does not reset the connection, and ignored.
func (s *Server) upgraded(c echo.Context, tty bool, stream io.ReadCloser) (err error) {
	conn, _, err := c.Response().Hijack()
	if err != nil {
		return errors.Join(fmt.Errorf("take over the connection: %w", err), stream.Close())
	}
	var input sync.WaitGroup
	input.Go(func() {
		// The reader of Hijack would end the request's context with the input.
		if _, err := io.Copy(io.Discard, conn); err != nil {
			s.cfg.Log.Debug().Err(err).Msg("an attached client's input has ended")
		}
	})
	defer func() {
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, half.CloseWrite(), conn.SetReadDeadline(time.Now().Add(leaveTime)))
			input.Wait()
		}
		err = errors.Join(err, conn.Close())
		input.Wait()
	}()
	contentType := rawStream
	if !tty && !less(apiVersion(c), "1.42") {
		contentType = multiplexed
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\n\r\n"
	c.Response().Committed, c.Response().Status = true, http.StatusOK
	if c.Request().Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + contentType + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
		c.Response().Status = http.StatusSwitchingProtocols
	}
	_, err = io.WriteString(conn, head)
	if err == nil {
		_, err = io.Copy(conn, stream)
	}
	return errors.Join(err, stream.Close()) // before the client leaves
}
