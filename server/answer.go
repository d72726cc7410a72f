package server

import (
	"errors"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"
)

// answer sends v as JSON with status 200, unless there is an error.
func answer(c echo.Context, v any, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, v)
}

// done answers 204, unless there is an error.
func done(c echo.Context, err error) error {
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// Content types of output: in Docker's frames, and as it is.
const (
	multiplexed = "application/vnd.docker.multiplexed-stream"
	rawStream   = "application/vnd.docker.raw-stream"
)

// sendStream copies a stream to the client without delay and closes the stream.
func sendStream(c echo.Context, contentType string, stream io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, stream.Close()) }()
	c.Response().Header().Set(echo.HeaderContentType, contentType)
	c.Response().WriteHeader(http.StatusOK)
	c.Response().Flush()
	_, err = io.Copy(flushing{c.Response()}, stream)
	return err
}

// flushing flushes after each write: streams may pause between lines.
type flushing struct{ *echo.Response }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Response.Write(p)
	f.Flush()
	return n, err
}
