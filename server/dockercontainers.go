package server

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// dockerCreate answers 404 for an unknown image, as Docker does: Docker's clients then pull the image and show the
// pull's messages. A client that wants to attach gets the refusal as a warning: Docker's clients show warnings, but
// not the reason for a refused attach.
func (s *Server) dockerCreate(c echo.Context) error {
	var req api.CreateRequest
	if err := checkJSON(c); err != nil {
		return err
	}
	if err := decode(c, &req); err != nil {
		return err
	}
	if err := checkPlatform(c); err != nil {
		return err
	}
	if req.Config != nil && req.Image != "" {
		if _, err := s.cfg.Backend.ImageInspect(c.Request().Context(), req.Image); err != nil {
			return err
		}
	}
	ctx := c.Request().Context()
	res, err := s.cfg.Backend.ContainerCreate(ctx, param(c, "name"), req)
	if err != nil {
		return err
	}
	if req.Config != nil && (req.AttachStdin || req.AttachStdout || req.AttachStderr) {
		if stream, err := s.cfg.Backend.ContainerAttach(ctx, res.ID, api.AttachOptions{}); err != nil {
			res.Warnings = append(res.Warnings, err.Error())
		} else if err := stream.Close(); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusCreated, res)
}

// dockerAttach refuses within the stream when the container runs: Docker's clients show the stream, but not the
// body of a 501. When the container does not run, the answer is a 501, which keeps a foreground docker run from
// starting it.
func (s *Server) dockerAttach(c echo.Context) error {
	refusal := s.containerAttach(c)
	info, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if err != nil || info.State == nil || !info.State.Running || info.Config == nil || info.Config.Tty {
		return refusal
	}
	if c.Request().Header.Get("Upgrade") == "" {
		return refusal
	}
	conn, w, err := c.Response().Hijack()
	if err != nil {
		return errors.Join(refusal, err)
	}
	c.Response().Committed, c.Response().Status = true, http.StatusSwitchingProtocols
	text := refusal.Error() + "\n"
	frame := [8]byte{0: frameSystemError}
	binary.BigEndian.PutUint32(frame[4:], uint32(len(text)))
	_, err = fmt.Fprintf(w, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n%s%s",
		multiplexed, frame[:], text)
	return errors.Join(err, w.Flush(), conn.Close())
}

// frameSystemError is the stream number in Docker's frames for the daemon's own errors.
const frameSystemError = 3

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
