package azuresim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Call is one call that has ended. Calls of the registry and of the inspection endpoint are not listed.
type Call struct {
	Time          time.Time     `json:"time"`    // start of the call
	Service       string        `json:"service"` // arm, entra, metadata, loganalytics or host
	Method        string        `json:"method"`
	Host          string        `json:"host"`
	Path          string        `json:"path"`
	APIVersion    string        `json:"api_version,omitempty"`
	Status        int           `json:"status"` // 0: not answered
	UserAgent     string        `json:"user_agent,omitempty"`
	CorrelationID string        `json:"correlation_id,omitempty"` // x-ms-correlation-request-id sent, otherwise answered
	Duration      time.Duration `json:"duration_ns"`
}

// Resource is one Resource Manager resource as the inspection endpoint shows it.
type Resource struct {
	ID       string            `json:"id"`
	Type     string            `json:"type"`
	Name     string            `json:"name"`
	Location string            `json:"location,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// maxCalls bounds the memory of a simulator that is left running. It drops the oldest calls beyond that.
const maxCalls = 100_000

type callList struct {
	mu    sync.Mutex
	calls []Call
}

func (l *callList) add(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.calls) == maxCalls {
		l.calls = slices.Delete(l.calls, 0, maxCalls/10)
	}
	l.calls = append(l.calls, c)
}

func (l *callList) list() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

func newCall(service service, r *http.Request, answer *statusRecorder, started, ended time.Time) Call {
	correlation := r.Header.Get(correlationHeader)
	if correlation == "" {
		correlation = answer.Header().Get(correlationHeader)
	}
	return Call{
		Time: started, Service: string(service), Method: r.Method, Host: r.Host, Path: r.URL.Path,
		APIVersion: r.URL.Query().Get("api-version"), Status: answer.status, UserAgent: r.UserAgent(),
		CorrelationID: correlation, Duration: ended.Sub(started),
	}
}

// Calls lists the calls so far, in the order they ended.
func (s *Sim) Calls() []Call { return s.calls.list() }

// Sites lists the names of the function apps that exist, sorted.
func (s *Sim) Sites() []string {
	names := []string{}
	for _, r := range s.Resources() {
		if r.Type == typeSite {
			names = append(names, r.Name)
		}
	}
	return names
}

// Resources lists all resources that exist, sorted by id, including those that existed from the start.
func (s *Sim) Resources() []Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Resource, 0, len(s.state.resources))
	for _, r := range s.state.resources {
		tags := make(map[string]string)
		for k, v := range object(r.body["tags"]) {
			tags[k] = text(v)
		}
		list = append(list, Resource{ID: r.id, Type: r.kind, Name: r.name, Location: text(r.body["location"]), Tags: tags})
	}
	slices.SortFunc(list, func(a, b Resource) int { return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID)) })
	return list
}

// serveInspection answers GET /azuresim/resources and /azuresim/calls, without a token.
func (s *Sim) serveInspection(w http.ResponseWriter, r *http.Request) {
	var body any
	switch r.Method + " " + r.URL.Path {
	case "GET /azuresim/resources":
		body = s.Resources()
	case "GET /azuresim/calls":
		body = s.Calls()
	default:
		s.unknownRoute(w, r)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "azuresim: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(data) // a client that went away does not want it
}

// statusRecorder records the status of the answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush and hijack.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
