package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// dockerHeaders sets the headers that are on every answer of Docker's daemon. Clients negotiate the version by
// Api-Version.
func dockerHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Api-Version", api.APIVersion)
		h.Set("Docker-Experimental", "false")
		h.Set("Ostype", "linux")
		h.Set("Server", "Docker/"+api.APIVersion+" (sockerless-backend-azf; "+runtime.GOOS+")")
		return next(c)
	}
}

// checkVersion refuses API versions that this server does not answer, in Docker's words.
func checkVersion(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		version := c.Param("version")
		switch {
		case !versionForm(version):
			return echo.ErrNotFound
		case less(version, api.MinAPIVersion):
			return api.Errorf(api.InvalidParameter, "client version %s is too old. Minimum supported API version is %s, "+
				"please upgrade your client to a newer version", version, api.MinAPIVersion)
		case less(api.APIVersion, version):
			return api.Errorf(api.InvalidParameter,
				"client version %s is too new. Maximum supported API version is %s", version, api.APIVersion)
		}
		return next(c)
	}
}

// versionForm reports whether version is of the form major.minor.
func versionForm(version string) bool {
	var major, minor uint16
	n, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && n == 2 && fmt.Sprintf("%d.%d", major, minor) == version
}

// less reports whether a is the older version. Both are of the form of versionForm.
func less(a, b string) bool {
	aMajor, aMinor := split(a)
	bMajor, bMinor := split(b)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

func split(version string) (major, minor int) {
	a, b, _ := strings.Cut(version, ".")
	major, _ = strconv.Atoi(a) // of versionForm
	minor, _ = strconv.Atoi(b)
	return major, minor
}

func (s *Server) ping(c echo.Context) error {
	if err := s.cfg.Backend.Ready(c.Request().Context()); err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Swarm", "inactive")
	return c.String(http.StatusOK, "OK")
}

// dockerCreate answers 404 for an unknown image, as Docker does: Docker's clients then pull the image and show the
// pull's messages. A client that wants to attach gets the refusal as a warning: Docker's clients show warnings, but
// not the reason for a refused attach.
func (s *Server) dockerCreate(c echo.Context) error {
	var req api.CreateRequest
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
	res, err := s.cfg.Backend.ContainerCreate(ctx, c.QueryParam("name"), req)
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

// imageCreate pulls an image. Docker's clients name the image in two query parameters and send credentials in a
// header.
func (s *Server) imageCreate(c echo.Context) error {
	if c.QueryParam("fromSrc") != "" {
		return api.NotSupported("image import")
	}
	ref, err := required(c, "fromImage")
	if err != nil {
		return err
	}
	if tag := c.QueryParam("tag"); strings.Contains(tag, ":") {
		ref += "@" + tag
	} else if tag != "" {
		ref += ":" + tag
	}
	auth, err := api.DecodeAuth(c.Request().Header.Get("X-Registry-Auth"))
	if err != nil {
		return err
	}
	return s.pull(c, ref, auth, c.QueryParam("platform"))
}

// dockerImageGet answers GET /images/<name>/<action>. Names may hold slashes, so the path's suffix selects the
// action.
func (s *Server) dockerImageGet(c echo.Context) error {
	name, err := imageName(c)
	if err != nil {
		return err
	}
	if of, ok := strings.CutSuffix(name, "/json"); ok {
		return s.inspectImage(c, of)
	}
	if strings.HasSuffix(name, "/history") {
		return s.imageGet(c)
	}
	if strings.HasSuffix(name, "/get") {
		return api.NotSupported("image get")
	}
	return echo.ErrNotFound
}
