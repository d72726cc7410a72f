package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

func (s *Server) containerCreate(c echo.Context) error {
	var req api.CreateRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	if err := checkPlatform(c); err != nil {
		return err
	}
	res, err := s.cfg.Backend.ContainerCreate(c.Request().Context(), c.QueryParam("name"), req)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, res)
}

// checkPlatform refuses a create for a platform that Azure Functions does not have.
func checkPlatform(c echo.Context) error {
	switch p := strings.ToLower(c.QueryParam("platform")); {
	case p == "", p == "linux", p == "amd64", p == "x86_64":
		return nil
	case strings.HasPrefix(p+"/", "linux/amd64/"), strings.HasPrefix(p+"/", "linux/x86_64/"):
		return nil
	}
	return api.NotSupported("platforms other than linux/amd64")
}

func (s *Server) containerList(c echo.Context) error {
	limit, err := number(c, "limit", 0)
	if err != nil {
		return err
	}
	filters, err := filters(c)
	if err != nil {
		return err
	}
	opts := api.ListOptions{All: boolean(c, "all"), Limit: limit, Filters: filters}
	list, err := s.cfg.Backend.ContainerList(c.Request().Context(), opts)
	return answer(c, list, err)
}

func (s *Server) containerInspect(c echo.Context) error {
	res, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	return answer(c, res, err)
}

func (s *Server) containerStart(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerStart(c.Request().Context(), containerRef(c)))
}

func (s *Server) containerStop(c echo.Context) error {
	timeout, err := optionalNumber(c, "t")
	if err != nil {
		return err
	}
	return done(c, s.cfg.Backend.ContainerStop(c.Request().Context(), containerRef(c), timeout))
}

func (s *Server) containerKill(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerKill(c.Request().Context(), containerRef(c), c.QueryParam("signal")))
}

func (s *Server) containerRestart(c echo.Context) error {
	timeout, err := optionalNumber(c, "t")
	if err != nil {
		return err
	}
	return done(c, s.cfg.Backend.ContainerRestart(c.Request().Context(), containerRef(c), timeout))
}

func (s *Server) containerRename(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerRename(c.Request().Context(), containerRef(c), c.QueryParam("name")))
}

func (s *Server) containerPrune(c echo.Context) error {
	filters, err := filters(c)
	if err != nil {
		return err
	}
	report, err := s.cfg.Backend.ContainerPrune(c.Request().Context(), filters)
	return answer(c, report, err)
}

// containerWait sends its headers as soon as it has found the container, as Docker does: clients start a container
// when they receive the headers.
func (s *Server) containerWait(c echo.Context) error {
	accepted := func() {
		c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		c.Response().WriteHeader(http.StatusOK)
		c.Response().Flush()
	}
	condition := api.WaitCondition(c.QueryParam("condition"))
	res, err := s.cfg.Backend.ContainerWait(c.Request().Context(), containerRef(c), condition, accepted)
	if err != nil {
		if !c.Response().Committed || c.Request().Context().Err() != nil {
			return err
		}
		// The status has been sent, so the body reports the error.
		res = api.WaitResponse{StatusCode: -1, Error: &api.WaitError{Message: err.Error()}}
	}
	// Front ends look for Error, which Docker's type omits when it is nil.
	return json.NewEncoder(c.Response()).Encode(struct {
		StatusCode int64
		Error      *api.WaitError
	}{res.StatusCode, res.Error})
}

func (s *Server) containerRemove(c echo.Context) error {
	force := boolean(c, "force")
	return done(c, s.cfg.Backend.ContainerRemove(c.Request().Context(), containerRef(c), force))
}

func (s *Server) containerLogs(c echo.Context) error {
	opts := api.LogOptions{
		Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"),
		Timestamps: boolean(c, "timestamps"), Follow: boolean(c, "follow"), Tail: -1,
	}
	var err error
	if tail := c.QueryParam("tail"); tail != "" && tail != "all" {
		if opts.Tail, err = number(c, "tail", -1); err != nil {
			return err
		}
	}
	if opts.Since, err = logBound(c, "since"); err != nil {
		return err
	}
	if opts.Until, err = logBound(c, "until"); err != nil {
		return err
	}
	stream, err := s.cfg.Backend.ContainerLogs(c.Request().Context(), containerRef(c), opts)
	if err != nil {
		return err
	}
	// Whether the container has a terminal decides the content type. It never changes.
	info, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	contentType := multiplexed
	if info.Config != nil && info.Config.Tty {
		contentType = "application/vnd.docker.raw-stream"
	}
	return sendStream(c, contentType, stream)
}

// containerAttach asks the Backend, whose refusal depends on the container's state. The server cannot carry a stream.
func (s *Server) containerAttach(c echo.Context) error {
	stream, err := s.cfg.Backend.ContainerAttach(c.Request().Context(), containerRef(c), api.AttachOptions{
		Stdin: boolean(c, "stdin"), Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"),
		Stream: boolean(c, "stream"), Logs: boolean(c, "logs"),
	})
	if err != nil {
		return err
	}
	return errors.Join(api.NotSupported("interactive streams"), stream.Close())
}
