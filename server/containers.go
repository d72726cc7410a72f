package server

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

func (s *Server) capabilities(c echo.Context) error {
	return c.JSON(http.StatusOK, s.cfg.Backend.Capabilities())
}

func (s *Server) containerCreate(c echo.Context) error {
	var req api.CreateRequest
	if err := decode(c.Request().Body, &req); err != nil {
		return err
	}
	res, err := s.cfg.Backend.ContainerCreate(c.Request().Context(), c.QueryParam("name"), req)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, res)
}

func (s *Server) containerList(c echo.Context) error {
	limit, err := number(c, "limit", 0)
	if err != nil {
		return err
	}
	if f := c.QueryParam("filters"); f != "" && f != "{}" {
		return api.Errorf(api.NotImplemented, "This backend (azf) does not support list filters.")
	}
	list, err := s.cfg.Backend.ContainerList(c.Request().Context(), api.ListOptions{All: boolean(c, "all"), Limit: limit})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, list)
}

func (s *Server) containerInspect(c echo.Context) error {
	res, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, res)
}

func (s *Server) containerStart(c echo.Context) error {
	if err := s.cfg.Backend.ContainerStart(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// containerWait sends its headers as soon as the container is known, as Docker does: clients start a container when they see them.
func (s *Server) containerWait(c echo.Context) error {
	accepted := func() {
		c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		c.Response().WriteHeader(http.StatusOK)
		c.Response().Flush()
	}
	res, err := s.cfg.Backend.ContainerWait(c.Request().Context(), c.Param("id"), api.WaitCondition(c.QueryParam("condition")), accepted)
	if err != nil {
		if !c.Response().Committed || c.Request().Context().Err() != nil {
			return err
		}
		// The status is sent: only the body can tell.
		res = api.WaitResponse{StatusCode: -1, Error: &api.WaitError{Message: err.Error()}}
	}
	return json.NewEncoder(c.Response()).Encode(res)
}

func (s *Server) containerRemove(c echo.Context) error {
	if err := s.cfg.Backend.ContainerRemove(c.Request().Context(), c.Param("id"), boolean(c, "force")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) containerLogs(c echo.Context) error {
	opts := api.LogOptions{Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"), Timestamps: boolean(c, "timestamps"), Tail: -1}
	var err error
	if tail := c.QueryParam("tail"); tail != "" && tail != "all" {
		if opts.Tail, err = number(c, "tail", -1); err != nil {
			return err
		}
	}
	if opts.Since, err = moment(c, "since"); err != nil {
		return err
	}
	if opts.Until, err = moment(c, "until"); err != nil {
		return err
	}
	lines, tty, err := s.cfg.Backend.ContainerLogs(c.Request().Context(), c.Param("id"), opts)
	if err != nil {
		return err
	}
	contentType := "application/vnd.docker.multiplexed-stream"
	if tty {
		contentType = "application/vnd.docker.raw-stream"
	}
	c.Response().Header().Set(echo.HeaderContentType, contentType)
	c.Response().WriteHeader(http.StatusOK)
	w := bufio.NewWriter(c.Response())
	for _, line := range lines {
		if err := writeLine(w, line, opts.Timestamps, tty); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Stream numbers in Docker's frames.
const (
	frameStdout = 1
	frameStderr = 2
)

// timestamp is Docker's form: RFC 3339 with all nine digits, so that lines sort and align.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// writeLine writes a line as one frame: stream, three zero bytes, length as 32 bits big-endian, content. With a terminal there are no frames.
func writeLine(w io.Writer, line api.LogLine, timestamps, tty bool) error {
	text := line.Text + "\n"
	if timestamps {
		text = line.Time.UTC().Format(timestamp) + " " + text
	}
	if !tty {
		header := [8]byte{0: frameStdout}
		if line.Stream == api.Stderr {
			header[0] = frameStderr
		}
		binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
		if _, err := w.Write(header[:]); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// decode reads one JSON value. Unknown fields are ignored, as Docker does.
func decode(body io.Reader, into any) error {
	dec := json.NewDecoder(body)
	err := dec.Decode(into)
	if err == nil {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return api.Errorf(api.InvalidParameter, "unexpected content after the JSON body, at byte %d", dec.InputOffset())
		}
		return nil
	}
	if _, ok := errors.AsType[*echo.HTTPError](err); ok {
		return err // the body limit
	}
	if errors.Is(err, io.EOF) {
		return api.Errorf(api.InvalidParameter, "invalid JSON: got EOF while reading request body")
	}
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return api.Errorf(api.InvalidParameter, "invalid JSON: field %s takes no %s, at byte %d", wrongType.Field, wrongType.Value, wrongType.Offset)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return api.Errorf(api.InvalidParameter, "invalid JSON: %w, at byte %d", err, syntax.Offset)
	}
	return api.Errorf(api.InvalidParameter, "invalid JSON: %w", err)
}

// boolean reads a query parameter as Docker does: everything but these words is true.
func boolean(c echo.Context, name string) bool {
	switch strings.ToLower(strings.TrimSpace(c.QueryParam(name))) {
	case "", "0", "no", "false", "none":
		return false
	default:
		return true
	}
}

func number(c echo.Context, name string, missing int) (int, error) {
	value := c.QueryParam(name)
	if value == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, api.Errorf(api.InvalidParameter, "query parameter %s: %q is not a whole number", name, value)
	}
	return n, nil
}

// moment reads a time as Docker does: seconds since 1970 with up to nine decimals, or RFC 3339. Zero means none.
func moment(c echo.Context, name string) (time.Time, error) {
	value := c.QueryParam(name)
	if value == "" || value == "0" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return t, nil
	}
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseUint(whole, 10, 32)
	nanos, fractionErr := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil || fractionErr != nil || len(fraction) > 9 {
		return time.Time{}, api.Errorf(api.InvalidParameter, "query parameter %s: %q is no time: give seconds since 1970 or RFC 3339", name, value)
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), nil
}
