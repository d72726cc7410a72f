package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

func (s *Server) containerCreate(c echo.Context) error {
	req, err := decodeCreate(c)
	if err != nil {
		return err
	}
	if err := checkPlatform(c); err != nil {
		return err
	}
	res, err := s.cfg.Backend.ContainerCreate(c.Request().Context(), param(c, "name"), req)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, res)
}

// words is a list of strings, or a string that stands for a list of one: Docker's documents allow it for commands.
type words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *words) UnmarshalJSON(content []byte) error {
	var one string
	if err := json.Unmarshal(content, &one); err == nil && string(content) != "null" {
		*w = words{one}
		return nil
	}
	if json.Unmarshal(content, (*[]string)(w)) != nil {
		return fmt.Errorf("%.40s is neither a string nor a list of strings", content)
	}
	return nil
}

// decodeCreate reads the body of a create.
func decodeCreate(c echo.Context) (api.CreateRequest, error) {
	var body struct {
		api.CreateRequest
		Cmd, Entrypoint words            // in place of Config's
		MacAddress      api.HardwareAddr // of API versions before 1.52
	}
	if err := decode(c, &body); err != nil {
		return api.CreateRequest{}, err
	}
	req := body.CreateRequest
	if len(body.MacAddress) > 0 {
		if c.Param("version") != "" && !less(apiVersion(c), "1.52") {
			return req, api.Errorf(api.InvalidParameter,
				"container-wide MAC address no longer supported; use endpoint-specific MAC address instead")
		}
		setMAC(&req, body.MacAddress)
	}
	if req.Config == nil && body.Cmd == nil && body.Entrypoint == nil {
		return req, nil
	}
	if req.Config == nil {
		req.Config = &api.Config{}
	}
	req.Cmd, req.Entrypoint = body.Cmd, body.Entrypoint
	return req, nil
}

// setMAC gives the default network of a request the MAC address that old clients give the whole container.
func setMAC(req *api.CreateRequest, address api.HardwareAddr) {
	bridge := "bridge"
	if req.NetworkingConfig == nil {
		req.NetworkingConfig = &api.NetworkingConfig{}
	}
	if req.NetworkingConfig.EndpointsConfig == nil {
		req.NetworkingConfig.EndpointsConfig = map[string]*api.EndpointSettings{}
	}
	endpoints := req.NetworkingConfig.EndpointsConfig
	if endpoints["default"] != nil { // another name of it
		bridge = "default"
	}
	if endpoints[bridge] == nil {
		endpoints[bridge] = &api.EndpointSettings{}
	}
	if len(endpoints[bridge].MacAddress) == 0 {
		endpoints[bridge].MacAddress = address
	}
}

// checkPlatform refuses a create for a platform that Azure Functions does not have.
func checkPlatform(c echo.Context) error {
	given := param(c, "platform")
	switch p := strings.ToLower(given); {
	case p == "", p == "linux", p == "amd64", p == "x86_64":
		return nil
	case strings.HasPrefix(p+"/", "linux/amd64/"), strings.HasPrefix(p+"/", "linux/x86_64/"):
		return nil
	}
	refusal := api.NotSupported("platforms other than linux/amd64")
	refusal.Message += fmt.Sprintf(" The request has platform %q.", given)
	return refusal
}

func (s *Server) containerList(c echo.Context) error {
	limit, err := number(c, "limit", 0)
	if err != nil {
		return err
	}
	filters, err := filters(c)
	if err != nil {
		return err
	}
	opts := api.ListOptions{All: boolean(c, "all"), Limit: limit, Filters: filters}
	list, err := s.cfg.Backend.ContainerList(c.Request().Context(), opts)
	return answerIn(c, containerSummaryShape, list, err)
}

func (s *Server) containerInspect(c echo.Context) error {
	res, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if boolean(c, "size") {
		res.SizeRw, res.SizeRootFs = new(int64), new(int64) // a container takes no space on this machine
	}
	return answerIn(c, containerShape, res, err)
}

func (s *Server) containerStart(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerStart(c.Request().Context(), containerRef(c)))
}

