package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// statuses maps kinds of error to HTTP, after Docker. Kinds that are not here are 500.
var statuses = []struct {
	kind   api.Kind
	status int
}{
	{api.InvalidParameter, http.StatusBadRequest},
	{api.Unauthorized, http.StatusUnauthorized},
	{api.NotFound, http.StatusNotFound},
	{api.Conflict, http.StatusConflict},
	{api.NotModified, http.StatusNotModified},
	{api.NotImplemented, http.StatusNotImplemented},
	{api.Unavailable, http.StatusServiceUnavailable},
}

type errorBody struct {
	Message string `json:"message"`
}

// handleError answers with Docker's error body, and logs what is the server's fault with its cause.
func (s *Server) handleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	// A client that has left reads no answer, and its leaving is no fault.
	if errors.Is(err, context.Canceled) && c.Request().Context().Err() != nil {
		c.Response().Status = statusClientClosedRequest
		return
	}
	status, message := http.StatusInternalServerError, err.Error()
	if httpErr, ok := errors.AsType[*echo.HTTPError](err); ok {
		status, message = httpErr.Code, http.StatusText(httpErr.Code)
		switch status {
		case http.StatusNotFound:
			message = "page not found"
		case http.StatusRequestEntityTooLarge:
			message = fmt.Sprintf("request body too large: at most %d bytes are taken", maxBody)
		}
	}
	for _, row := range statuses {
		if api.KindOf(err) == row.kind {
			status = row.status
			break
		}
	}
	if status >= http.StatusInternalServerError && status != http.StatusNotImplemented {
		s.cfg.Log.Error().Err(err).AnErr("cause", errors.Unwrap(err)).Str("request_id", c.Response().Header().Get(requestIDHeader)).Msg("request failed")
	}
	if status == http.StatusNotModified || c.Request().Method == http.MethodHead {
		err = c.NoContent(status)
	} else {
		err = c.JSON(status, errorBody{Message: message})
	}
	if err != nil {
		s.cfg.Log.Debug().Err(err).Msg("client left before the answer")
	}
}

// statusClientClosedRequest stands in the request log for a client that left; it is never sent.
const statusClientClosedRequest = 499
