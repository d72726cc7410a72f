package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/server"
)

// routes are the exchanges of the route test, and what they share.
type routes struct {
	*playground
	gate   string // a file; the container's command waits for it
	repo   string // the image without its tag
	create string // the request
	id     string // of the container, once it is created
}

// newRoutes returns the routes on a playground. The request has every field that must come back unchanged.
func newRoutes(t *testing.T, p *playground) *routes {
	t.Helper()
	r := &routes{playground: p, gate: filepath.Join(p.dir, "gate")}
	r.repo, _, _ = strings.Cut(p.image, ":1")
	command, err := json.Marshal([]string{
		"/bin/sh", "-c", "echo out; echo err >&2; while [ ! -e " + r.gate + " ]; do sleep 0.02; done; exit 3",
	})
	if err != nil {
		t.Fatal(err)
	}
	r.create = `{"Image":"` + p.image + `","Cmd":` + string(command) + `,
		"Hostname":"h","User":"` + strconv.Itoa(os.Getuid()) + `","Tty":false,
		"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,
		"OpenStdin":true,"StdinOnce":true,"ExposedPorts":{"80/tcp":{}},"Labels":{"ci":"yes"},
		"HostConfig":{"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]},
		"Memory":8388608,"ExtraHosts":["a:127.0.0.1"],"LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}}},
		"NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["web"]}}}}`
	return r
}

// TestEveryRoute goes through the whole internal API on a daemon with real Terraform, in an order in which each route
// has something to answer.
func TestEveryRoute(t *testing.T) {
	r := newRoutes(t, newPlayground(t))
	seen := map[string]bool{}
	for _, x := range slices.Concat(r.basics(), r.images(), r.container(), r.refusals(), r.end()) {
		seen[x.route] = true
		r.exchange(t, x)
	}
	for _, route := range azuretest.DocumentedRoutes(t, "../../docs/api.md") {
		if !seen[route] {
			t.Errorf("no exchange for the route %s of docs/api.md", route)
		}
		delete(seen, route)
	}
	for route := range seen {
		t.Errorf("docs/api.md lacks %s", route)
	}
	if left := r.sim.Sites(); len(left) > 0 {
		t.Errorf("function apps left: %v", left)
	}
}

// exchange sends one request and checks the answer.
func (r *routes) exchange(t *testing.T, x exchange) {
	t.Helper()
	method, path, _ := strings.Cut(x.route, " ")
	if method == "*" {
		method = http.MethodPost
	}
	if x.path != "" {
		path = x.path
	}
	path = strings.Replace(path, "NOW", r.now(), 1)
	status, header, body := r.send(t, method, server.Prefix+path, x.body)
	name := method + " " + path
	if status != x.status {
		t.Errorf("%s: got %d %s, want %d", name, status, body, x.status)
		return
	}
	if header.Get("X-Request-Id") == "" {
		t.Errorf("%s: the answer has no request id", name)
	}
	want := strings.ReplaceAll(x.want, "ID", r.id)
	switch {
	case status == http.StatusNoContent || status == http.StatusNotModified || method == http.MethodHead:
		if len(body) > 0 {
			t.Errorf("%s: a body: %s", name, body)
		}
	case status >= http.StatusBadRequest:
		var failure struct{ Message string }
		if err := json.Unmarshal(body, &failure); err != nil || failure.Message == "" ||
			want != "" && failure.Message != want {
			t.Errorf("%s: got %s, want %q", name, body, want)
		}
	case !bytes.Contains(body, []byte(want)):
		t.Errorf("%s: got %s, want %s", name, body, want)
	}
	if x.check != nil {
		t.Run(name, func(t *testing.T) { x.check(t, body) })
	}
}

// missing returns the path of a field in sent, which is JSON, that got has otherwise, or "".
func missing(t *testing.T, sent string, got any) string {
	t.Helper()
	var want, have any
	encoded, err := json.Marshal(got)
	if err = errors.Join(err, json.Unmarshal([]byte(sent), &want), json.Unmarshal(encoded, &have)); err != nil {
		t.Fatal(err)
	}
	return lacks(want, have, "")
}

func lacks(want, have any, path string) string {
	fields, ok := want.(map[string]any)
	if !ok {
		if reflect.DeepEqual(want, have) {
			return ""
		}
		return path
	}
	object, _ := have.(map[string]any) // nil where it is none: then each field is missing
	for name, value := range fields {
		if lost := lacks(value, object[name], path+"."+name); lost != "" {
			return lost
		}
	}
	return ""
}

