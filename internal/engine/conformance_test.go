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

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
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
	for n := minor(api.MinAPIVersion); n <= minor(api.APIVersion); n++ {
		version := fmt.Sprint("1.", n)
		a := audit{dockerScene: s, doc: readDocument(t, version), asked: "/v" + version, found: found}
		a.all(t)
		if version == api.APIVersion {
			a.asked, a.about = "", "without a version"
			a.all(t)
		}
	}
	for _, unused := range found.accept(deviations()) {
		t.Error(unused)
	}
	for _, line := range found.lines() {
		t.Error(line)
	}
}

// audit asks for the answers of one version. asked is the version in the path.
type audit struct {
	*dockerScene
	doc   document
	asked string
	found findings
	about string // what the answer is about
}

func (a *audit) all(t *testing.T) {
	a.system(t)
	a.containersOf(t)
	a.imagesOf(t)
	a.changes(t)
	a.events(t)
}

// legacyDiskUsage is moby's answer to system/df before API 1.52.
type legacyDiskUsage struct {
	LayersSize int64 `json:",omitempty"`
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

func (a *audit) system(t *testing.T) {
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
	a.check(t, http.MethodPost, "/auth", "/auth", `{"username": "u", "password": "p"}`, 200, registry.AuthResponse{})
}

func (a *audit) containersOf(t *testing.T) {
	a.get(t, "/containers/json", "/containers/json?all=1", []container.Summary{})
	a.get(t, "/containers/json", "/containers/json?all=1&size=1", []container.Summary{})
	for _, of := range slices.Sorted(maps.Keys(a.containers)) {
		path := "/containers/" + a.containers[of] + "/json"
		a.of(of).get(t, "/containers/{id}/json", path, container.InspectResponse{})
		a.of(of).get(t, "/containers/{id}/json", path+"?size=1", container.InspectResponse{})
		a.of(of).logs(t, a.containers[of])
	}
	for _, path := range []string{"/containers/{id}/json", "/containers/{id}/logs"} {
		of := strings.ReplaceAll(path, "{id}", "nosuch") + "?stdout=1"
		a.check(t, http.MethodGet, path, of, "", 404, common.ErrorResponse{})
	}
}

// logs compares the content type of logs with moby's. The documents have it since 1.42 only.
func (a *audit) logs(t *testing.T, ref string) {
	t.Helper()
	res := a.ask(t, http.MethodGet, a.asked+"/containers/"+ref+"/logs?stdout=1&stderr=1", "")
	want := "application/vnd.docker.raw-stream"
	info, err := a.ContainerInspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if !info.Config.Tty && minor(a.doc.version) >= 42 {
		want = "application/vnd.docker.multiplexed-stream"
	}
	if got := res.header.Get("Content-Type"); res.status != http.StatusOK || got != want {
		a.comparison("GET /containers/{id}/logs").report("", "status %d, content type %q, want %q", res.status, got, want)
	}
}

func (a *audit) imagesOf(t *testing.T) {
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
func (a *audit) listed(t *testing.T) {
	var list []image.Summary
	if err := json.Unmarshal(a.ask(t, http.MethodGet, a.asked+"/images/json", "").body, &list); err != nil {
		t.Error(err)
	}
	c := a.comparison("GET /images/json")
	for _, got := range list {
		if got.ID == a.images["dangling"] {
			tags, digests := []string{}, []string{}
			if minor(a.doc.version) < 43 {
				tags, digests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
			}
			if !slices.Equal(got.RepoTags, tags) {
				c.report("[].RepoTags", "%q of a dangling image, moby has %q", got.RepoTags, tags)
			}
			if len(got.RepoDigests) == 0 && len(digests) > 0 {
				c.report("[].RepoDigests", "%q of a dangling image, moby has %q", got.RepoDigests, digests)
			}
		}
		if minor(a.doc.version) < 51 && got.Containers != -1 {
			c.report("[].Containers", "%d, moby has -1", got.Containers)
		}
	}
}

// changes asks for the answers that come with a change. What it creates it removes.
func (a *audit) changes(t *testing.T) {
	const post, del = http.MethodPost, http.MethodDelete
	for _, of := range []string{"minimal", "full"} {
		name, body := "of-"+a.doc.version, bodies[of]
		a.of(of).check(t, post, "/containers/create", "/containers/create?name="+name, body, 201, container.CreateResponse{})
		a.check(t, del, "/containers/{id}", "/containers/"+name, "", 204, nil)
	}
	for _, of := range []string{"exited", "exited without an answer"} {
		path := "/containers/" + a.containers[of] + "/wait"
		a.of(of).check(t, post, "/containers/{id}/wait", path, "", 200, container.WaitResponse{})
	}
	prune := "/containers/prune?" + filtersOf("label", "pruned")
	a.check(t, post, "/containers/prune", prune, "", 200, container.PruneReport{})
	body := `{"Image": "app:1", "Labels": {"pruned": ""}}`
	a.check(t, post, "/containers/create", "/containers/create", body, 201, container.CreateResponse{})
	a.check(t, post, "/containers/prune", prune, "", 200, container.PruneReport{})

	prune = "/images/prune?" + filtersOf("label", "pruned")
	a.check(t, post, "/images/prune", prune, "", 200, image.PruneReport{})
	a.registry.answers("e", 4, map[string]string{"pruned": ""})
	a.pull(t, "gone:1")
	a.registry.answers("f", 5, map[string]string{"pruned": ""})
	a.pull(t, "gone:1")
	a.check(t, post, "/images/prune", prune, "", 200, image.PruneReport{})
	a.check(t, del, "/images/{name}", "/images/gone:1", "", 200, []image.DeleteResponse{})
}

// events compares all events so far.
func (a *audit) events(t *testing.T) {
	const path = "/events"
	res := a.ask(t, http.MethodGet, a.asked+path+"?until="+fmt.Sprint(a.db.Now().Unix()), "")
	a.head(t, http.MethodGet, path, res, 200)
	schema := a.doc.schema(t, http.MethodGet, path, 200)
	kinds := map[string]bool{}
	for line := range bytes.Lines(res.body) {
		event := a.decode(t, path, line)
		if event == nil {
			continue
		}
		kind, c := fmt.Sprint(event["Type"], " ", event["Action"]), a.comparison("GET "+path)
		kinds[kind] = true
		c.compare(schema, reflect.TypeFor[events.Message](), event)
		switch n := minor(a.doc.version); {
		case event["Type"] == "container" && event["Action"] != "prune" && event["from"] == nil && n < 52:
			c.report(".from", "missing from %s, moby always sends it", kind)
		case event["Type"] != "container" && event["from"] != nil:
			c.report(".from", "in %s, moby sends it for containers only", kind)
		case kind == "image create" && n < 46:
			c.report("", "%s, moby sends it since 1.46", kind)
		}
	}
	if len(kinds) < 5 {
		t.Errorf("%s: few kinds of events: %v", a.doc.version, kinds)
	}
}

func (a *audit) decode(t *testing.T, path string, line []byte) map[string]any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		a.comparison("GET "+path).report("", "no JSON object: %v", err)
	}
	return object
}

