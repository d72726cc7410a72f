package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
)

// dockerBackend records what reaches the Backend from routes of the Docker Engine API.
type dockerBackend struct {
	backend
	pruned  api.Filters
	prunes  int
	pulled  string
	auth    api.AuthConfig
	removed []string
	images  api.ImageListOptions
	created int
}

func (b *dockerBackend) ContainerPrune(_ context.Context, filters api.Filters) (api.PruneReport, error) {
	b.pruned, b.prunes = filters, b.prunes+1
	return api.PruneReport{ContainersDeleted: []string{}}, nil
}

func (b *dockerBackend) ImagePrune(_ context.Context, filters api.Filters) (api.ImagePruneReport, error) {
	b.pruned, b.prunes = filters, b.prunes+1
	return api.ImagePruneReport{}, nil
}

func (b *dockerBackend) ContainerRemove(_ context.Context, ref string, _ bool) error {
	b.removed = append(b.removed, ref)
	return nil
}

func (b *dockerBackend) ImageRemove(_ context.Context, name string, _, _ bool) ([]api.ImageDeleted, error) {
	b.removed = append(b.removed, name)
	return []api.ImageDeleted{}, nil
}

func (b *dockerBackend) ImagePull(
	_ context.Context, ref string, auth api.AuthConfig, _ string,
) (io.ReadCloser, error) {
	b.pulled, b.auth = ref, auth
	return io.NopCloser(strings.NewReader("")), nil
}

func (b *dockerBackend) ImageInspect(context.Context, string) (out api.ImageInspectResponse, err error) {
	return out, nil
}

func (b *dockerBackend) ImageList(_ context.Context, opts api.ImageListOptions) ([]api.ImageSummary, error) {
	b.images = opts
	return []api.ImageSummary{{ID: "sha256:1", RepoTags: []string{}, RepoDigests: []string{}, Size: 5, Containers: 2}}, nil
}

func (b *dockerBackend) ContainerCreate(
	ctx context.Context, name string, req api.CreateRequest,
) (api.CreateResponse, error) {
	b.created++
	return b.backend.ContainerCreate(ctx, name, req)
}

func (b *dockerBackend) ContainerRename(_ context.Context, _, name string) error {
	b.name = name
	return nil
}

const oneEvent = `{"Type":"container","Action":"start",` +
	`"Actor":{"ID":"c1","Attributes":{"image":"alpine","name":"web"}},"scope":"local",` +
	`"time":1,"timeNano":1000000000}` + "\n"

func (b *dockerBackend) SystemEvents(context.Context, api.EventsOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(oneEvent + oneEvent)), nil
}

// send sends a request with a body of the given type, which may be empty.
func send(b api.Backend, method, target, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, strings.ReplaceAll(target, `"`, "%22"), strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	newHandlerOf(b).ServeHTTP(w, r)
	return w
}

const form = "application/x-www-form-urlencoded"

// TestParametersInTheBody sends the parameters of POST requests as a form, which counts as the query does.
func TestParametersInTheBody(t *testing.T) {
	want := api.Filters{"label": {"nosuch"}}
	const filters = `filters=%7B%22label%22%3A%5B%22nosuch%22%5D%7D`
	for _, route := range []string{"/containers/prune", "/v1.41/containers/prune", "/images/prune",
		"/internal/v1/containers/prune", "/internal/v1/images/prune"} {
		for _, contentType := range []string{form, form + "; charset=utf-8"} {
			b := &dockerBackend{}
			if w := send(b, "POST", route, contentType, filters); w.Code != 200 || !reflect.DeepEqual(b.pruned, want) {
				t.Errorf("%s: got %d %s, filters %v", route, w.Code, w.Body, b.pruned)
			}
		}
		b := &dockerBackend{} // the body comes first, as in Docker
		send(b, "POST", route+`?filters={"label":["other"]}`, form, filters)
		if !reflect.DeepEqual(b.pruned, want) {
			t.Errorf("%s: filters %v", route, b.pruned)
		}
	}
	b := &dockerBackend{}
	w := send(b, "POST", "/images/create", form, "fromImage=alpine&tag=3")
	if w.Code != 200 || !strings.HasSuffix(b.pulled, "alpine:3") {
		t.Errorf("pull: got %d, %s", w.Code, b.pulled)
	}
	if w := send(b, "POST", "/containers/x/rename", form, "name=new"); w.Code != 204 || b.name != "new" {
		t.Errorf("rename: got %d, %s", w.Code, b.name)
	}
}

