package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sockerless/backend-azf/internal/api"
)

// TestConformance compares the answers of the Docker API with moby's documents and with what moby sends, in every
// version. The deviations that stay are in the table deviations.
func TestConformance(t *testing.T) {
	s := newDockerScene(t)
	found := findings{}
	for _, version := range shortVersions {
		newInspection(t, s, version, found).changes(t)
	}
	s.rest(t)
	for n := minor(api.MinAPIVersion); n <= minor(api.APIVersion); n++ {
		version := fmt.Sprint("1.", n)
		if testing.Short() && !slices.Contains(shortVersions, version) {
			continue
		}
		a := newInspection(t, s, version, found)
		a.reads(t)
		if version == api.APIVersion {
			a.asked, a.about = "", "without a version"
			a.reads(t)
		}
	}
	unused := found.accept(deviations())
	if testing.Short() {
		unused = nil
	}
	for _, line := range unused {
		t.Error(line)
	}
	for _, line := range found.lines() {
		t.Error(line)
	}
}

// shortVersions are the versions in which changes are compared, and with go test -short all else too: moby changed most
// between them.
var shortVersions = []string{
	api.MinAPIVersion, "1.25", "1.30", "1.41", "1.44", "1.47", "1.51", "1.52", api.APIVersion,
}

// inspection asks for the answers of one version. asked is the version in the path.
type inspection struct {
	*dockerScene
	doc   document
	asked string
	found findings
	about string // what the answer is about
	// compared has the routes whose answers were compared.
	compared map[string]bool
}

func newInspection(t *testing.T, s *dockerScene, version string, found findings) *inspection {
	t.Helper()
	return &inspection{
		dockerScene: s, doc: readDocument(t, version), asked: "/v" + version, found: found, compared: map[string]bool{},
	}
}

// reads asks for the answers that change nothing.
func (a *inspection) reads(t *testing.T) {
	t.Helper()
	a.system(t)
	a.containersOf(t)
	a.imagesOf(t)
	a.events(t)
	a.others(t)
}

// others fails for a GET route of the document that is answered and not compared.
func (a *inspection) others(t *testing.T) {
	t.Helper()
	named := strings.NewReplacer("{id}", "running", "{name}", "app:1")
	for path := range a.doc.paths {
		if child(a.doc.paths, path)["get"] == nil || a.compared["GET "+path] {
			continue
		}
		if res := a.ask(t, http.MethodGet, a.asked+named.Replace(path), ""); res.status < 400 {
			t.Errorf("%s: GET %s is answered with %d and not compared", a.doc.version, path, res.status)
		}
	}
}