func (s *Server) containerStop(c echo.Context) error {
	timeout, err := optionalNumber(c, "t")
	if err != nil {
		return err
	}
	return done(c, s.cfg.Backend.ContainerStop(c.Request().Context(), containerRef(c), timeout))
}

func (s *Server) containerKill(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerKill(c.Request().Context(), containerRef(c), param(c, "signal")))
}

func (s *Server) containerRestart(c echo.Context) error {
	timeout, err := optionalNumber(c, "t")
	if err != nil {
		return err
	}
	return done(c, s.cfg.Backend.ContainerRestart(c.Request().Context(), containerRef(c), timeout))
}

func (s *Server) containerRename(c echo.Context) error {
	return done(c, s.cfg.Backend.ContainerRename(c.Request().Context(), containerRef(c), param(c, "name")))
}

func (s *Server) containerPrune(c echo.Context) error {
	filters, err := filters(c)
	if err != nil {
		return err
	}
	report, err := s.cfg.Backend.ContainerPrune(c.Request().Context(), filters)
	return answer(c, report, err)
}

// containerWait sends its headers as soon as it has found the container, as Docker does: clients start a container
// when they receive the headers. Front ends look for Error, so it is null where there is none.
func (s *Server) containerWait(c echo.Context) error {
	res, err := s.wait(c, api.WaitCondition(param(c, "condition")), true)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.Response()).Encode(struct {
		StatusCode int64
		Error      *api.WaitError
	}{res.StatusCode, res.Error})
}

// wait waits for a container. With early set, it sends the headers before it waits, and the response holds an error
// that comes afterwards.
func (s *Server) wait(c echo.Context, condition api.WaitCondition, early bool) (api.WaitResponse, error) {
	send := func() {
		c.Response().Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		c.Response().WriteHeader(http.StatusOK)
		c.Response().Flush()
	}
	accepted := func() {}
	if early {
		accepted = send
	}
	res, err := s.cfg.Backend.ContainerWait(c.Request().Context(), containerRef(c), condition, accepted)
	switch {
	case err == nil && !early:
		send()
	case err != nil && c.Response().Committed && c.Request().Context().Err() == nil:
		// The status has been sent, so the body reports the error.
		return api.WaitResponse{StatusCode: -1, Error: &api.WaitError{Message: err.Error()}}, nil
	}
	return res, err
}

// containerRemove never removes a container when it is asked for a link only.
func (s *Server) containerRemove(c echo.Context) error {
	if boolean(c, "link") {
		if _, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c)); err != nil {
			return err
		}
		return api.Errorf(api.Conflict, "Conflict, cannot remove the default link name of the container")
	}
	force := boolean(c, "force")
	return done(c, s.cfg.Backend.ContainerRemove(c.Request().Context(), containerRef(c), force))
}

// containerLogs answers at once with the lines that are there, whether or not the client wants to follow.
func (s *Server) containerLogs(c echo.Context) error {
	if tail := param(c, "tail"); tail != "all" {
		if _, err := number(c, "tail", 0); err != nil {
			return err
		}
	}
	return s.logs(c, false, multiplexed)
}

// logs answers with a container's lines. contentType is that of lines in Docker's frames.
func (s *Server) logs(c echo.Context, follow bool, contentType string) error {
	opts := api.LogOptions{
		Stdout: boolean(c, "stdout"), Stderr: boolean(c, "stderr"),
		Timestamps: boolean(c, "timestamps"), Follow: follow, Tail: -1,
	}
	if tail, err := strconv.Atoi(param(c, "tail")); err == nil { // as in Docker, all that is no number means all
		opts.Tail = max(tail, -1)
	}
	var err error
	if opts.Since, err = logBound(c, "since"); err != nil {
		return err
	}
	if opts.Until, err = logBound(c, "until"); err != nil {
		return err
	}
	stream, err := s.cfg.Backend.ContainerLogs(c.Request().Context(), containerRef(c), opts)
	if err != nil {
		return err
	}
	// Whether the container has a terminal decides the content type. It never changes.
	info, err := s.cfg.Backend.ContainerInspect(c.Request().Context(), containerRef(c))
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	if info.Config != nil && info.Config.Tty {
		contentType = rawStream
	}
	return sendStream(c, contentType, stream)
}
