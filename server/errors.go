package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
)

// statuses maps kinds of error to HTTP statuses, after Docker. Any other kind is a 500.
var statuses = []struct {
	kind   api.Kind
	status int
}{
	{api.InvalidParameter, http.StatusBadRequest},
	{api.Unauthorized, http.StatusUnauthorized},
	{api.Forbidden, http.StatusForbidden},
	{api.NotFound, http.StatusNotFound},
	{api.Conflict, http.StatusConflict},
	{api.NotModified, http.StatusNotModified},
	{api.NotImplemented, http.StatusNotImplemented},
	{api.Unavailable, http.StatusServiceUnavailable},
}

type errorBody struct {
	Message string `json:"message"`
}

// handleError answers with Docker's error body. It logs an error, with its cause, in two cases: the status is a 5xx
// other than 501, or Azure refused a call.
func (s *Server) handleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	// A client that has left reads no answer, and leaving is not an error.
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
			message = fmt.Sprintf("request body too large: the limit is %d bytes", maxBody)
		}
	}
	for _, row := range statuses {
		if api.KindOf(err) == row.kind {
			status = row.status
			break
		}
	}
	known, ours := errors.AsType[*api.Error](err)
	if ours && known.RetryAfter > 0 {
		seconds := max(1, int((known.RetryAfter+time.Second-1)/time.Second))
		c.Response().Header().Set(echo.HeaderRetryAfter, strconv.Itoa(seconds))
	}
	switch {
	case status >= http.StatusInternalServerError && status != http.StatusNotImplemented:
		failed(s.cfg.Log.Error(), c, err, known).Msg("request failed")
	case ours && (known.CorrelationID != "" || known.RequestID != ""):
		failed(s.cfg.Log.Warn(), c, err, known).Int("status", status).Msg("request refused by Azure")
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

// failed adds the error, its cause and the ids of the request and of Azure's call to a log line. known is nil when
// err holds no *api.Error.
func failed(line *zerolog.Event, c echo.Context, err error, known *api.Error) *zerolog.Event {
	line = line.Err(err).AnErr("cause", errors.Unwrap(err))
	line = line.Str("request_id", c.Response().Header().Get(requestIDHeader))
	if known != nil && known.CorrelationID != "" {
		line = line.Str("azure_correlation_id", known.CorrelationID)
	}
	if known != nil && known.RequestID != "" {
		line = line.Str("azure_request_id", known.RequestID)
	}
	return line
}

// statusClientClosedRequest is the status in the request log for a client that left. It is never sent.
const statusClientClosedRequest = 499
