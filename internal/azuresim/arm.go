package azuresim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const correlationHeader = "X-Ms-Correlation-Request-Id"

// armError is the part of Resource Manager's error answers that clients read.
type armError struct {
	status         int
	code, message  string
	additionalInfo []any
}

func (e *armError) Error() string { return e.code + ": " + e.message }

// refusal returns an armError with a formatted message.
func refusal(status int, code, format string, args ...any) *armError {
	return &armError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// armRequest is one matched request. id names its resource: the path up to the name of the innermost resource.
type armRequest struct {
	params map[string]string
	id     string
	body   map[string]any
	query  func(string) string
	seed   bool // of Sim.Seed, and not of a client
}

// resource is one Resource Manager resource. body is the answer to GET, without the parts that are derived then.
type resource struct {
	id, kind, name string
	group          string // name of its resource group
	body           map[string]any

	site      *site          // of Microsoft.Web/sites
	workspace *workspace     // of Microsoft.OperationalInsights/workspaces
	billing   map[string]any // of Microsoft.Insights/components, once set
}

// state is the whole state of Resource Manager. Sim.mu guards it.
type state struct {
	groups    map[string]string    // lower-case name -> name
	resources map[string]*resource // lower-case id ->
	deleted   map[string]*resource // lower-case id -> soft-deleted Log Analytics workspaces
	locks     map[string]string    // lower-case ids of service plans that are locked -> by which write
	keys      map[string]siteKeys  // lower-case site name -> kept in the storage account even when the site is deleted
	secrets   map[string]string    // by the references to them
	denied    []*regexp.Regexp     // of actions
	blobs     blobs

	requiredTags []string

	operations map[string]*operation // by id
	sites      int                   // that were ever created
	overfilled map[string]Overfill   // by lower-case ids of service plans
	scaledOut  map[string]bool       // by names of sites
}

// serveARM answers a Resource Manager call. A write spends its delay, and the test hooks, while it has the lock of its
// service plan.
func (s *Sim) serveARM(w http.ResponseWriter, r *http.Request, delay time.Duration, f Faults) {
	setRequestIDs(w, r)
	route, params := s.findRoute(r)
	if route == nil {
		s.unknownRoute(w, r)
		return
	}
	if err := s.checkToken(r, s.url, "https://management.azure.com", "https://management.core.windows.net"); err != nil {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(
			`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`,
			s.url, s.cfg.TenantID, err.message))
		writeError(w, err)
		return
	}
	if err := s.throttle(w.Header(), r.Method); err != nil {
		writeError(w, err)
		return
	}
	request, err := s.newARMRequest(r, route, params)
	if err != nil {
		writeError(w, err)
		return
	}

	write := r.Method == http.MethodPut || r.Method == http.MethodPatch || r.Method == http.MethodDelete
	if write {
		unlock, err := s.lockServicePlans(r.Method, request)
		if err != nil {
			writeError(w, err)
			return
		}
		defer unlock()
	}
	if delay > 0 {
		s.cfg.Sleep(r.Context(), delay)
	}
	if write && f.BeforeWrite != nil {
		f.BeforeWrite(r.Method, r.URL.Path)
	}
	result, err := s.run(route, request)
	if write && f.AfterWrite != nil {
		f.AfterWrite(r.Method, r.URL.Path, result.status)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	maps.Copy(w.Header(), result.header)
	if result.body == nil {
		w.WriteHeader(result.status)
		return
	}
	writeJSON(w, result.status, result.body)
}

// answer is the answer of a handler that does not always answer 200 with a document.
type answer struct {
	status int
	header http.Header
	body   any
}

// run handles the request and marshals the answer while the state is locked.
func (s *Sim) run(route *route, request *armRequest) (answer, *armError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	result, err := route.handle(s, request)
	answered, ok := result.(answer)
	if !ok {
		answered = answer{status: http.StatusOK, body: result}
	}
	var data []byte
	if err == nil && answered.body != nil {
		if data, err = json.Marshal(answered.body); err == nil {
			data, err = recased(data)
		}
		answered.body = json.RawMessage(data)
	}
	if err != nil {
		failure, ok := errors.AsType[*armError](err)
		if !ok {
			failure = refusal(http.StatusInternalServerError, "InternalServerError", "%v", err)
		}
		return answer{status: failure.status}, failure
	}
	return answered, nil
}

// newARMRequest does the checks that Resource Manager does before a resource provider gets the request.
func (s *Sim) newARMRequest(r *http.Request, route *route, params map[string]string) (*armRequest, *armError) {
	if r.URL.Query().Get("api-version") == "" {
		return nil, refusal(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	}
	if sub := params["subscription"]; !strings.EqualFold(sub, s.cfg.SubscriptionID) {
		return nil, refusal(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", sub)
	}
	if err := s.authorize(route, segments(r.URL.Path)); err != nil {
		return nil, err
	}
	request := &armRequest{params: params, query: r.URL.Query().Get}
	if group, ok := params["group"]; ok {
		s.mu.Lock()
		_, exists := s.state.groups[strings.ToLower(group)]
		s.mu.Unlock()
		if !exists {
			return nil, refusal(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", group)
		}
		if p := segments(r.URL.Path); len(p) >= 8 {
			request.id = "/" + strings.Join(p[:8], "/") // subscriptions/S/resourceGroups/G/providers/N/T/NAME
		}
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, refusal(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read: %v", err)
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &request.body); err != nil {
			return nil, refusal(http.StatusBadRequest, "InvalidRequestContent",
				"The request content was invalid and could not be deserialized: %v", err)
		}
	}
	if (r.Method == http.MethodPut || r.Method == http.MethodPatch) && request.body == nil {
		return nil, refusal(http.StatusBadRequest, "InvalidRequestContent", "The request content was empty.")
	}
	return request, nil
}

// unknownRoute refuses a request and names its route, loudly, in the answer and in the log.
func (s *Sim) unknownRoute(w http.ResponseWriter, r *http.Request) {
	version := r.URL.Query().Get("api-version")
	s.log.Error().Str("method", r.Method).Str("host", r.Host).Str("path", r.URL.Path).Str("api_version", version).
		Msg("unknown route")
	writeError(w, refusal(http.StatusNotImplemented, "NotImplemented",
		"azuresim does not know %s %s with api-version %q.", r.Method, r.URL.Path, version))
}

func writeError(w http.ResponseWriter, err *armError) {
	body := map[string]any{"code": err.code, "message": err.message}
	if err.additionalInfo != nil {
		body["additionalInfo"] = err.additionalInfo
	}
	writeJSON(w, err.status, map[string]any{"error": body})
}

func setRequestIDs(w http.ResponseWriter, r *http.Request) {
	correlation := r.Header.Get(correlationHeader)
	if correlation == "" {
		correlation = uuid.NewString()
	}
	w.Header().Set(correlationHeader, correlation)
	w.Header().Set("X-Ms-Request-Id", uuid.NewString())
}

// find returns the resource of the request, or 404 as Resource Manager does.
func (s *Sim) find(rq *armRequest) (*resource, error) {
	if r, ok := s.state.resources[strings.ToLower(rq.id)]; ok {
		return r, nil
	}
	return nil, notFound(rq.id)
}

func notFound(id string) *armError {
	p := segments(id)
	return refusal(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s/%s' under resource group '%s' was not found.", p[5], p[6], p[7], p[3])
}

// upsert returns the resource of a PUT with a new body that holds location, tags and identity. The caller adds the
// rest, and stores the resource with keep when everything is checked.
func (s *Sim) upsert(rq *armRequest, kind string) (r *resource, existed bool, err error) {
	location := text(rq.body["location"])
	if location == "" {
		return nil, false, refusal(http.StatusBadRequest, "LocationRequired",
			"The location property is required for this definition.")
	}
	if err := checkTags(rq.body["tags"]); err != nil {
		return nil, false, err
	}
	p := segments(rq.id)
	r = &resource{id: rq.id, kind: kind, name: p[7], group: p[3]}
	if err := s.checkPolicy(r.name, rq.body["tags"]); err != nil && !rq.seed {
		return nil, false, err
	}
	old, existed := s.state.resources[strings.ToLower(rq.id)]
	if existed {
		if oldLocation := text(old.body["location"]); !sameLocation(oldLocation, location) {
			return nil, false, refusal(http.StatusConflict, "InvalidResourceLocation",
				"The resource '%s' already exists in location '%s' in resource group '%s'. "+
					"A resource with the same name cannot be created in location '%s'.",
				r.name, oldLocation, r.group, location)
		}
		*r = *old
	}
	r.body = map[string]any{"id": r.id, "name": r.name, "type": kind, "location": location, "tags": rq.body["tags"]}
	if identity, ok := rq.body["identity"]; ok {
		if r.body["identity"], err = s.expandIdentity(object(identity)); err != nil {
			return nil, false, err
		}
	}
	return r, existed, nil
}

func (s *Sim) keep(r *resource) { s.state.resources[strings.ToLower(r.id)] = r }

func (s *Sim) getResource(rq *armRequest) (any, error) {
	r, err := s.find(rq)
	if err != nil {
		return nil, err
	}
	return r.body, nil
}

var typeFilter = regexp.MustCompile(`^resourceType eq '([^']+)'$`)

// listResources lists the resources of one type in a resource group, sorted by id, on one page.
func (s *Sim) listResources(rq *armRequest) (any, error) {
	m := typeFilter.FindStringSubmatch(rq.query("$filter"))
	if m == nil {
		return nil, refusal(http.StatusNotImplemented, "NotImplemented",
			"azuresim lists resources by resourceType only, not with the filter %q.", rq.query("$filter"))
	}
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.state.resources)) {
		r := s.state.resources[id]
		if !strings.EqualFold(r.kind, m[1]) || !strings.EqualFold(r.group, rq.params["group"]) || r.site.hidden(false) {
			continue
		}
		shown := map[string]any{}
		for _, key := range []string{"id", "name", "type", "location", "kind", "tags"} {
			if value, ok := r.body[key]; ok {
				shown[key] = value
			}
		}
		list = append(list, shown)
	}
	return map[string]any{"value": list}, nil
}

// deleteResource answers 200, or 204 if the resource did not exist.
func (s *Sim) deleteResource(rq *armRequest) (any, error) {
	id := strings.ToLower(rq.id)
	if _, ok := s.state.resources[id]; !ok {
		return answer{status: http.StatusNoContent}, nil
	}
	delete(s.state.resources, id)
	return nil, nil
}

// merged returns a copy of base with over's values on top.
func merged(base, over map[string]any) map[string]any {
	result := maps.Clone(base)
	if result == nil {
		result = make(map[string]any)
	}
	maps.Copy(result, over)
	return result
}

// object, text, truth and number read decoded JSON. They return zero for a value that is missing or of another type.
func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func text(v any) string           { s, _ := v.(string); return s }
func truth(v any) bool            { b, _ := v.(bool); return b }
func number(v any) int {
	if n, ok := v.(int); ok { // azuresim's own
		return n
	}
	n, _ := v.(float64)
	return int(n)
}

// sameLocation reports whether two names of a location are the same to Azure, as "West Europe" and westeurope are.
func sameLocation(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, " ", ""), strings.ReplaceAll(b, " ", ""))
}
