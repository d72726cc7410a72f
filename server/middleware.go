package server

import (
	"net/http"
	"regexp"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// requestIDHeader names a request in the log.
const requestIDHeader = "X-Request-Id"

// logRequests logs each request after its answer, with the correlation ids of its Azure calls. The line leaves out
// the query, which may hold what users type.
func (s *Server) logRequests(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		started := time.Now()
		id := uuid.NewString()
		c.Response().Header().Set(requestIDHeader, id)
		ctx, calls := api.WithCorrelations(c.Request().Context())
		origin := originOf(c, id)
		c.SetRequest(c.Request().WithContext(api.WithOrigin(ctx, origin)))
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		line := s.cfg.Log.Info().Str("request_id", id).Stringer("requester", origin.Requester).
			Str("method", c.Request().Method).Str("path", c.Request().URL.Path).
			Int("status", c.Response().Status).Dur("duration", time.Since(started))
		if ids := calls(); len(ids) > 0 {
			line = line.Strs("azure_correlation_ids", ids)
		}
		line.Msg("request")
		return nil
	}
}

// slashedNames accepts a leading slash of a container's name in the path: names in lists have one.
func slashedNames(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		u.Path = slashedName.ReplaceAllString(u.Path, "$1")
		u.RawPath = escapedSlash.ReplaceAllString(u.RawPath, "$1")
		return next(c)
	}
}

var (
	slashedName  = regexp.MustCompile(`^((/internal/v1|/v[0-9.]+)?/containers/)/+`)
	escapedSlash = regexp.MustCompile(`^((/internal/v1|/v[0-9.]+)?/containers/)(/|%2[Ff])+`)
)

// noOptions refuses OPTIONS like any other method that a known path does not have; echo would answer OPTIONS itself.
func noOptions(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		allow, ok := c.Get(echo.ContextKeyHeaderAllow).(string)
		if ok && c.Request().Method == http.MethodOptions {
			c.Response().Header().Set(echo.HeaderAllow, allow)
			return echo.ErrMethodNotAllowed
		}
		return next(c)
	}
}
