package server

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// audit answers with JSON lines, each as it is in the trail.
func (s *Server) audit(c echo.Context) error {
	opts := api.AuditOptions{Container: param(c, "container"), Action: param(c, "action")}
	var err error
	if opts.Since, err = moment(c, "since"); err != nil {
		return err
	}
	if opts.Until, err = moment(c, "until"); err != nil {
		return err
	}
	if opts.After, err = count(c, "after"); err != nil {
		return err
	}
	limit, err := count(c, "limit")
	if err != nil {
		return err
	}
	opts.Limit = int(limit)
	stream, err := s.cfg.Backend.Audit(c.Request().Context(), opts)
	if err != nil {
		return err
	}
	return sendStream(c, "application/jsonl", stream)
}

// count reads a parameter that is a number of records.
func count(c echo.Context, name string) (int64, error) {
	text := param(c, name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, api.Errorf(api.InvalidParameter, "%s is %q: use a whole number such as 100", name, text)
	}
	return n, nil
}

func (s *Server) auditCheckpoint(c echo.Context) error {
	signed, err := s.cfg.Backend.AuditCheckpoint(c.Request().Context())
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", signed)
}
