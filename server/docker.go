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

// dockerRoutes is the route table of the Docker Engine API: other paths to the handlers of the internal API.
func (s *Server) dockerRoutes() []route {
	return []route{
		{http.MethodGet, "/_ping", s.ping},
		{http.MethodHead, "/_ping", s.ping},
		{http.MethodGet, "/info", s.info},
		{http.MethodGet, "/version", s.version},
		{http.MethodGet, "/events", s.events},
		{http.MethodGet, "/system/df", s.systemDf},
		{http.MethodPost, "/auth", s.authLogin},

		{http.MethodPost, "/containers/create", s.dockerCreate},
		{http.MethodGet, "/containers/json", s.containerList},
		{http.MethodPost, "/containers/prune", s.containerPrune},
		{http.MethodGet, "/containers/:id/json", s.containerInspect},
		{http.MethodDelete, "/containers/:id", s.containerRemove},
		{http.MethodPost, "/containers/:id/start", s.containerStart},
		{http.MethodPost, "/containers/:id/stop", s.containerStop},
		{http.MethodPost, "/containers/:id/kill", s.containerKill},
		{http.MethodPost, "/containers/:id/restart", s.containerRestart},
		{http.MethodPost, "/containers/:id/wait", s.containerWait},
		{http.MethodPost, "/containers/:id/rename", s.containerRename},
		{http.MethodGet, "/containers/:id/logs", s.containerLogs},

		{http.MethodPost, "/containers/:id/attach", s.dockerAttach},
		{http.MethodGet, "/containers/:id/attach/ws", s.containerAttach},
		{http.MethodPost, "/containers/:id/resize", refused(api.NeedsExec("attach"))},
		{http.MethodPost, "/containers/:id/exec", s.execCreate},
		{http.MethodPost, "/exec/:id/start", s.execStart},
		{http.MethodPost, "/exec/:id/resize", refused(api.NeedsExec("exec"))},
		{http.MethodGet, "/exec/:id/json", s.execInspect},
		{http.MethodGet, "/containers/:id/top", s.containerTop},
		{http.MethodGet, "/containers/:id/stats", s.containerStats},
		{http.MethodPost, "/containers/:id/pause", s.containerPause},
		{http.MethodPost, "/containers/:id/unpause", s.containerUnpause},
		{http.MethodPost, "/containers/:id/update", refused(api.NotSupported("update"))},
		{http.MethodGet, "/containers/:id/changes", refused(api.NotSupported("changes"))},
		{http.MethodGet, "/containers/:id/export", refused(api.NotSupported("export"))},
		{http.MethodPut, "/containers/:id/archive", refused(api.NotSupported("archive"))},
		{http.MethodHead, "/containers/:id/archive", refused(api.NotSupported("archive"))},
		{http.MethodGet, "/containers/:id/archive", refused(api.NotSupported("archive"))},
		{http.MethodPost, "/commit", refused(api.NotSupported("commit"))},

		{http.MethodPost, "/images/create", s.imageCreate},
		{http.MethodGet, "/images/json", s.imageList},
		{http.MethodPost, "/images/prune", s.imagePrune},
		{http.MethodPost, "/images/load", s.imageLoad},
		{http.MethodGet, "/images/get", refused(api.NotSupported("image get"))},
		{http.MethodGet, "/images/search", refused(api.NotSupported("image search"))},
		{http.MethodGet, "/images/*", s.dockerImageGet},
		{http.MethodPost, "/images/*", s.imagePost},
		{http.MethodDelete, "/images/*", s.imageRemove},
		{http.MethodGet, "/distribution/*", refused(api.NotSupported("distribution inspect"))},
		{http.MethodPost, "/build", refused(api.NotSupported("image build"))},
		{http.MethodPost, "/build/prune", refused(api.NotSupported("image build"))},
		{http.MethodPost, "/session", refused(api.NotSupported("image build"))},
		{http.MethodPost, "/grpc", refused(api.NotSupported("image build"))},

		{anyMethod, "/networks", s.networks},
		{anyMethod, "/networks/*", noSuchObject(s.networks)},
		{anyMethod, "/volumes", s.volumes},
		{anyMethod, "/volumes/*", noSuchObject(s.volumes)},
		{anyMethod, "/plugins", refused(api.NotSupported("plugins"))},
		{anyMethod, "/plugins/*", noSuchObject(refused(api.NotSupported("plugins")))},
		{anyMethod, "/swarm", refused(api.NotSupported("swarm"))},
		{anyMethod, "/swarm/*", refused(api.NotSupported("swarm"))},
		{anyMethod, "/nodes", refused(api.NotSupported("swarm"))},
		{anyMethod, "/nodes/*", refused(api.NotSupported("swarm"))},
		{anyMethod, "/services", refused(api.NotSupported("swarm"))},
		{anyMethod, "/services/*", refused(api.NotSupported("swarm"))},
		{anyMethod, "/tasks", refused(api.NotSupported("swarm"))},
		{anyMethod, "/tasks/*", refused(api.NotSupported("swarm"))},
		{anyMethod, "/secrets", refused(api.NotSupported("swarm"))},
		{anyMethod, "/secrets/*", refused(api.NotSupported("swarm"))},
		{anyMethod, "/configs", refused(api.NotSupported("swarm"))},
		{anyMethod, "/configs/*", refused(api.NotSupported("swarm"))},
	}
}

