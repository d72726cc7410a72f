package server

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/sockerless/backend-azf/internal/api"
)

const (
	// anyMethod stands for every method in a route.
	anyMethod = "*"
	// same stands for the internal API's path in the Docker Engine API.
	same = "="
	// none stands for the path of a route in the API that lacks the route.
	none = ""
)

// route is one row of the route list.
type route struct {
	method string
	// internal is the path below Prefix. docker is the path in the Docker Engine API, below / and below /v<version>.
	internal, docker string
	handler          echo.HandlerFunc
}

// routes returns the routes of both APIs. Where the APIs differ in more than the path, each has a row of its own.
func (s *Server) routes() []route {
	const get, head, post, put, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete
	return []route{
		{get, "/capabilities", none, s.capabilities},
		{get, "/healthz", none, s.healthz},
		{get, none, "/_ping", s.ping},
		{head, none, "/_ping", s.ping},
		{get, "/info", same, s.info},
		{get, "/version", same, s.version},
		{get, "/events", none, s.events},
		{get, none, "/events", s.dockerEvents},
		{get, "/system/df", none, s.systemDf},
		{get, none, "/system/df", s.dockerDf},
		{post, "/auth", same, s.authLogin},
		{get, "/gc", none, s.orphans},
		{post, "/gc/confirm", none, s.orphansConfirm},
		{post, "/foundation", none, s.foundationCreate},
		{get, "/audit", none, s.audit},
		{get, "/audit/checkpoint", none, s.auditCheckpoint},

		{post, "/containers", none, s.containerCreate},
		{post, none, "/containers/create", s.dockerCreate},
		{get, "/containers", "/containers/json", s.containerList},
		{post, "/containers/prune", none, s.containerPrune},
		{post, none, "/containers/prune", atLeast("1.25", s.containerPrune)},
		{get, "/containers/:id", "/containers/:id/json", s.containerInspect},
		{del, "/containers/:id", same, s.containerRemove},
		{post, "/containers/:id/start", none, s.containerStart},
		{post, none, "/containers/:id/start", s.dockerStart},
		{post, "/containers/:id/stop", same, s.containerStop},
		{post, "/containers/:id/kill", same, s.containerKill},
		{post, "/containers/:id/restart", same, s.containerRestart},
		{post, "/containers/:id/wait", none, s.containerWait},
		{post, none, "/containers/:id/wait", s.dockerWait},
		{post, "/containers/:id/rename", same, s.containerRename},
		{get, "/containers/:id/logs", none, s.containerLogs},
		{get, none, "/containers/:id/logs", s.dockerLogs},

		{post, "/containers/:id/attach", none, s.containerAttach},
		{post, none, "/containers/:id/attach", s.dockerAttach},
		{get, none, "/containers/:id/attach/ws", s.websocketAttach},
		{post, "/containers/:id/resize", same, refused(api.NeedsExec("attach"))},
		{post, "/containers/:id/exec", same, refused(api.NeedsExec("exec"))},
		{post, "/exec/:id/start", same, refused(api.NeedsExec("exec"))},
		{post, "/exec/:id/resize", same, refused(api.NeedsExec("exec"))},
		{get, "/exec/:id", "/exec/:id/json", refused(api.NeedsExec("exec"))},
		{get, "/containers/:id/top", same, unsupported("top")},
		{get, "/containers/:id/stats", same, unsupported("stats")},
		{post, "/containers/:id/pause", same, unsupported("pause")},
		{post, "/containers/:id/unpause", same, unsupported("unpause")},
		{post, "/containers/:id/update", same, unsupported("update")},
		{get, "/containers/:id/changes", same, unsupported("changes")},
		{get, "/containers/:id/export", same, unsupported("export")},
		{put, "/containers/:id/archive", same, unsupported("archive")},
		{head, "/containers/:id/archive", same, unsupported("archive")},
		{get, "/containers/:id/archive", same, unsupported("archive")},
		{post, "/commit", same, unsupported("commit")},

		{post, "/images/pull", none, s.imagePull},
		{post, none, "/images/create", s.imageCreate},
		{get, "/images", "/images/json", s.imageList},
		{get, "/images/inspect", none, s.imageInspect},
		{post, "/images/tag", none, s.imageTag},
		{post, "/images/prune", none, s.imagePrune},
		{post, none, "/images/prune", atLeast("1.25", s.imagePrune)},
		{post, "/images/load", same, unsupported("image load")},
		{post, "/images/build", none, unsupported("image build")},
		{get, "/images/get", same, unsupported("image get")},
		{get, "/images/search", same, unsupported("image search")},
		// An image's name may hold slashes, so these handlers look for an action at the end of the path themselves.
		{get, "/images/*", none, s.imageGet},
		{get, none, "/images/*", s.dockerImageGet},
		{post, "/images/*", same, s.imagePost},
		{del, "/images/*", same, s.imageRemove},
		{get, none, "/distribution/*", unsupported("distribution inspect")},
		{post, none, "/build", unsupported("image build")},
		{post, none, "/build/prune", atLeast("1.31", nothingToPrune(noCachePruned))},
		{post, none, "/session", unsupported("image build")},
		{post, none, "/grpc", unsupported("image build")},

		{post, none, "/networks/prune", atLeast("1.25", nothingToPrune(object{"NetworksDeleted": []string{}}))},
		{post, none, "/volumes/prune", atLeast("1.25", nothingToPrune(noVolumesPruned))},
		{anyMethod, "/networks", none, unsupported("networks")},
		{anyMethod, none, "/networks", noneMatches([]object{}, unsupported("networks"))},
		{anyMethod, "/networks/*", none, unsupported("networks")},
		{anyMethod, none, "/networks/*", noSuchObject(unsupported("networks"))},
		{anyMethod, "/volumes", none, unsupported("volumes")},
		{anyMethod, none, "/volumes", noneMatches(noVolumes, unsupported("volumes"))},
		{anyMethod, "/volumes/*", none, unsupported("volumes")},
		{anyMethod, none, "/volumes/*", noSuchObject(unsupported("volumes"))},
		{anyMethod, none, "/plugins", unsupported("plugins")},
		{anyMethod, none, "/plugins/*", noSuchObject(unsupported("plugins"))},
		{anyMethod, none, "/swarm", unsupported("swarm")},
		{anyMethod, none, "/swarm/*", unsupported("swarm")},
		{anyMethod, none, "/nodes", unsupported("swarm")},
		{anyMethod, none, "/nodes/*", unsupported("swarm")},
		{anyMethod, none, "/services", unsupported("swarm")},
		{anyMethod, none, "/services/*", unsupported("swarm")},
		{anyMethod, none, "/tasks", unsupported("swarm")},
		{anyMethod, none, "/tasks/*", unsupported("swarm")},
		{anyMethod, none, "/secrets", unsupported("swarm")},
		{anyMethod, none, "/secrets/*", unsupported("swarm")},
		{anyMethod, none, "/configs", unsupported("swarm")},
		{anyMethod, none, "/configs/*", unsupported("swarm")},
	}
}

