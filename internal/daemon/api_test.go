package daemon_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/server"
)

// exchange is one request of the route test, and its answer.
type exchange struct {
	// route is the route of docs/api.md that it stands for, path the requested path when that differs.
	route, path string
	body        string
	status      int
	// want is the whole message of an error, or a part of any other body.
	want string
	// check looks at the body of a success.
	check func(t *testing.T, body []byte)
}

// send makes one request and returns status, headers and body.
func (p *playground) send(t *testing.T, method, path, body string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://daemon"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, content
}

// documentedRoutes returns the routes of docs/api.md.
func documentedRoutes(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(content), "\n## Internal API\n")
	if !ok {
		t.Fatal("docs/api.md has no section Internal API")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var routes []string
	for _, row := range regexp.MustCompile("`([A-Z*]+ /[^`]*)`").FindAllStringSubmatch(section, -1) {
		routes = append(routes, row[1])
	}
	return routes
}

// decoded is a check of one JSON value.
func decoded[T any](check func(t *testing.T, v T)) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		t.Helper()
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			t.Errorf("%v in %s", err, body)
			return
		}
		check(t, v)
	}
}

const (
	others   = ". CI runners require exec-capable backends (ecs, cloudrun, aca, docker)."
	noExec   = "This backend (azf) does not support exec" + others
	noAttach = "This backend (azf) does not support attach" + others
)

func unsupported(capability string) string {
	return "This backend (azf) does not support " + capability + "."
}

