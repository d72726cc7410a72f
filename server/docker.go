package server

import (
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
