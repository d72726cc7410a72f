package server

import (
	"strings"

	"github.com/distribution/reference"
	"github.com/labstack/echo/v4"
	"github.com/opencontainers/go-digest"

	"github.com/sockerless/backend-azf/internal/api"
)

// imageCreate pulls an image. Docker's clients name the image in two query parameters and send credentials in a
// header.
func (s *Server) imageCreate(c echo.Context) error {
	if param(c, "fromSrc") != "" {
		return api.NotSupported("image import")
	}
	ref, err := required(c, "fromImage")
	if err != nil {
		return err
	}
	if ref, err = pullReference(ref, param(c, "tag")); err != nil {
		return err
	}
	// As in Docker, a pull with credentials that cannot be read is one without.
	auth, err := api.DecodeAuth(c.Request().Header.Get("X-Registry-Auth"))
	if err != nil {
		auth = api.AuthConfig{}
	}
	var platform string
	if !less(apiVersion(c), "1.32") {
		platform = param(c, "platform")
	}
	return s.pull(c, ref, auth, platform)
}

// pullReference joins the two parameters that name an image. The tag, which may be a digest, replaces that of the name.
func pullReference(name, tag string) (string, error) {
	name = strings.TrimSuffix(name, ":") // old clients end a name without a tag so
	if tag == "" {
		return name, nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err == nil {
		if d, notDigest := digest.Parse(tag); notDigest == nil {
			named, err = reference.WithDigest(reference.TrimNamed(named), d)
		} else {
			named, err = reference.WithTag(reference.TrimNamed(named), tag)
		}
	}
	if err != nil {
		return "", api.Errorf(api.InvalidParameter, "invalid reference format: %q with tag %q: %w", name, tag, err)
	}
	return named.String(), nil
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