// legacyDiskUsage is moby's answer to system/df before API 1.52.
type legacyDiskUsage struct {
	LayersSize int64 `json:",omitempty"`
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

func (a *inspection) system(t *testing.T) {
	t.Helper()
	a.get(t, "/_ping", "/_ping", nil)
	if minor(a.doc.version) >= 40 {
		a.check(t, http.MethodHead, "/_ping", "/_ping", "", http.StatusOK, nil)
	}
	a.get(t, "/version", "/version", system.VersionResponse{})
	a.get(t, "/info", "/info", system.Info{})
	if minor(a.doc.version) < 52 {
		a.get(t, "/system/df", "/system/df", legacyDiskUsage{})
	} else {
		a.get(t, "/system/df", "/system/df?verbose=1", system.DiskUsage{})
		// Without verbose, moby sends both forms.
		a.get(t, "/system/df", "/system/df", struct {
			legacyDiskUsage
			system.DiskUsage
		}{})
	}
	a.get(t, "/networks", "/networks?"+filtersOf("name", "x"), []network.Summary{})
	a.get(t, "/volumes", "/volumes?"+filtersOf("name", "x"), volume.ListResponse{})
	a.check(t, http.MethodPost, "/auth", "/auth", `{"username": "u", "password": "p"}`, 200, registry.AuthResponse{})
}

func (a *inspection) containersOf(t *testing.T) {
	t.Helper()
	a.get(t, "/containers/json", "/containers/json?all=1", []container.Summary{})
	for _, of := range slices.Sorted(maps.Keys(a.containers)) {
		path := "/containers/" + a.containers[of] + "/json?size=1"
		a.of(of).get(t, "/containers/{id}/json", path, container.InspectResponse{})
	}
	a.logs(t, "running", false)
	a.logs(t, "exited", true)
	a.check(t, http.MethodGet, "/containers/json", "/containers/json?filters=x", "", 400, common.ErrorResponse{})
	if minor(a.doc.version) >= 27 { // older documents lack the status
		a.check(t, http.MethodDelete, "/containers/{id}", "/containers/running", "", 409, common.ErrorResponse{})
	}
	for _, path := range []string{"/containers/{id}/json", "/containers/{id}/logs"} {
		of := strings.ReplaceAll(path, "{id}", "nosuch") + "?stdout=1"
		a.check(t, http.MethodGet, path, of, "", 404, common.ErrorResponse{})
	}
}

// logs compares the content type of logs with moby's. The documents have it since 1.42 only.
func (a *inspection) logs(t *testing.T, of string, tty bool) {
	t.Helper()
	res := a.ask(t, http.MethodGet, a.asked+"/containers/"+a.containers[of]+"/logs?stdout=1&stderr=1", "")
	want := "application/vnd.docker.raw-stream"
	if !tty && minor(a.doc.version) >= 42 {
		want = "application/vnd.docker.multiplexed-stream"
	}
	if got := res.header.Get("Content-Type"); res.status != http.StatusOK || got != want {
		c := a.of(of).comparison("GET /containers/{id}/logs")
		c.report("", "status %d, content type %q, want %q", res.status, got, want)
	}
}

func (a *inspection) imagesOf(t *testing.T) {
	t.Helper()
	a.get(t, "/images/json", "/images/json?all=1", []image.Summary{})
	for _, of := range slices.Sorted(maps.Keys(a.images)) {
		path := "/images/" + a.images[of]
		a.of(of).get(t, "/images/{name}/json", path+"/json", image.InspectResponse{})
		a.of(of).get(t, "/images/{name}/history", path+"/history", []image.HistoryResponseItem{})
	}
	a.listed(t)
	a.check(t, http.MethodGet, "/images/{name}/json", "/images/nosuch/json", "", 404, common.ErrorResponse{})
	a.check(t, http.MethodGet, "/images/{name}/history", "/images/nosuch/history", "", 404, common.ErrorResponse{})
}

// listed compares the values in the list of images that moby changes by version.
func (a *inspection) listed(t *testing.T) {
	t.Helper()
	var list []image.Summary
	if err := json.Unmarshal(a.ask(t, http.MethodGet, a.asked+"/images/json", "").body, &list); err != nil {
		t.Error(err)
	}
	c := a.comparison("GET /images/json")
	for _, got := range list {
		if len(got.RepoTags)+len(got.RepoDigests) == 0 && minor(a.doc.version) < 43 {
			c.report("[].RepoTags", "no <none>:<none>, which moby sends before 1.43 for an image without any name")
		}
		if got.Containers != -1 && minor(a.doc.version) < 51 {
			c.report("[].Containers", "%d, moby sends -1 before 1.51", got.Containers)
		}
	}
}

// changes asks for the answers that come with a change. What it creates it removes.
func (a *inspection) changes(t *testing.T) {
	t.Helper()
	const post, del = http.MethodPost, http.MethodDelete
	for _, of := range []string{"exited", "exited without an answer"} {
		path := "/containers/" + a.containers[of] + "/wait"
		a.of(of).check(t, post, "/containers/{id}/wait", path, "", 200, container.WaitResponse{})
	}
	body := `{"Image": "app:1", "User": "warns", "Labels": {"pruned": ""}}`
	a.check(t, post, "/containers/create", "/containers/create?name=one", body, 201, container.CreateResponse{})
	a.check(t, post, "/containers/{id}/rename", "/containers/one/rename?name=two", "", 204, nil)
	a.check(t, post, "/images/{name}/tag", "/images/app:1/tag?repo=tagged", "", 201, nil)
	a.check(t, del, "/images/{name}", "/images/tagged", "", 200, []image.DeleteResponse{})
	a.answersApp()
	a.check(t, post, "/images/create", "/images/create?fromImage=app&tag=1", "", 200, nil)
	a.registry.answers("e", 4, map[string]string{"pruned": ""})
	a.pull(t, "gone:1")
	a.registry.answers("f", 5, nil)
	a.pull(t, "gone:1")
	a.check(t, del, "/images/{name}", "/images/gone:1", "", 200, []image.DeleteResponse{})
	a.prunes(t)
}

// prunes asks for each prune twice, so that there is nothing left for the second. moby has most since 1.25.
func (a *inspection) prunes(t *testing.T) {
	t.Helper()
	if minor(a.doc.version) < 25 {
		a.check(t, http.MethodDelete, "/containers/{id}", "/containers/two", "", 204, nil)
		return
	}
	for range 2 {
		labels := "?" + filtersOf("label", "pruned")
		a.check(t, http.MethodPost, "/containers/prune", "/containers/prune"+labels, "", 200, container.PruneReport{})
		a.check(t, http.MethodPost, "/images/prune", "/images/prune"+labels, "", 200, image.PruneReport{})
		a.check(t, http.MethodPost, "/networks/prune", "/networks/prune", "", 200, network.PruneReport{})
		a.check(t, http.MethodPost, "/volumes/prune", "/volumes/prune", "", 200, volume.PruneReport{})
		if minor(a.doc.version) >= 31 {
			a.check(t, http.MethodPost, "/build/prune", "/build/prune", "", 200, build.CachePruneReport{})
		}
	}
}

// events compares the events so far.
func (a *inspection) events(t *testing.T) {
	t.Helper()
	const path = "/events"
	res := a.ask(t, http.MethodGet, a.asked+path+"?since=0&until="+a.db.Now().Format(time.RFC3339Nano), "")
	a.head(t, http.MethodGet, path, res, http.StatusOK)
	schema := a.doc.schema(t, http.MethodGet, path, http.StatusOK)
	kinds := map[string]bool{}
	for line := range bytes.Lines(res.body) {
		event := a.decode(t, path, line)
		if event == nil {
			continue
		}
		kind, c := fmt.Sprint(event["Type"], " ", event["Action"]), a.comparison("GET "+path)
		kinds[kind] = true
		c.compare(schema, reflect.TypeFor[events.Message](), event)
		_, from := event["from"]
		switch n := minor(a.doc.version); {
		case event["Type"] == "container" && n < 52 && !from:
			c.report(".from", "missing from %s, moby always sends it", kind)
		case event["Type"] != "container" && from:
			c.report(".from", "in %s, moby sends it for containers only", kind)
		case kind == "image create" && n < 46:
			c.report("", "%s, moby sends it since 1.46", kind)
		}
	}
	for _, want := range []string{
		"container create", "container start", "container die", "container rename", "container destroy",
		"image pull", "image tag", "image untag", "image delete",
	} {
		if !kinds[want] {
			t.Errorf("%s: there is no event %s", a.doc.version, want)
		}
	}
}

func (a *inspection) decode(t *testing.T, path string, line []byte) map[string]any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		a.comparison("GET "+path).report("", "no JSON object: %v", err)
	}
	return object
}