// TestEveryRoute goes through the whole internal API on a daemon with real Terraform, in an order in which each route
// has something to answer.
func TestEveryRoute(t *testing.T) {
	p := newPlayground(t)
	gate := filepath.Join(p.dir, "gate")
	image := url.QueryEscape(p.image)
	repo, _, _ := strings.Cut(p.image, ":1")
	waits, err := json.Marshal(
		[]string{"/bin/sh", "-c", "echo out; echo err >&2; while [ ! -e " + gate + " ]; do sleep 0.02; done; exit 3"},
	)
	if err != nil {
		t.Fatal(err)
	}
	// Every field that must come back unchanged.
	create := `{"Image":"` + p.image + `","Cmd":` + string(
		waits,
	) + `,"Hostname":"h","User":"1000","Tty":false,"AttachStdin":true,"AttachStdout":true,"AttachStderr":true,
		"OpenStdin":true,"StdinOnce":true,"ExposedPorts":{"80/tcp":{}},"Labels":{"ci":"yes"},
		"HostConfig":{"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]},
		"Memory":1048576,"ExtraHosts":["a:127.0.0.1"],"LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}}},
		"NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["web"]}}}}`
	var sent api.CreateRequest
	if err := json.Unmarshal([]byte(create), &sent); err != nil {
		t.Fatal(err)
	}
	var id string
	openGate := func(t *testing.T, _ []byte) {
		t.Helper()
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	state := func(want string) func(*testing.T, []byte) {
		return decoded(func(t *testing.T, c api.InspectResponse) {
			if string(c.State.Status) != want {
				t.Errorf("got %+v, want %s", c.State, want)
			}
		})
	}
	exchanges := []exchange{
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
		{
			route:  "POST /auth",
			body:   `{"username":"u","password":"p","serveraddress":"` + p.sim.Registry() + `"}`,
			status: 200,
			want:   `"Status":"Login Succeeded"`,
		},

		{route: "GET /images", status: 200, want: "[]"},
		{route: "GET /images/*", path: "/images/" + p.image, status: 404, want: "No such image: " + p.image},
		{
			route:  "POST /images/pull",
			body:   `{"Reference":"` + p.image + `","Auth":"e30=","Platform":"linux/amd64"}`,
			status: 200,
			want:   `Digest: sha256:`,
		},
		{route: "GET /images", status: 200, check: decoded(func(t *testing.T, list []api.ImageSummary) {
			if len(list) != 1 || !slices.Equal(list[0].RepoTags, []string{p.image}) || len(list[0].RepoDigests) != 1 ||
				list[0].Size == 0 ||
				!strings.HasPrefix(list[0].ID, "sha256:") {
				t.Errorf("got %+v", list)
			}
		})},
		{route: "GET /images/inspect", path: "/images/inspect?name=" + image, status: 200, want: `"Architecture":"amd64"`},
		{
			route:  "GET /images/*",
			path:   "/images/" + p.image,
			status: 200,
			check: decoded(func(t *testing.T, i api.ImageInspectResponse) {
				if !i.AZF.Resolved || i.Config == nil ||
					!slices.ContainsFunc(
						i.Config.Env,
						func(e string) bool { return strings.HasPrefix(e, "AzureWebJobsScriptRoot=") },
					) {
					t.Errorf("got %+v", i)
				}
			}),
		},
		{
			route:  "GET /images/*",
			path:   "/images/" + url.PathEscape(p.image),
			status: 200,
			want:   `"RepoTags":["` + p.image + `"]`,
		},
		{route: "GET /images/*", path: "/images/" + p.image + "/history", status: 200, want: `"Tags":["` + p.image + `"]`},
		{
			route:  "POST /images/tag",
			path:   "/images/tag?name=" + image + "&repo=" + url.QueryEscape(repo) + "&tag=2",
			status: 201,
		},
		{route: "POST /images/*", path: "/images/" + p.image + "/tag?repo=other&tag=x", status: 201},
		{route: "POST /images/*", path: "/images/" + p.image + "/push", status: 501, want: unsupported("image push")},
		{route: "DELETE /images/*", path: "/images/other:x", status: 200, want: `[{"Untagged":"other:x"}]`},
		{route: "POST /images/prune", status: 200, want: `"SpaceReclaimed":0`},
		{route: "POST /images/load", body: "a tar", status: 501, want: unsupported("image load")},
		{route: "POST /images/build", body: strings.Repeat("x", 5<<20), status: 501, want: unsupported("image build")},
		{route: "GET /images/get", path: "/images/get?names=a", status: 501, want: unsupported("image get")},
		{route: "GET /images/search", path: "/images/search?term=a", status: 501, want: unsupported("image search")},

		{
			route:  "POST /containers",
			path:   "/containers?name=web",
			body:   create,
			status: 201,
			check: decoded(func(t *testing.T, c api.CreateResponse) {
				id = c.ID
				if len(c.ID) != 64 || len(c.Warnings) != 6 {
					t.Errorf("got %+v, want warnings of ports, network, limits, user, names and hosts", c)
				}
			}),
		},
		{
			route:  "POST /containers",
			path:   "/containers?name=web",
			body:   create,
			status: 409,
			want: `Conflict. The container name "/web" is already in use by container "ID". ` +
				`You have to remove (or rename) that container to be able to reuse that name.`,
		},
		{
			route:  "GET /containers/:id",
			path:   "/containers/web",
			status: 200,
			check: decoded(func(t *testing.T, c api.InspectResponse) {
				if !reflect.DeepEqual(c.Config, sent.Config) || !reflect.DeepEqual(c.HostConfig, sent.HostConfig) ||
					!reflect.DeepEqual(c.NetworkSettings.Networks, sent.NetworkingConfig.EndpointsConfig) {
					t.Errorf("sent %s\ngot %+v %+v %+v", create, c.Config, c.HostConfig, c.NetworkSettings)
				}
				if c.State.Status != "created" || c.State.StartedAt != "0001-01-01T00:00:00Z" {
					t.Errorf("got %+v", c.State)
				}
			}),
		},
		{route: "POST /containers/:id/stop", path: "/containers/web/stop?t=1", status: 304},
		{
			route:  "POST /containers/:id/kill",
			path:   "/containers/web/kill",
			status: 409,
			want:   "cannot kill container: web: container ID is not running",
		},
		{route: "POST /containers/:id/start", path: "/containers/web/start", status: 204},
		{route: "POST /containers/:id/start", path: "/containers/web/start", status: 304},
		{route: "GET /containers", status: 200, check: decoded(func(t *testing.T, list []api.Summary) {
			if len(list) != 1 || list[0].State != "running" || list[0].Image != p.image ||
				!slices.Equal(list[0].Names, []string{"/web"}) {
				t.Errorf("got %+v", list)
			}
		})},
		{
			route:  "GET /containers",
			path:   "/containers?filters=" + url.QueryEscape(`{"label":["ci=no"]}`),
			status: 200,
			want:   "[]",
		},
		{route: "GET /info", status: 200, check: decoded(func(t *testing.T, i api.Info) {
			if i.Containers != 1 || i.ContainersRunning != 1 || i.Images != 1 || i.Driver != "azf" || i.OSType != "linux" ||
				i.NCPU == 0 ||
				i.MemTotal == 0 ||
				i.ID == "" ||
				i.KernelVersion == "" {
				t.Errorf("got %+v", i)
			}
		})},
		{route: "POST /containers/:id/stop", path: "/containers/web/stop", status: 204},
		{route: "POST /containers/:id/kill", path: "/containers/web/kill?signal=TERM", status: 204},
		{route: "POST /containers/:id/rename", path: "/containers/web/rename?name=job", status: 204},
		{
			route:  "DELETE /containers/:id",
			path:   "/containers/job",
			status: 409,
			want:   `cannot remove container "/job": container is running: stop the container before removing or force remove`,
		},
		{route: "DELETE /images/*", path: "/images/" + repo + ":2", status: 200, want: `"Untagged"`},
		{route: "DELETE /images/*", path: "/images/" + p.image, status: 409},
		{route: "POST /containers/prune", status: 200, want: `"ContainersDeleted":[]`, check: openGate},
		{
			route:  "POST /containers/:id/wait",
			path:   "/containers/job/wait",
			status: 200,
			want:   `{"StatusCode":3,"Error":null}`,
		},
		{route: "GET /containers/:id", path: "/containers/job", status: 200, check: state("exited")},
		{
			route:  "GET /containers/:id/logs",
			path:   "/containers/job/logs?stdout=1",
			status: 200,
			want:   "\x01\x00\x00\x00\x00\x00\x00\x04out\n",
		},
		{
			route:  "GET /containers/:id/logs",
			path:   "/containers/job/logs?stderr=1&follow=1&tail=1",
			status: 200,
			want:   "\x02\x00\x00\x00",
		},
		{route: "POST /containers/:id/restart", path: "/containers/job/restart?t=3", status: 204},
		{
			route:  "POST /containers/:id/wait",
			path:   "/containers/job/wait?condition=not-running",
			status: 200,
			want:   `{"StatusCode":3,"Error":null}`,
		},

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
		{
			route:  "POST /containers/:id/update",
			path:   "/containers/job/update",
			body:   "{}",
			status: 501,
			want:   unsupported("update"),
		},
		{route: "GET /containers/:id/changes", path: "/containers/job/changes", status: 501, want: unsupported("changes")},
		{route: "GET /containers/:id/export", path: "/containers/job/export", status: 501, want: unsupported("export")},
		{
			route:  "PUT /containers/:id/archive",
			path:   "/containers/job/archive?path=/",
			body:   "a tar",
			status: 501,
			want:   unsupported("archive"),
		},
		{route: "HEAD /containers/:id/archive", path: "/containers/job/archive?path=/", status: 501},
		{
			route:  "GET /containers/:id/archive",
			path:   "/containers/job/archive?path=/",
			status: 501,
			want:   unsupported("archive"),
		},
		{route: "POST /commit", path: "/commit?container=job", status: 501, want: unsupported("commit")},
		{route: "* /networks", path: "/networks", status: 501, want: unsupported("networks")},
		{route: "* /networks/*", path: "/networks/create", body: "{}", status: 501, want: unsupported("networks")},
		{route: "* /volumes", path: "/volumes", status: 501, want: unsupported("volumes")},
		{route: "* /volumes/*", path: "/volumes/v", status: 501, want: unsupported("volumes")},

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
				for dec := json.NewDecoder(bytes.NewReader(body)); dec.More(); {
					var e api.Event
					if err := dec.Decode(&e); err != nil {
						t.Fatal(err)
					}
					story = append(story, string(e.Action))
				}
				if got := strings.Join(story, " "); got != "create start rename die start die destroy" {
					t.Errorf("got %s", got)
				}
			},
		},
	}
	seen := map[string]bool{}
	for _, x := range exchanges {
		seen[x.route] = true
		method, path, _ := strings.Cut(x.route, " ")
		if method == "*" {
			method = http.MethodPost
		}
		if x.path != "" {
			path = x.path
		}
		path = strings.Replace(path, "NOW", p.now(), 1)
		status, header, body := p.send(t, method, server.Prefix+path, x.body)
		name := method + " " + path
		if status != x.status {
			t.Errorf("%s: got %d %s, want %d", name, status, body, x.status)
			continue
		}
		if header.Get("X-Request-Id") == "" {
			t.Errorf("%s: the answer has no request id", name)
		}
		want := strings.ReplaceAll(x.want, "ID", id)
		switch {
		case status == http.StatusNoContent || status == http.StatusNotModified || method == http.MethodHead:
			if len(body) > 0 {
				t.Errorf("%s: a body: %s", name, body)
			}
		case status >= http.StatusBadRequest:
			var failure struct{ Message string }
			if err := json.Unmarshal(body, &failure); err != nil || failure.Message == "" ||
				(want != "" && failure.Message != want) {
				t.Errorf("%s: got %s, want %q", name, body, want)
			}
		case !bytes.Contains(body, []byte(want)):
			t.Errorf("%s: got %s, want %s", name, body, want)
		}
		if x.check != nil {
			t.Run(name, func(t *testing.T) { x.check(t, body) })
		}
	}
	for _, route := range documentedRoutes(t) {
		if !seen[route] {
			t.Errorf("no exchange for the route %s of docs/api.md", route)
		}
		delete(seen, route)
	}
	for route := range seen {
		t.Errorf("docs/api.md lacks %s", route)
	}
	if left := p.sim.Sites(); len(left) > 0 {
		t.Errorf("function apps left: %v", left)
	}
}

