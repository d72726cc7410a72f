package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// What this backend refuses is asked of it all the same, so that the refusal is its own. Bodies are not read: the answer does not depend on them.

// errStreams is what a backend that does give a stream would need of this server.
var errStreams = api.NotSupported("interactive streams")

func (s *Server) containerAttach(c echo.Context) error {
	stream, err := s.cfg.Backend.ContainerAttach(c.Request().Context(), containerRef(c), api.AttachOptions{
		Stdin: boolean(c, "stdin"), Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"), Stream: boolean(c, "stream"), Logs: boolean(c, "logs"),
	})
	if err != nil {
		return err
	}
	return errors.Join(errStreams, stream.Close())
}

func (s *Server) execCreate(c echo.Context) error {
	res, err := s.cfg.Backend.ExecCreate(c.Request().Context(), containerRef(c), api.ExecCreateRequest{})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, res)
}

func (s *Server) execStart(c echo.Context) error {
	stream, err := s.cfg.Backend.ExecStart(c.Request().Context(), containerRef(c), api.ExecStartRequest{})
	if err != nil {
		return err
	}
	return errors.Join(errStreams, stream.Close())
}

func (s *Server) execInspect(c echo.Context) error {
	res, err := s.cfg.Backend.ExecInspect(c.Request().Context(), containerRef(c))
	return answer(c, res, err)
}

func (s *Server) containerTop(c echo.Context) error {
	res, err := s.cfg.Backend.ContainerTop(c.Request().Context(), containerRef(c), c.QueryParam("ps_args"))
	return answer(c, res, err)
}

func (s *Server) containerStats(c echo.Context) error {
	stream, err := s.cfg.Backend.ContainerStats(c.Request().Context(), containerRef(c), c.QueryParam("stream") == "" || boolean(c, "stream"))
	if err != nil {
		return err
	}
	return sendStream(c, echo.MIMEApplicationJSON, stream)
}

func (s *Server) containerPause(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerPause(c.Request().Context(), containerRef(c)))
}

func (s *Server) containerUnpause(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerUnpause(c.Request().Context(), containerRef(c)))
}

func (s *Server) imageLoad(c echo.Context) error {
	stream, err := s.cfg.Backend.ImageLoad(c.Request().Context(), c.Request().Body)
	if err != nil {
		return err
	}
	return sendStream(c, echo.MIMEApplicationJSON, stream)
}

// networks answers all routes below /networks.
func (s *Server) networks(c echo.Context) error {
	ctx, b := c.Request().Context(), s.cfg.Backend
	id, action, _ := strings.Cut(c.Param("*"), "/")
	switch method := c.Request().Method; {
	case method == http.MethodGet && id == "":
		res, err := b.NetworkList(ctx, nil)
		return answer(c, res, err)
	case method == http.MethodGet:
		res, err := b.NetworkInspect(ctx, id)
		return answer(c, res, err)
	case method == http.MethodDelete:
		return done(c, b.NetworkRemove(ctx, id))
	case action == "connect":
		return done(c, b.NetworkConnect(ctx, id, api.NetworkConnectRequest{}))
	case action == "disconnect":
		return done(c, b.NetworkDisconnect(ctx, id, api.NetworkDisconnectRequest{}))
	case id == "prune":
		return done(c, b.NetworkPrune(ctx, nil))
	default:
		res, err := b.NetworkCreate(ctx, api.NetworkCreateRequest{})
		return answer(c, res, err)
	}
}

// volumes answers all routes below /volumes.
func (s *Server) volumes(c echo.Context) error {
	ctx, b := c.Request().Context(), s.cfg.Backend
	name := c.Param("*")
	switch method := c.Request().Method; {
	case method == http.MethodGet && name == "":
		res, err := b.VolumeList(ctx, nil)
		return answer(c, res, err)
	case method == http.MethodGet:
		res, err := b.VolumeInspect(ctx, name)
		return answer(c, res, err)
	case method == http.MethodDelete:
		return done(c, b.VolumeRemove(ctx, name, boolean(c, "force")))
	case name == "prune":
		return done(c, b.VolumePrune(ctx, nil))
	default:
		res, err := b.VolumeCreate(ctx, api.VolumeCreateRequest{})
		return answer(c, res, err)
	}
}
