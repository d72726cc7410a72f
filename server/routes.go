package server

import (
	"net/http"
	"regexp"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// any stands for every method in a route.
const anyMethod = "*"

// route is a row of a route table.
type route struct {
	method, path string
	handler      echo.HandlerFunc
}

// internalRoutes is the route table of the internal API, below Prefix.
func (s *Server) internalRoutes() []route {
	return []route{
		{http.MethodGet, "/capabilities", s.capabilities},
		{http.MethodGet, "/info", s.info},
		{http.MethodGet, "/version", s.version},
		{http.MethodGet, "/healthz", s.healthz},
		{http.MethodGet, "/events", s.events},
		{http.MethodGet, "/system/df", s.systemDf},
		{http.MethodPost, "/auth", s.authLogin},

		{http.MethodPost, "/containers", s.containerCreate},
		{http.MethodGet, "/containers", s.containerList},
		{http.MethodPost, "/containers/prune", s.containerPrune},
		{http.MethodGet, "/containers/:id", s.containerInspect},
		{http.MethodDelete, "/containers/:id", s.containerRemove},
		{http.MethodPost, "/containers/:id/start", s.containerStart},
		{http.MethodPost, "/containers/:id/stop", s.containerStop},
		{http.MethodPost, "/containers/:id/kill", s.containerKill},
		{http.MethodPost, "/containers/:id/restart", s.containerRestart},
		{http.MethodPost, "/containers/:id/wait", s.containerWait},
		{http.MethodPost, "/containers/:id/rename", s.containerRename},
		{http.MethodGet, "/containers/:id/logs", s.containerLogs},

		{http.MethodPost, "/containers/:id/attach", s.containerAttach},
		{http.MethodPost, "/containers/:id/resize", refused(api.NeedsExec("attach"))},
		{http.MethodPost, "/containers/:id/exec", s.execCreate},
		{http.MethodPost, "/exec/:id/start", s.execStart},
		{http.MethodPost, "/exec/:id/resize", refused(api.NeedsExec("exec"))},
		{http.MethodGet, "/exec/:id", s.execInspect},
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

		{http.MethodPost, "/images/pull", s.imagePull},
		{http.MethodGet, "/images/inspect", s.imageInspect},
		{http.MethodGet, "/images", s.imageList},
		{http.MethodPost, "/images/tag", s.imageTag},
		{http.MethodPost, "/images/prune", s.imagePrune},
		{http.MethodPost, "/images/load", s.imageLoad},
		{http.MethodPost, "/images/build", refused(api.NotSupported("image build"))},
		{http.MethodGet, "/images/get", refused(api.NotSupported("image get"))},
		{http.MethodGet, "/images/search", refused(api.NotSupported("image search"))},
		// Names hold slashes, so what follows them is told apart by the handler.
		{http.MethodGet, "/images/*", s.imageGet},
		{http.MethodPost, "/images/*", s.imagePost},
		{http.MethodDelete, "/images/*", s.imageRemove},

		{anyMethod, "/networks", s.networks},
		{anyMethod, "/networks/*", s.networks},
		{anyMethod, "/volumes", s.volumes},
		{anyMethod, "/volumes/*", s.volumes},
	}
}

// register adds a route table below a prefix.
func (s *Server) register(prefix string, routes []route, middleware ...echo.MiddlewareFunc) {
	for _, r := range routes {
		if r.method == anyMethod {
			s.echo.Any(prefix+r.path, r.handler, middleware...)
			continue
		}
		s.echo.Add(r.method, prefix+r.path, r.handler, middleware...)
	}
}

// refused answers with an error whatever the request is.
func refused(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }

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

// slashedNames lets a container's name in the path begin with a slash, as the names in lists do.
func slashedNames(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		u.Path, u.RawPath = slashedName.ReplaceAllString(u.Path, "$1"), escapedSlash.ReplaceAllString(u.RawPath, "$1")
		return next(c)
	}
}

var (
	slashedName  = regexp.MustCompile(`^((/internal/v1|/v[0-9.]+)?/containers/)/+`)
	escapedSlash = regexp.MustCompile(`^((/internal/v1|/v[0-9.]+)?/containers/)(/|%2[Ff])+`)
)

// noOptions makes OPTIONS what other methods of known paths are; echo would answer it.
func noOptions(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if allow, ok := c.Get(echo.ContextKeyHeaderAllow).(string); ok && c.Request().Method == http.MethodOptions {
			c.Response().Header().Set(echo.HeaderAllow, allow)
			return echo.ErrMethodNotAllowed
		}
		return next(c)
	}
}