// openGate lets the container's command end.
func (r *routes) openGate(t *testing.T, _ []byte) {
	t.Helper()
	if err := os.WriteFile(r.gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// state checks the state of an inspected container.
func state(want string) func(*testing.T, []byte) {
	return decoded(func(t *testing.T, c api.InspectResponse) {
		if string(c.State.Status) != want {
			t.Errorf("got %+v, want %s", c.State, want)
		}
	})
}

// basics returns the exchanges about the daemon itself.
func (r *routes) basics() []exchange {
	return []exchange{
		{route: "GET /healthz", status: 200, want: `{"status":"ok"}`},
		{
			route:  "GET /capabilities",
			status: 200,
			want: `"agent_required":false,"exec":false,"attach":false,"logs":true,"logs_follow":false,` +
				`"volumes":false,"networks":false,"health_checks":false,"max_timeout_seconds":600}`,
		},
		{route: "GET /version", status: 200, check: decoded(func(t *testing.T, v api.Version) {
			if len(v.Components) != 2 || v.Components[0].Name != "terraform" || v.Components[1].Version != "5.2.0" {
				t.Errorf("got components %+v", v.Components)
			}
			if v.Version == "" || v.APIVersion == "" || v.MinAPIVersion == "" || v.GoVersion == "" || v.Os != "linux" ||
				v.Arch == "" {
				t.Errorf("got %+v", v)
			}
		})},
		{route: "GET /gc", status: 200, want: "[]"},
		{route: "POST /foundation", status: 200, want: `"LogAnalyticsWorkspace":"`},
		{route: "GET /audit", path: "/audit?action=daemon-start&limit=1", status: 200, want: `"seq":1,`},
		{route: "GET /audit", path: "/audit?limit=-1", status: 400,
			want: `limit is "-1": use a whole number such as 100`},
		{route: "GET /audit", path: "/audit?container=nosuch", status: 404, want: "No such container: nosuch"},
		{route: "GET /audit/checkpoint", status: 200, want: "sockerless-backend-azf/"},
		{route: "POST /gc/confirm", body: `{"IDs":["ab"]}`, status: 404,
			want: `No such orphan: "ab": it is gone, or no comparison has seen it`},
		{route: "POST /auth", body: `{"username":"u","password":"p","serveraddress":"` + r.sim.Registry() + `"}`,
			status: 200, want: `"Status":"Login Succeeded"`},
	}
}

// images returns the exchanges about images, which are looked up and recorded only.
func (r *routes) images() []exchange {
	return []exchange{
		{route: "GET /images", status: 200, want: "[]"},
		{route: "GET /images/*", path: "/images/" + r.image, status: 404, want: "No such image: " + r.image},
		{route: "POST /images/pull", body: `{"Reference":"` + r.image + `","Auth":"e30=","Platform":"linux/amd64"}`,
			status: 200, want: `Digest: sha256:`},
		{route: "GET /images", status: 200, check: decoded(func(t *testing.T, list []api.ImageSummary) {
			if len(list) != 1 || !slices.Equal(list[0].RepoTags, []string{r.image}) || len(list[0].RepoDigests) != 1 ||
				list[0].Size == 0 || !strings.HasPrefix(list[0].ID, "sha256:") {
				t.Errorf("got %+v", list)
			}
		})},
		{route: "GET /images/inspect", path: "/images/inspect?name=" + url.QueryEscape(r.image), status: 200,
			want: `"Architecture":"amd64"`},
		{
			route:  "GET /images/*",
			path:   "/images/" + r.image,
			status: 200,
			check: decoded(func(t *testing.T, i api.ImageInspectResponse) {
				scriptRoot := func(e string) bool { return strings.HasPrefix(e, "AzureWebJobsScriptRoot=") }
				if !i.AZF.Resolved || i.Config == nil || !slices.ContainsFunc(i.Config.Env, scriptRoot) {
					t.Errorf("got %+v", i)
				}
			}),
		},
		{route: "GET /images/*", path: "/images/" + url.PathEscape(r.image), status: 200,
			want: `"RepoTags":["` + r.image + `"]`},
		{route: "GET /images/*", path: "/images/" + r.image + "/history", status: 200, want: `"Tags":["` + r.image + `"]`},
		{route: "POST /images/tag",
			path: "/images/tag?name=" + url.QueryEscape(r.image) + "&repo=" + url.QueryEscape(r.repo) +
				"&tag=2", status: 201},
		{route: "POST /images/*", path: "/images/" + r.image + "/tag?repo=other&tag=x", status: 201},
		{route: "POST /images/*", path: "/images/" + r.image + "/push", status: 501, want: unsupported("image push")},
		{route: "DELETE /images/*", path: "/images/other:x", status: 200, want: `[{"Untagged":"other:x"}]`},
		{route: "POST /images/prune", status: 200, want: `"SpaceReclaimed":0`},
		{route: "POST /images/load", body: "a tar", status: 501, want: unsupported("image load")},
		{route: "POST /images/build", body: strings.Repeat("x", 5<<20), status: 501, want: unsupported("image build")},
		{route: "GET /images/get", path: "/images/get?names=a", status: 501, want: unsupported("image get")},
		{route: "GET /images/search", path: "/images/search?term=a", status: 501, want: unsupported("image search")},
	}
}

// container returns the exchanges about a container, up to the end of its second run.
func (r *routes) container() []exchange {
	return []exchange{
		{
			route:  "POST /containers",
			path:   "/containers?name=web",
			body:   r.create,
			status: 201,
			check: decoded(func(t *testing.T, c api.CreateResponse) {
				r.id = c.ID
				if len(c.ID) != 64 || len(c.Warnings) != 5 {
					t.Errorf("got %+v, want warnings of ports, network, limits, names and hosts", c)
				}
			}),
		},
		{route: "POST /containers", path: "/containers?name=web", body: r.create, status: 409,
			want: `Conflict. The container name "/web" is already in use by container "ID". ` +
				`You have to remove (or rename) that container to be able to reuse that name.`},
		{
			route:  "GET /containers/:id",
			path:   "/containers/web",
			status: 200,
			check: decoded(func(t *testing.T, c api.InspectResponse) {
				got := api.CreateRequest{
					Config: c.Config, HostConfig: c.HostConfig,
					NetworkingConfig: &api.NetworkingConfig{EndpointsConfig: c.NetworkSettings.Networks},
				}
				if lost := missing(t, r.create, got); lost != "" {
					t.Errorf("sent %s\ngot %+v %+v %+v: %s differs", r.create, c.Config, c.HostConfig, c.NetworkSettings, lost)
				}
				if c.State.Status != "created" || c.State.StartedAt != "0001-01-01T00:00:00Z" {
					t.Errorf("got %+v", c.State)
				}
			}),
		},
		{route: "POST /containers/:id/stop", path: "/containers/web/stop?t=1", status: 304},
		{route: "POST /containers/:id/kill", path: "/containers/web/kill", status: 409,
			want: "cannot kill container: web: container ID is not running"},
		{route: "POST /containers/:id/start", path: "/containers/web/start", status: 204},
		{route: "POST /containers/:id/start", path: "/containers/web/start", status: 304},
		{route: "GET /containers", status: 200, check: decoded(func(t *testing.T, list []api.Summary) {
			if len(list) != 1 || list[0].State != "running" || list[0].Image != r.image ||
				!slices.Equal(list[0].Names, []string{"/web"}) {
				t.Errorf("got %+v", list)
			}
		})},
		{route: "GET /containers", path: "/containers?filters=" + url.QueryEscape(`{"label":["ci=no"]}`), status: 200,
			want: "[]"},
		{route: "GET /info", status: 200, check: decoded(func(t *testing.T, i api.Info) {
			if i.Containers != 1 || i.ContainersRunning != 1 || i.Images != 1 || i.Driver != "azf" || i.OSType != "linux" ||
				i.NCPU == 0 || i.MemTotal == 0 || i.ID == "" || i.KernelVersion == "" {
				t.Errorf("got %+v", i)
			}
		})},
		{route: "POST /containers/:id/rename", path: "/containers/web/rename?name=job", status: 204},
		{route: "DELETE /containers/:id", path: "/containers/job", status: 409,
			want: `cannot remove container "/job": container is running: stop the container before removing or force remove`},
		{route: "POST /containers/:id/stop", path: "/containers/job/stop", status: 204},
		{route: "POST /containers/:id/kill", path: "/containers/job/kill?signal=TERM", status: 204},
		{route: "DELETE /images/*", path: "/images/" + r.repo + ":2", status: 200, want: `"Untagged"`},
		{route: "DELETE /images/*", path: "/images/" + r.image, status: 409},
		{route: "POST /containers/prune", status: 200, want: `"ContainersDeleted":[]`, check: r.openGate},
		{route: "POST /containers/:id/wait", path: "/containers/job/wait", status: 200,
			want: `{"StatusCode":3,"Error":null}`},
		{route: "GET /containers/:id", path: "/containers/job", status: 200, check: state("exited")},
		{route: "GET /containers/:id/logs", path: "/containers/job/logs?stdout=1", status: 200,
			want: "\x01\x00\x00\x00\x00\x00\x00\x04out\n"},
		{route: "GET /containers/:id/logs", path: "/containers/job/logs?stderr=1&follow=1&tail=1", status: 200,
			want: "\x02\x00\x00\x00"},
		{route: "POST /containers/:id/restart", path: "/containers/job/restart?t=3", status: 204},
		{route: "POST /containers/:id/wait", path: "/containers/job/wait?condition=not-running", status: 200,
			want: `{"StatusCode":3,"Error":null}`},
	}
}

// refusals returns the exchanges about what the backend cannot do.
func (r *routes) refusals() []exchange {
	return []exchange{
		{route: "POST /containers/:id/attach", path: "/containers/job/attach?stream=1", status: 501, want: noAttach},
		{route: "POST /containers/:id/resize", path: "/containers/job/resize?h=1", status: 501, want: noAttach},
		{route: "POST /containers/:id/exec", path: "/containers/job/exec", body: `{"Cmd":["ls"]}`, status: 501, want: noExec},
		{route: "POST /exec/:id/start", path: "/exec/x/start", status: 501, want: noExec},
		{route: "POST /exec/:id/resize", path: "/exec/x/resize", status: 501, want: noExec},
		{route: "GET /exec/:id", path: "/exec/x", status: 501, want: noExec},
		{route: "GET /containers/:id/top", path: "/containers/job/top", status: 501, want: unsupported("top")},
		{route: "GET /containers/:id/stats", path: "/containers/job/stats", status: 501, want: unsupported("stats")},
		{route: "POST /containers/:id/pause", path: "/containers/job/pause", status: 501, want: unsupported("pause")},
		{route: "POST /containers/:id/unpause", path: "/containers/job/unpause", status: 501, want: unsupported("unpause")},
		{route: "POST /containers/:id/update", path: "/containers/job/update", body: "{}", status: 501,
			want: unsupported("update")},
		{route: "GET /containers/:id/changes", path: "/containers/job/changes", status: 501, want: unsupported("changes")},
		{route: "GET /containers/:id/export", path: "/containers/job/export", status: 501, want: unsupported("export")},
		{route: "PUT /containers/:id/archive", path: "/containers/job/archive?path=/", body: "a tar", status: 501,
			want: unsupported("archive")},
		{route: "HEAD /containers/:id/archive", path: "/containers/job/archive?path=/", status: 501},
		{route: "GET /containers/:id/archive", path: "/containers/job/archive?path=/", status: 501,
			want: unsupported("archive")},
		{route: "POST /commit", path: "/commit?container=job", status: 501, want: unsupported("commit")},
		{route: "* /networks", path: "/networks", status: 501, want: unsupported("networks")},
		{route: "* /networks/*", path: "/networks/create", body: "{}", status: 501, want: unsupported("networks")},
		{route: "* /volumes", path: "/volumes", status: 501, want: unsupported("volumes")},
		{route: "* /volumes/*", path: "/volumes/v", status: 501, want: unsupported("volumes")},
	}
}

// end returns the exchanges about the container's removal and what remains.
func (r *routes) end() []exchange {
	return []exchange{
		{route: "GET /system/df", status: 200, check: decoded(func(t *testing.T, df api.DiskUsage) {
			if len(df.Images) != 1 || len(df.Containers) != 1 || df.LayersSize == 0 || df.ImageUsage.TotalCount != 1 ||
				df.ContainerUsage.TotalCount != 1 {
				t.Errorf("got %+v", df)
			}
		})},
		{route: "DELETE /containers/:id", path: "/containers/job?force=1&v=1", status: 204},
		{route: "GET /containers/:id", path: "/containers/job", status: 404, want: "No such container: job"},
		{
			route:  "GET /events",
			path:   "/events?until=NOW&filters=" + url.QueryEscape(`{"type":["container"]}`),
			status: 200,
			check: func(t *testing.T, body []byte) {
				var story []string
				restarts := 0
				for dec := json.NewDecoder(bytes.NewReader(body)); dec.More(); {
					var e api.Event
					if err := dec.Decode(&e); err != nil {
						t.Fatal(err)
					}
					if e.Action == api.EventRestart {
						restarts++ // the second run may end before it
						continue
					}
					story = append(story, string(e.Action))
				}
				got := strings.Join(story, " ")
				if got != "create start rename prune die start die destroy" || restarts != 1 {
					t.Errorf("got %s and %d restarts", got, restarts)
				}
			},
		},
	}
}
