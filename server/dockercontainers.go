package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// dockerCreate answers 404 for an unknown image, as Docker does: Docker's clients then pull the image and show the
// pull's messages. The docker CLI shows warnings, but not the reason for a refused attach, so that its foreground run
// gets the reason as a warning.
func (s *Server) dockerCreate(c echo.Context) error {
	if err := checkJSON(c); err != nil {
		return err
	}
	req, err := decodeCreate(c)
	if err != nil {
		return err
	}
	if err := checkPlatform(c); err != nil {
		return err
	}
	ctx := c.Request().Context()
	if req.Config != nil && req.Image != "" {
		if _, err := s.cfg.Backend.ImageInspect(ctx, req.Image); err != nil {
			return err
		}
	}
	res, err := s.cfg.Backend.ContainerCreate(ctx, param(c, "name"), req)
	if err != nil {
		return err
	}
	attaches := req.Config != nil && (req.AttachStdout || req.AttachStderr) && isDockerRun(c)
	if attaches && !s.cfg.Backend.Capabilities().Attach {
		info, err := s.cfg.Backend.ContainerInspect(ctx, res.ID)
		if err != nil {
			return err
		}
		autoRemove := req.HostConfig != nil && req.HostConfig.AutoRemove
		advice := api.AfterRefusedAttach(strings.TrimPrefix(info.Name, "/"), autoRemove)
		res.Warnings = append(res.Warnings, api.NeedsExec("attach").Message+" "+advice)
	}
	return c.JSON(http.StatusCreated, res)
}

// maxEmptyBody is the largest body of a start that Docker takes for none, in bytes.
const maxEmptyBody = 7

func (s *Server) dockerStart(c echo.Context) error {
	if n := c.Request().ContentLength; n > maxEmptyBody || n < 0 {
		return api.Errorf(api.InvalidParameter, "starting container with non-empty request body was deprecated since API "+
			"v1.22 and removed in v1.24")
	}
	return s.containerStart(c)
}

// dockerWait is containerWait with the differences of old versions. Docker leaves out an Error that there is not.
func (s *Server) dockerWait(c echo.Context) error {
	var condition api.WaitCondition
	early := !less(apiVersion(c), "1.30")
	if early {
		condition = api.WaitCondition(param(c, "condition"))
	}
	res, err := s.wait(c, condition, early)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.Response()).Encode(res)
}

func (s *Server) dockerLogs(c echo.Context) error {
	if param(c, "format") != "" && !less(apiVersion(c), "1.54") {
		return api.NotSupported("formats of logs other than Docker's stream")
	}
	contentType := multiplexed
	if less(apiVersion(c), "1.42") {
		contentType = rawStream
	}
	return s.logs(c, boolean(c, "follow"), contentType)
}
