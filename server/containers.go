package server

import (
	"encoding/json"
	"errors"
	"io"
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

// checkPlatform refuses a create for another platform than that of Azure Functions.
func checkPlatform(c echo.Context) error {
	switch p := strings.ToLower(c.QueryParam("platform")); {
	case p == "", p == "linux", strings.HasPrefix(p+"/", "linux/amd64/"), strings.HasPrefix(p+"/", "linux/x86_64/"), p == "amd64", p == "x86_64":
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
	list, err := s.cfg.Backend.ContainerList(c.Request().Context(), api.ListOptions{All: boolean(c, "all"), Limit: limit, Filters: filters})
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

// containerWait sends its headers as soon as the container is known, as Docker does: clients start a container when they see them.
func (s *Server) containerWait(c echo.Context) error {
	accepted := func() {
		c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		c.Response().WriteHeader(http.StatusOK)
		c.Response().Flush()
	}
	res, err := s.cfg.Backend.ContainerWait(c.Request().Context(), containerRef(c), api.WaitCondition(c.QueryParam("condition")), accepted)
	if err != nil {
		if !c.Response().Committed || c.Request().Context().Err() != nil {
			return err
		}
		// The status is sent: only the body can tell.
		res = api.WaitResponse{StatusCode: -1, Error: &api.WaitError{Message: err.Error()}}
	}
	// Docker leaves out an error that is not there, and front ends look for it.
	return json.NewEncoder(c.Response()).Encode(struct {
		StatusCode int64
		Error      *api.WaitError
	}{res.StatusCode, res.Error})
}

func (s *Server) containerRemove(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerRemove(c.Request().Context(), containerRef(c), boolean(c, "force")))
}

func (s *Server) containerLogs(c echo.Context) error {
	opts := api.LogOptions{Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"), Timestamps: boolean(c, "timestamps"), Follow: boolean(c, "follow"), Tail: -1}
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
	// The container's terminal decides the form of the stream, and never changes.
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

// multiplexed is the type of a stream in Docker's frames.
const multiplexed = "application/vnd.docker.multiplexed-stream"

// sendStream copies a stream to the client as it comes, and closes it.
func sendStream(c echo.Context, contentType string, stream io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, stream.Close()) }()
	c.Response().Header().Set(echo.HeaderContentType, contentType)
	c.Response().WriteHeader(http.StatusOK)
	c.Response().Flush()
	_, err = io.Copy(flushing{c.Response()}, stream)
	return err
}

// flushing sends each write on at once: streams may pause between lines.
type flushing struct{ *echo.Response }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Response.Write(p)
	f.Flush()
	return n, err
}
