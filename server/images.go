package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

// pullRequest is the body of a pull. Auth is an object, or a string in the form of Docker's X-Registry-Auth header.
type pullRequest struct {
	Reference string
	Auth      json.RawMessage
	Platform  string
}

func (s *Server) imagePull(c echo.Context) error {
	var req pullRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	auth, err := parseAuth(req.Auth)
	if err != nil {
		return err
	}
	if req.Reference == "" {
		return api.Errorf(api.InvalidParameter, "no image given: set Reference")
	}
	return s.pull(c, req.Reference, auth, req.Platform)
}

func (s *Server) pull(c echo.Context, ref string, auth api.AuthConfig, platform string) error {
	stream, err := s.cfg.Backend.ImagePull(c.Request().Context(), ref, auth, platform)
	if err != nil {
		return err
	}
	return sendStream(c, echo.MIMEApplicationJSON, stream)
}

// parseAuth reads both forms of credentials. Its errors never show the credentials.
func parseAuth(raw json.RawMessage) (auth api.AuthConfig, err error) {
	var header string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return auth, nil
	case json.Unmarshal(raw, &header) == nil:
		return api.DecodeAuth(header)
	case json.Unmarshal(raw, &auth) != nil:
		return api.AuthConfig{}, api.Errorf(api.InvalidParameter,
			"Auth takes an object of Docker's AuthConfig, or the same as base64url")
	}
	return auth, nil
}

func (s *Server) imageList(c echo.Context) error {
	filters, err := filters(c)
	if err != nil {
		return err
	}
	// Docker's name for the reference filter before 1.25.
	if pattern := param(c, "filter"); pattern != "" && less(apiVersion(c), "1.25") && filters["reference"] == nil {
		reference := api.Filters{"reference": {pattern}}
		maps.Copy(reference, filters)
		filters = reference
	}
	opts := api.ImageListOptions{All: boolean(c, "all"), Filters: filters}
	list, err := s.cfg.Backend.ImageList(c.Request().Context(), opts)
	return answerIn(c, imageSummaryShape, list, err)
}

func (s *Server) imagePrune(c echo.Context) error {
	filters, err := filters(c)
	if err != nil {
		return err
	}
	report, err := s.cfg.Backend.ImagePrune(c.Request().Context(), filters)
	return answer(c, report, err)
}

// imageInspect answers the inspect whose query parameter names the image.
func (s *Server) imageInspect(c echo.Context) error {
	name, err := required(c, "name")
	if err != nil {
		return err
	}
	return s.inspectImage(c, name)
}

func (s *Server) inspectImage(c echo.Context, name string) error {
	res, err := s.cfg.Backend.ImageInspect(c.Request().Context(), name)
	return answerIn(c, imageShape, res, err)
}

// imageTag answers the tag whose query parameter names the image.
func (s *Server) imageTag(c echo.Context) error {
	name, err := required(c, "name")
	if err != nil {
		return err
	}
	return s.tagImage(c, name)
}

func (s *Server) tagImage(c echo.Context, name string) error {
	repo, err := required(c, "repo")
	if err != nil {
		return err
	}
	if err := s.cfg.Backend.ImageTag(c.Request().Context(), name, repo, param(c, "tag")); err != nil {
		return err
	}
	return c.NoContent(http.StatusCreated)
}

// imageGet answers GET /images/<name> and GET /images/<name>/history.
func (s *Server) imageGet(c echo.Context) error {
	name, err := imageName(c)
	if err != nil {
		return err
	}
	if of, ok := strings.CutSuffix(name, "/history"); ok {
		list, err := s.cfg.Backend.ImageHistory(c.Request().Context(), of)
		return answer(c, list, err)
	}
	return s.inspectImage(c, name)
}

// imagePost answers POST /images/<name>/<action>. Names may hold slashes, so the path's suffix selects the action.
func (s *Server) imagePost(c echo.Context) error {
	name, err := imageName(c)
	if err != nil {
		return err
	}
	if of, ok := strings.CutSuffix(name, "/tag"); ok {
		return s.tagImage(c, of)
	}
	if strings.HasSuffix(name, "/push") {
		return api.NotSupported("image push")
	}
	return echo.ErrNotFound
}

func (s *Server) imageRemove(c echo.Context) error {
	name, err := imageName(c)
	if err != nil {
		return err
	}
	// Docker removes single platforms of an image then. Here an image has one platform, and the rest would be nothing.
	if c.Request().Form.Has("platforms") {
		return api.NotSupported("the removal of single platforms of an image")
	}
	force, prune := boolean(c, "force"), !boolean(c, "noprune")
	list, err := s.cfg.Backend.ImageRemove(c.Request().Context(), name, force, prune)
	return answer(c, list, err)
}

// imageName returns the rest of the path, in which slashes may be escaped.
func imageName(c echo.Context) (string, error) {
	name := pathParam(c, "*")
	if name == "" {
		return "", echo.ErrNotFound
	}
	return name, nil
}