// noSuchObject makes the refusal of an inspect a 404: docker inspect asks for a name as each kind of thing in turn, and gives up at any other status.
func noSuchObject(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if c.Request().Method == http.MethodGet && api.KindOf(err) == api.NotImplemented {
			return api.Errorf(api.NotFound, "%s", err)
		}
		return err
	}
}

// registerDocker adds the Docker Engine API with and without a version in the path.
func (s *Server) registerDocker() {
	s.register("", s.dockerRoutes(), dockerHeaders)
	s.register("/v:version", s.dockerRoutes(), dockerHeaders, checkVersion)
}

// dockerHeaders are on every answer of Docker's daemon; its clients negotiate the version by the first.
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

// checkVersion refuses versions that are not answered, in Docker's words.
func checkVersion(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		version := c.Param("version")
		switch {
		case !versionForm(version):
			return echo.ErrNotFound
		case less(version, api.MinAPIVersion):
			return api.Errorf(api.InvalidParameter, "client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", version, api.MinAPIVersion)
		case less(api.APIVersion, version):
			return api.Errorf(api.InvalidParameter, "client version %s is too new. Maximum supported API version is %s", version, api.APIVersion)
		}
		return next(c)
	}
}

func versionForm(version string) bool {
	var major, minor uint16
	n, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && n == 2 && fmt.Sprintf("%d.%d", major, minor) == version
}

// less compares versions of versionForm.
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

// dockerCreate answers 404 for an image that is not known, as Docker does: its clients pull then, and show what the pull says. A client that
// wants to attach is warned that it cannot: Docker's clients show warnings, but not why an attach is refused.
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

// dockerAttach refuses within the stream when the container runs: Docker's clients show that text, and not the body of a 501. For a
// container that does not run it is a 501, which keeps a foreground docker run from starting it.
func (s *Server) dockerAttach(c echo.Context) error {
	refusal := s.containerAttach(c)
	info, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if err != nil || info.State == nil || !info.State.Running || info.Config == nil || info.Config.Tty || c.Request().Header.Get("Upgrade") == "" {
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
	_, err = fmt.Fprintf(w, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n%s%s", multiplexed, frame[:], text)
	return errors.Join(err, w.Flush(), conn.Close())
}

// frameSystemError is the stream number of the daemon's own errors in Docker's frames.
const frameSystemError = 3

// imageCreate pulls. Docker's clients say what with two query parameters, and send credentials in a header.
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

// dockerImageGet answers GET below an image's name, which always has a last part that says what is asked for.
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