// TestExitStatus tells the ends of a run apart on real function hosts.
func TestExitStatus(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Azure.Timeout = 1e9 })
	p.create(t, "slow", api.Config{Cmd: []string{"/bin/sh", "-c", "echo started; exec sleep 100"}})
	p.must(t, http.MethodPost, "/containers/slow/start", nil, nil)
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/slow/wait", nil, &res)
	var info api.InspectResponse
	p.must(t, http.MethodGet, "/containers/slow", nil, &info)
	if res.StatusCode != 124 || res.Error == nil || info.State.ExitCode != 124 ||
		!strings.Contains(info.State.Error, "time limit") {
		t.Errorf("time limit: got %+v, %+v", res, info.State)
	}
	if info.State.StartedAt >= info.State.FinishedAt {
		t.Errorf("started at %s, finished at %s", info.State.StartedAt, info.State.FinishedAt)
	}
	// The app refuses every call, even with its own key.
	p.sim.SetFaults(
		azuresim.Faults{Rules: []azuresim.Rule{{Path: regexp.MustCompile("^/api/"), Status: http.StatusUnauthorized}}},
	)
	p.must(t, http.MethodPost, "/containers/slow/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/slow/wait", nil, &res)
	if res.StatusCode != 125 || res.Error == nil || !strings.Contains(res.Error.Message, "host key") {
		t.Errorf("not invoked: got %+v", res)
	}
	p.sim.SetFaults(azuresim.Faults{})
	p.must(t, http.MethodDelete, "/containers/slow", nil, nil)
}
