package server

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestDocsShowTheRoutes compares the routes in docs/api.md with the routes of the internal API.
func TestDocsShowTheRoutes(t *testing.T) {
	shown := azuretest.DocumentedRoutes(t, "../docs/api.md")
	var routes []string
	for _, r := range (&Server{}).routes() {
		if r.internal != none {
			routes = append(routes, r.method+" "+r.internal)
		}
	}
	slices.Sort(shown)
	slices.Sort(routes)
	if !slices.Equal(shown, routes) {
		t.Errorf("docs/api.md shows\n%q\nthe server has\n%q", shown, routes)
	}
}

// TestGoldenRoutes lists the routes of both APIs, those of the Docker Engine API without the version that may precede
// the path. A star stands for every method.
func TestGoldenRoutes(t *testing.T) {
	methods := map[string][]string{}
	for _, r := range New(Config{}).echo.Routes() {
		if !strings.HasPrefix(r.Path, "/v:version/") {
			methods[r.Path] = append(methods[r.Path], r.Method)
		}
	}
	var lines []string
	for path, of := range methods {
		if len(of) > 5 { // no route has that many methods of its own
			of = []string{anyMethod}
		}
		for _, method := range of {
			lines = append(lines, fmt.Sprintf("%s %s\n", path, method))
		}
	}
	slices.Sort(lines)
	got, file := strings.Join(lines, ""), "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the routes are not those of %s; rewrite the file with -update and review the change. Got\n%s", file, got)
	}
}

// TestVersionedRoutes compares the Docker Engine API with and without a version in the path.
func TestVersionedRoutes(t *testing.T) {
	var versioned, plain []string
	for _, r := range New(Config{}).echo.Routes() {
		if path, ok := strings.CutPrefix(r.Path, "/v:version"); ok {
			versioned = append(versioned, r.Method+" "+path)
		} else if !strings.HasPrefix(r.Path, Prefix) {
			plain = append(plain, r.Method+" "+r.Path)
		}
	}
	slices.Sort(versioned)
	slices.Sort(plain)
	if !slices.Equal(versioned, plain) {
		t.Errorf("with a version\n%q\nwithout\n%q", versioned, plain)
	}
}

// unsupporting is a Backend that supports nothing: each method panics unless api.Unsupported refuses it.
type unsupporting struct {
	api.Unsupported
	panicking
}

type panicking struct{ api.Backend }

func (unsupporting) ContainerInspect(context.Context, string) (api.InspectResponse, error) {
	return api.InspectResponse{}, api.Errorf(api.NotFound, "No such container: x")
}

// TestRefusals sends requests for what Azure Functions lacks to both APIs.
func TestRefusals(t *testing.T) {
	s := New(Config{Backend: unsupporting{}, Log: zerolog.New(io.Discard)})
	refused := func(t *testing.T, prefix, request, message string, status int) {
		t.Helper()
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, prefix+path, strings.NewReader("not JSON")))
		if want := fmt.Sprintf("{\"message\":%q}\n", message); w.Code != status || w.Body.String() != want {
			t.Errorf("%s %s%s: got %d %s, want %d %s", method, prefix, path, w.Code, w.Body, status, want)
		}
	}
	for capability, requests := range map[string]struct{ both, internal, docker []string }{
		"attach": {
			both:   []string{"POST /containers/x/attach", "POST /containers/x/resize"},
			docker: []string{"GET /containers/x/attach/ws"},
		},
		"exec": {
			both:     []string{"POST /containers/x/exec", "POST /exec/x/start", "POST /exec/x/resize"},
			internal: []string{"GET /exec/x"}, docker: []string{"GET /exec/x/json"},
		},
		"top":     {both: []string{"GET /containers/x/top"}},
		"stats":   {both: []string{"GET /containers/x/stats"}},
		"pause":   {both: []string{"POST /containers/x/pause"}},
		"unpause": {both: []string{"POST /containers/x/unpause"}},
		"update":  {both: []string{"POST /containers/x/update"}},
		"changes": {both: []string{"GET /containers/x/changes"}},
		"export":  {both: []string{"GET /containers/x/export"}},
		"archive": {both: []string{"GET /containers/x/archive", "PUT /containers/x/archive"}},
		"commit":  {both: []string{"POST /commit"}},
		"networks": {
			both: []string{"GET /networks", "POST /networks/create", "POST /networks/x/connect",
				"POST /networks/x/disconnect", "DELETE /networks/x"},
			internal: []string{"GET /networks/x", "POST /networks/prune"},
		},
		"volumes": {
			both:     []string{"GET /volumes", "POST /volumes/create", "DELETE /volumes/x"},
			internal: []string{"GET /volumes/x", "POST /volumes/prune"},
		},
		"image load":           {both: []string{"POST /images/load"}},
		"image push":           {both: []string{"POST /images/a/b/push"}},
		"image get":            {both: []string{"GET /images/get"}, docker: []string{"GET /images/a/b/get"}},
		"image search":         {both: []string{"GET /images/search"}},
		"image build":          {internal: []string{"POST /images/build"}, docker: []string{"POST /build", "POST /session"}},
		"distribution inspect": {docker: []string{"GET /distribution/a/b/json"}},
		"plugins":              {docker: []string{"GET /plugins", "POST /plugins/pull"}},
		"swarm":                {docker: []string{"POST /swarm/init", "GET /nodes", "GET /services/x", "GET /secrets"}},
	} {
		message := api.NotSupported(capability).Message
		if capability == "exec" || capability == "attach" {
			message = api.NeedsExec(capability).Message
		}
		for _, request := range slices.Concat(requests.both, requests.internal) {
			refused(t, Prefix, request, message, http.StatusNotImplemented)
		}
		for _, request := range slices.Concat(requests.both, requests.docker) {
			refused(t, "", request, message, http.StatusNotImplemented)
			refused(t, "/v1.44", request, message, http.StatusNotImplemented)
		}
	}
	// docker inspect asks for a name as each kind of object in turn, and goes on after a 404 only.
	for _, kind := range []string{"networks", "volumes", "plugins"} {
		refused(t, "", "GET /"+kind+"/x", api.NotSupported(kind).Message, http.StatusNotFound)
	}
}