// registerRoutes adds the internal API, and the Docker Engine API with and without a version in the path.
func (s *Server) registerRoutes() {
	for _, r := range s.routes() {
		if r.internal != none {
			s.register(r.method, Prefix+r.internal, r.handler, parameters(r.internal))
		}
		path := r.docker
		if path == same {
			path = r.internal
		}
		if path != none {
			s.register(r.method, path, r.handler, dockerHeaders, parameters(path))
			s.register(r.method, "/v:version"+path, r.handler, dockerHeaders, checkVersion, parameters(path))
		}
	}
}

// jsonBodies are the paths whose requests have a JSON body.
var jsonBodies = []string{"/containers", "/containers/create", "/images/pull", "/auth", "/gc/confirm"}

// parameters returns what reads the parameters of requests for a path.
func parameters(path string) echo.MiddlewareFunc {
	if slices.Contains(jsonBodies, path) {
		return queries
	}
	return forms
}

func (s *Server) register(method, path string, handler echo.HandlerFunc, middleware ...echo.MiddlewareFunc) {
	if method == anyMethod {
		s.echo.Any(path, handler, middleware...)
		return
	}
	s.echo.Add(method, path, handler, middleware...)
}

// refused answers every request with err. It reads no body: the answer does not depend on the body.
func refused(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }

// unsupported refuses a capability that Azure Functions lacks.
func unsupported(capability string) echo.HandlerFunc { return refused(api.NotSupported(capability)) }

// noSuchObject answers 404 in place of 501 to a GET: docker inspect asks for a name as each kind of object in turn,
// and gives up at any status but 404.
func noSuchObject(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if c.Request().Method == http.MethodGet && api.KindOf(err) == api.NotImplemented {
			return api.Errorf(api.NotFound, "%s", err)
		}
		return err
	}
}