// of returns an audit whose findings name what the answers are about.
func (a *audit) of(what string) *audit {
	of := *a
	of.about = what
	if a.about != "" {
		of.about += ", " + a.about
	}
	return &of
}

func (a *audit) comparison(route string) comparison {
	return comparison{a.found, a.doc.version, route, a.about}
}

// get compares the answer to a GET. route is the document's path, path what is asked for.
func (a *audit) get(t *testing.T, route, path string, sent any) {
	t.Helper()
	a.check(t, http.MethodGet, route, path, "", http.StatusOK, sent)
}

// check compares an answer. sent is of the type that moby sends.
func (a *audit) check(t *testing.T, method, route, path, body string, status int, sent any) {
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
func (a *audit) head(t *testing.T, method, route string, res response, status int) bool {
	t.Helper()
	c := a.comparison(method + " " + route)
	if res.status != status {
		c.report("", "status %d, want %d: %s", res.status, status, res.body)
		return false
	}
	types := a.doc.produces(method, route)
	switch {
	case status == http.StatusNoContent:
		types = []string{""}
	case status >= 400 || len(types) == 0:
		types = []string{"application/json"}
	}
	for name := range a.doc.headers(method, route, status) {
		if res.header.Get(name) == "" {
			c.report("", "no header %s", name)
		}
	}
	got, _, err := mime.ParseMediaType(res.header.Get("Content-Type"))
	if err != nil && status != http.StatusNoContent {
		c.report("", "content type %q: %v", res.header.Get("Content-Type"), err)
	} else if !slices.Contains(types, got) {
		c.report("", "content type %q, the document has %q", got, types)
	}
	return true
}