// TestPruneWithFiltersThatCannotBeRead removes nothing.
func TestPruneWithFiltersThatCannotBeRead(t *testing.T) {
	for _, route := range []string{"/containers/prune", "/images/prune", "/internal/v1/containers/prune"} {
		for _, target := range []string{
			"?filters=%zz", "?filters={", `?filters="label"`, "?filters=[]", `?filters={"label":"x"}`, `?filters={"label":7}`,
			`?filters={"label":["x"]}x`, "?a=1;filters={}",
		} {
			b := &dockerBackend{}
			if w := send(b, "POST", route+target, "", ""); w.Code != 400 || b.prunes > 0 {
				t.Errorf("%s%s: got %d %s, %d prunes", route, target, w.Code, w.Body, b.prunes)
			}
		}
		b := &dockerBackend{}
		if w := send(b, "POST", route, form, "filters=%zz"); w.Code != 400 || b.prunes > 0 {
			t.Errorf("%s: got %d %s, %d prunes", route, w.Code, w.Body, b.prunes)
		}
	}
}

// TestFiltersOfBothForms expects that of Docker's older form the keys count, whatever their values are, and that an
// empty filter is not lost.
func TestFiltersOfBothForms(t *testing.T) {
	for text, want := range map[string]api.Filters{
		`{"label":{"nosuch":false}}`:        {"label": {"nosuch"}},
		`{"label":{"b":true,"a":false}}`:    {"label": {"a", "b"}},
		`{"label":["b","a"],"until":["1"]}`: {"label": {"b", "a"}, "until": {"1"}},
		`{"nosuch":[]}`:                     {"nosuch": {}},
		`{"nosuch":{}}`:                     {"nosuch": nil},
		`null`:                              {},
	} {
		b := &dockerBackend{}
		send(b, "POST", "/containers/prune?filters="+text, "", "")
		if diff := cmp.Diff(want, b.pruned); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestRemovalsOfLess ask for a link, and for one platform of an image. Neither removes the whole.
func TestRemovalsOfLess(t *testing.T) {
	for target, want := range map[string]struct {
		status  int
		message string
	}{
		"/containers/x?link=1":                 {409, "Conflict, cannot remove the default link name of the container"},
		"/containers/x?link=true&force=1":      {409, "Conflict, cannot remove the default link name of the container"},
		"/v1.24/containers/x?link=yes":         {409, "cannot remove the default link name"},
		"/internal/v1/containers/x?link=1":     {409, "cannot remove the default link name"},
		`/images/x?platforms={"os":"linux"}`:   {501, "single platforms"},
		`/v1.50/images/a/b?platforms={"os":1}`: {501, "single platforms"},
	} {
		b := &dockerBackend{}
		w := send(b, "DELETE", target, "", "")
		if w.Code != want.status || !strings.Contains(w.Body.String(), want.message) || len(b.removed) > 0 {
			t.Errorf("%s: got %d %s, removed %v", target, w.Code, w.Body, b.removed)
		}
	}
	b := &dockerBackend{}
	if w := send(b, "DELETE", "/containers/x?link=0&v=1", "", ""); w.Code != 204 || len(b.removed) != 1 {
		t.Errorf("got %d, removed %v", w.Code, b.removed)
	}
}

// TestPrunesOfWhatDoesNotExist have empty reports in the Docker Engine API and are refused in the internal one.
func TestPrunesOfWhatDoesNotExist(t *testing.T) {
	for path, want := range map[string]string{
		"/networks/prune": `{"NetworksDeleted":[]}`,
		"/volumes/prune":  `{"SpaceReclaimed":0,"VolumesDeleted":[]}`,
		"/build/prune":    `{"CachesDeleted":[],"SpaceReclaimed":0}`,
	} {
		for _, prefix := range []string{"", "/v1.41"} {
			w := send(&dockerBackend{}, "POST", prefix+path+`?filters={"label":["a"]}`, "", "")
			if w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
				t.Errorf("%s%s: got %d %s", prefix, path, w.Code, w.Body)
			}
		}
		if w := send(&dockerBackend{}, "POST", path+"?filters=x", "", ""); w.Code != 400 {
			t.Errorf("%s: got %d", path, w.Code)
		}
		if w := send(&dockerBackend{}, "POST", "/v1.24"+path, "", ""); w.Code != 400 ||
			!strings.Contains(w.Body.String(), "requires minimum API version") {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
}

// TestCreateNeedsJSON refuses what a web page can send without asking.
func TestCreateNeedsJSON(t *testing.T) {
	const body = `{"Image":"alpine"}`
	for contentType, want := range map[string]int{
		"": 400, "text/plain": 400, form: 400, "multipart/form-data; boundary=x": 400, "application/json;": 201,
		"application/json": 201, "application/json; charset=utf-8": 201, "broken;;": 400,
	} {
		b := &dockerBackend{}
		w := send(b, "POST", "/containers/create", contentType, body)
		if w.Code != want || b.created > 0 != (want == 201) {
			t.Errorf("%q: got %d %s", contentType, w.Code, w.Body)
		}
	}
	// The internal API takes what curl sends.
	if w := send(&dockerBackend{}, "POST", "/internal/v1/containers?name=x", form, `{"Image":"a;%zz"}`); w.Code != 201 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestCommandsAsStrings(t *testing.T) {
	for body, want := range map[string][2][]string{
		`{"Cmd":"echo hi","Entrypoint":"sh"}`: {{"echo hi"}, {"sh"}},
		`{"Cmd":["echo","hi"]}`:               {{"echo", "hi"}, nil},
		`{"Cmd":null,"Entrypoint":[""]}`:      {nil, {""}},
		`{"Entrypoint":[]}`:                   {nil, {}},
	} {
		b := &dockerBackend{}
		w := send(b, "POST", "/containers/create", "application/json", body)
		if w.Code != 201 || b.request.Config == nil {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
			continue
		}
		if diff := cmp.Diff(want, [2][]string{b.request.Cmd, b.request.Entrypoint}); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
	const mac = `{"MacAddress":"02:42:ac:11:00:02"}`
	b := &dockerBackend{}
	if w := send(b, "POST", "/v1.43/containers/create", "application/json", mac); w.Code != 201 ||
		b.request.NetworkingConfig.EndpointsConfig["bridge"].MacAddress.String() != "02:42:ac:11:00:02" {
		t.Errorf("a MAC address: got %d %s, %+v", w.Code, w.Body, b.request)
	}
	if w := send(b, "POST", "/v1.52/containers/create", "application/json", mac); w.Code != 400 {
		t.Errorf("a MAC address in 1.52: got %d %s", w.Code, w.Body)
	}
	if w := send(&dockerBackend{}, "POST", "/containers/create", "application/json", `{"Cmd":7}`); w.Code != 400 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestPullParameters(t *testing.T) {
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for query, want := range map[string]string{
		"fromImage=alpine":                        "alpine",
		"fromImage=alpine:":                       "alpine",
		"fromImage=alpine&tag=3":                  "docker.io/library/alpine:3",
		"fromImage=example.com/a:1&tag=2":         "example.com/a:2",
		"fromImage=example.com/a:1&tag=" + digest: "example.com/a@" + digest,
	} {
		b := &dockerBackend{}
		if w := send(b, "POST", "/images/create?"+query, "", ""); w.Code != 200 || b.pulled != want {
			t.Errorf("%s: got %d, %s", query, w.Code, b.pulled)
		}
	}
	for header, want := range map[string]string{
		"": "", "not base64!": "", "e30=": "", "eyJ1c2VybmFtZSI6InUifQ==": "u", "eyJ1c2VybmFtZSI6InUifQ": "u",
		"eyJ1c2VybmFtZSI6Ij8_Pz4-In0=": "???>>", "eyJ1c2VybmFtZSI6Ij8/Pz4+In0=": "???>>", "bm8=": "",
	} {
		b := &dockerBackend{}
		r := httptest.NewRequest(http.MethodPost, "/images/create?fromImage=alpine", nil)
		r.Header.Set("X-Registry-Auth", header)
		w := httptest.NewRecorder()
		newHandlerOf(b).ServeHTTP(w, r)
		if w.Code != 200 || b.auth.Username != want {
			t.Errorf("%q: got %d, user %q", header, w.Code, b.auth.Username)
		}
	}
}

// TestShapesOfVersions compares answers in versions around each difference.
func TestShapesOfVersions(t *testing.T) {
	fields := func(target string) map[string]any {
		w := send(&dockerBackend{}, "GET", target, "", "")
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
			t.Fatalf("%s: got %d %s, %v", target, w.Code, w.Body, err)
		}
		if list, ok := v.([]any); ok {
			v = list[0]
		}
		return v.(map[string]any) //nolint:forcetypeassert // fails the test
	}
	for _, row := range []struct {
		target, field string
		want          any // nil: not there
	}{
		{"/v1.42/images/json", "RepoTags", []any{"<none>:<none>"}},
		{"/v1.43/images/json", "RepoTags", []any{}},
		{"/v1.43/images/json", "VirtualSize", 5.0},
		{"/v1.44/images/json", "VirtualSize", nil},
		{"/v1.50/images/json", "Containers", -1.0},
		{"/v1.51/images/json", "Containers", 2.0},
		{"/images/json", "Containers", 2.0},
		{"/internal/v1/images", "Containers", 2.0},
		{"/v1.44/images/x/json", "Container", ""},
		{"/v1.45/images/x/json", "Container", nil},
		{"/v1.51/images/x/json", "DockerVersion", ""},
		{"/v1.52/images/x/json", "DockerVersion", nil},
	} {
		if got := fields(row.target)[row.field]; !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %s is %v, want %v", row.target, row.field, got, row.want)
		}
	}
}

func TestEventsOfVersions(t *testing.T) {
	for _, row := range []struct{ target, accept, contentType, separator, id string }{
		{"/v1.51/events", "", "application/json", "", "c1"},
		{"/v1.52/events", "", "application/jsonl", "", ""},
		{"/events", "", "application/jsonl", "", ""},
		{"/events", "application/x-ndjson", "application/x-ndjson", "", ""},
		{"/v1.41/events", "text/html, application/json-seq;q=1", "application/json-seq", "\x1e", "c1"},
		{"/internal/v1/events", "application/x-ndjson", "application/json", "", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, row.target, nil)
		r.Header.Set("Accept", row.accept)
		w := httptest.NewRecorder()
		newHandlerOf(&dockerBackend{}).ServeHTTP(w, r)
		lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
		var event struct{ ID, Status, From string }
		text, ok := strings.CutPrefix(lines[0], row.separator)
		err := json.Unmarshal([]byte(text), &event)
		if w.Header().Get("Content-Type") != row.contentType || len(lines) != 2 || !ok || err != nil || event.ID != row.id ||
			row.id != "" && (event.Status != "start" || event.From != "alpine") {
			t.Errorf("%s: got %v, %q, %v", row.target, w.Header(), w.Body, err)
		}
	}
}

func TestDockerWaitStartAndLogs(t *testing.T) {
	h := &dockerBackend{}
	h.wait = func(_ context.Context, accepted func()) (api.WaitResponse, error) {
		accepted()
		return api.WaitResponse{StatusCode: 3}, nil
	}
	for target, want := range map[string]string{
		"/containers/x/wait": `{"StatusCode":3}`, "/v1.24/containers/x/wait?condition=odd": `{"StatusCode":3}`,
		"/internal/v1/containers/x/wait": `{"StatusCode":3,"Error":null}`,
	} {
		if w := send(h, "POST", target, "", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("%s: got %d %s", target, w.Code, w.Body)
		}
	}
	for body, want := range map[string]int{"": 204, "{}": 204, `{"Binds":["/a:/b"]}`: 400} {
		if w := send(h, "POST", "/containers/x/start", "application/json", body); w.Code != want {
			t.Errorf("start with %q: got %d %s", body, w.Code, w.Body)
		}
	}
	for _, row := range []struct {
		target, contentType string
		tail                int
		follow              bool
	}{
		{"/v1.41/containers/x/logs?stdout=1&tail=abc", "application/vnd.docker.raw-stream", -1, false},
		{"/v1.42/containers/x/logs?stdout=1&tail=3&follow=1", "application/vnd.docker.multiplexed-stream", 3, true},
		{"/containers/x/logs?stdout=1&tail=-7", "application/vnd.docker.multiplexed-stream", -1, false},
		{"/internal/v1/containers/x/logs?stdout=1&follow=1", "application/vnd.docker.multiplexed-stream", -1, false},
	} {
		w := send(h, "GET", row.target, "", "")
		if w.Code != 200 || w.Header().Get("Content-Type") != row.contentType || h.logs.Tail != row.tail ||
			h.logs.Follow != row.follow {
			t.Errorf("%s: got %d %v, %+v", row.target, w.Code, w.Header(), h.logs)
		}
	}
	send(h, "GET", "/v1.24/images/json?filter=alpine*", "", "")
	if diff := cmp.Diff(api.Filters{"reference": {"alpine*"}}, h.images.Filters); diff != "" {
		t.Error(diff)
	}
	if w := send(h, "GET", `/networks?filters={"label":["a"]}`, "", ""); w.Code != http.StatusOK ||
		strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestWarningAboutAttach goes to the docker CLI alone: other clients attach, and say what they are answered.
func TestWarningAboutAttach(t *testing.T) {
	const attached = `{"Image":"a","AttachStdout":true,"AttachStderr":true}`
	for _, row := range []struct {
		agent, body string
		warned      bool
	}{
		{"Docker-Client/28.2.2 (linux)", attached, true},
		{"Docker-Client/28.2.2 (linux)", `{"Image":"a"}`, false},
		{"docker-sdk-python/7.1.0", attached, false},
		{"compose/2.40.3", attached, false},
		{"", attached, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1.44/containers/create?name=web", strings.NewReader(row.body))
		r.Header.Set("User-Agent", row.agent)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		newHandlerOf(&dockerBackend{}).ServeHTTP(w, r)
		var res api.CreateResponse
		if err := json.Unmarshal(w.Body.Bytes(), &res); err != nil || w.Code != http.StatusCreated ||
			strings.Contains(strings.Join(res.Warnings, ""), "does not support attach") != row.warned {
			t.Errorf("%s: got %d %s, %v", row.agent, w.Code, w.Body, err)
		}
	}
}
