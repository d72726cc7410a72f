package server

import (
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

func (s *Server) capabilities(c echo.Context) error {
	return c.JSON(http.StatusOK, s.cfg.Backend.Capabilities())
}

func (s *Server) info(c echo.Context) error {
	info, err := s.cfg.Backend.Info(c.Request().Context())
	return answerIn(c, infoShape, info, err)
}

func (s *Server) version(c echo.Context) error {
	return c.JSON(http.StatusOK, s.cfg.Backend.Version(c.Request().Context()))
}

func (s *Server) healthz(c echo.Context) error {
	return answer(c, map[string]string{"status": "ok"}, s.cfg.Backend.Ready(c.Request().Context()))
}

func (s *Server) events(c echo.Context) error {
	stream, err := s.eventStream(c)
	if err != nil {
		return err
	}
	return sendStream(c, echo.MIMEApplicationJSON, stream)
}

func (s *Server) eventStream(c echo.Context) (io.ReadCloser, error) {
	var opts api.EventsOptions
	var err error
	if opts.Since, err = moment(c, "since"); err != nil {
		return nil, err
	}
	if opts.Until, err = moment(c, "until"); err != nil {
		return nil, err
	}
	if opts.Filters, err = filters(c); err != nil {
		return nil, err
	}
	if !opts.Until.IsZero() && opts.Until.Before(opts.Since) {
		return nil, api.Errorf(api.InvalidParameter,
			"`since` time (%s) cannot be after `until` time (%s)", param(c, "since"), param(c, "until"))
	}
	return s.cfg.Backend.SystemEvents(c.Request().Context(), opts)
}

func (s *Server) systemDf(c echo.Context) error {
	df, err := s.cfg.Backend.SystemDf(c.Request().Context())
	return answer(c, df, err)
}

func (s *Server) authLogin(c echo.Context) error {
	var auth api.AuthConfig
	if err := decode(c, &auth); err != nil {
		return err
	}
	res, err := s.cfg.Backend.AuthLogin(c.Request().Context(), auth)
	return answer(c, res, err)
}

func (s *Server) orphans(c echo.Context) error {
	list, err := s.cfg.Backend.Orphans(c.Request().Context())
	return answer(c, list, err)
}

func (s *Server) orphansConfirm(c echo.Context) error {
	var req api.ConfirmRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	list, err := s.cfg.Backend.OrphansConfirm(c.Request().Context(), req.IDs)
	return answer(c, list, err)
}

func (s *Server) foundationCreate(c echo.Context) error {
	var req api.FoundationRequest
	if c.Request().ContentLength != 0 {
		if err := decode(c, &req); err != nil {
			return err
		}
	}
	foundation, err := s.cfg.Backend.FoundationCreate(c.Request().Context(), req.Digest)
	return answer(c, foundation, err)
}