// of returns an inspection whose findings name what the answers are about.
func (a *inspection) of(what string) *inspection {
	of := *a
	of.about = what
	if a.about != "" {
		of.about += ", " + a.about
	}
	return &of
}

func (a *inspection) comparison(route string) comparison {
	return comparison{a.found, a.doc.version, route, a.about}
}

// get compares the answer to a GET. route is the document's path, path what is asked for.
func (a *inspection) get(t *testing.T, route, path string, sent any) {
	t.Helper()
	a.check(t, http.MethodGet, route, path, "", http.StatusOK, sent)
}

// check compares an answer. sent is of the type that moby sends.
func (a *inspection) check(t *testing.T, method, route, path, body string, status int, sent any) {
	t.Helper()
	res := a.ask(t, method, a.asked+path, body)
	if !a.head(t, method, route, res, status) || sent == nil {
		return
	}
	c := a.comparison(method + " " + route)
	if status >= 400 {
		c.route += fmt.Sprintf(" (%d)", status)
	}
	answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(res.body))
	if err != nil {
		c.report("", "not JSON: %v", err)
		return
	}
	schema := a.doc.schema(t, method, route, status)
	if schema == nil {
		c.report("", "the document has no schema of status %d", status)
		return
	}
	c.compare(schema, reflect.TypeOf(sent), answer)
}

// head compares status, headers and content type, and reports whether the status is as expected.
func (a *inspection) head(t *testing.T, method, route string, res response, status int) bool {
	t.Helper()
	c := a.comparison(method + " " + route)
	a.compared[c.route] = true
	if res.status != status {
		c.report("", "status %d, want %d: %s", res.status, status, res.body)
		return false
	}
	if len(res.body) == 0 && method != http.MethodHead {
		return true
	}
	types := a.doc.produces(method, route)
	if status >= 400 || len(types) == 0 {
		types = []string{"application/json"}
	}
	for name := range a.doc.headers(method, route, status) {
		if res.header.Get(name) == "" {
			c.report("", "no header %s", name)
		}
	}
	got, _, err := mime.ParseMediaType(res.header.Get("Content-Type"))
	if err != nil {
		c.report("", "content type %q: %v", res.header.Get("Content-Type"), err)
	} else if !slices.Contains(types, got) {
		c.report("", "content type %q, the document has %q", got, types)
	}
	return true
}
