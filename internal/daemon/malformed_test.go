package daemon_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/server"
)

// TestMalformedRequests sends requests that no correct client sends. The daemon refuses each, and asks Azure nothing.
func TestMalformedRequests(t *testing.T) {
	p := newPlayground(t)
	const v1 = server.Prefix
	filters := func(text string) string { return "filters=" + url.QueryEscape(text) }
	image := `"Image":"` + p.image + `"`
	unknown := `"Image":"` + p.sim.Registry() + `/unknown:1"`
	long := strings.Repeat("x", 128<<10)
	for _, row := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		// Routes.
		{"GET", "/", "", 404, "page not found"},
		{"GET", "/internal", "", 404, "page not found"},
		{"GET", "/internal/v2/info", "", 404, "page not found"},
		{"GET", v1 + "/nowhere", "", 404, "page not found"},
		{"GET", v1 + "/containers/web/nowhere", "", 404, "page not found"},
		{"POST", v1 + "/images/a/nowhere", "", 404, "page not found"},
		{"GET", v1 + "/images/", "", 404, "page not found"},
		{"PATCH", v1 + "/containers", "", 405, "Method Not Allowed"},
		{"PUT", v1 + "/containers/web", "", 405, "Method Not Allowed"},
		{"GET", v1 + "/containers/web/start", "", 405, "Method Not Allowed"},
		{"DELETE", v1 + "/info", "", 405, "Method Not Allowed"},
		{"OPTIONS", v1 + "/containers", "", 405, "Method Not Allowed"},
		{"OPTIONS", v1 + "/nowhere", "", 404, "page not found"},
		{"GET", "/vx/info", "", 404, "page not found"},
		{"GET", v1 + "/images/a/", "", 400, "invalid reference format"},
		// JSON.
		{"POST", v1 + "/containers", "", 400, "EOF"},
		{"POST", v1 + "/containers", "null null", 400, "after the JSON body, at byte"},
		{"POST", v1 + "/containers", "{", 400, "unexpected EOF, at byte 1"},
		{"POST", v1 + "/containers", `{"Image":"x","Cmd":[`, 400, "unexpected EOF, at byte 20"},
		{"POST", v1 + "/containers", `{"Image":"a",}`, 400, "at byte 14"},
		{"POST", v1 + "/containers", `{'Image':"a"}`, 400, "at byte 2"},
		{"POST", v1 + "/containers", "[]", 400, "the body takes no array"},
		{"POST", v1 + "/containers", `"a"`, 400, "takes no string"},
		{"POST", v1 + "/containers", `{"Image":7}`, 400, "field Image takes no number"},
		{"POST", v1 + "/containers", `{"Image":"a","Env":"A=b"}`, 400, "field Env takes no string"},
		{"POST", v1 + "/containers", `{"Image":"a","Labels":["a"]}`, 400, "field Labels takes no array"},
		{"POST", v1 + "/containers", `{"Image":"a","HostConfig":{"AutoRemove":"yes"}}`, 400, "AutoRemove takes no string"},
		{"POST", v1 + "/containers", `{"Image":"a","HostConfig":{"Memory":"1g"}}`, 400, "field HostConfig.Memory takes no " +
			"string"},
		{"POST", v1 + "/containers", `{"Image":"a","WorkingDir":"rel"}`, 400, "the working directory 'rel' is invalid, it " +
			"needs to be an absolute path"},
		{"POST", v1 + "/containers", "{" + unknown + `,"Env":["A=1","a=2"]}`, 400, "one app setting for it and A"},
		{"POST", v1 + "/containers", "{" + unknown + `,"Env":["ASPNETCORE_ENVIRONMENT=x"]}`, 400,
			"reserved for the Functions host (ASPNETCORE_*)"},
		{"POST", v1 + "/containers?platform=linux/arm64", `{"Image":"a"}`, 501, "does not support platforms other than " +
			"linux/amd64."},
		{"POST", v1 + "/containers", `{"Image":"a","ExposedPorts":{"http":{}}}`, 400, "invalid JSON"},
		{"POST", v1 + "/containers", `{"Image":"` + strings.Repeat("x", 5<<20) + `"}`, 413, "too large"},
		{"POST", v1 + "/auth", "", 400, "EOF"},
		{"POST", v1 + "/auth", `{"username":1}`, 400, "username takes no number"},
		{"POST", v1 + "/images/pull", "", 400, "EOF"},
		{"POST", v1 + "/images/pull", "{}", 400, "set Reference"},
		{"POST", v1 + "/images/pull", `{"Reference":"a","Auth":7}`, 400, "Auth takes"},
		{"POST", v1 + "/images/pull", `{"Reference":"a","Auth":"%%%"}`, 400, "base64url"},
		{"POST", v1 + "/images/pull", `{"Reference":"a","Auth":"bm9uZQ=="}`, 400, "base64url"},
		// Names and images.
		{"POST", v1 + "/containers?name=a", "{" + image + "}", 400, "Invalid container name (a)"},
		{"POST", v1 + "/containers?name=a%20b", "{" + image + "}", 400, "Invalid container name"},
		{"POST", v1 + "/containers?name=-ab", "{" + image + "}", 400, "Invalid container name"},
		{"POST", v1 + "/containers?name=a/b", "{" + image + "}", 400, "Invalid container name"},
		{"POST", v1 + "/containers", "{}", 400, "no image given"},
		{"POST", v1 + "/containers", "null", 400, "no image given"},
		{"POST", v1 + "/containers", `{"Image":"UPPER"}`, 400, "invalid reference format"},
		{"POST", v1 + "/containers", `{"Image":"a b"}`, 400, "invalid reference format"},
		{"POST", v1 + "/containers", `{"Image":"a:b:c"}`, 400, "invalid reference format"},
		{"POST", v1 + "/containers", `{"Image":"a@sha256:12"}`, 400, "invalid"},
		{"POST", v1 + "/images/pull", `{"Reference":"UPPER"}`, 400, "invalid reference format"},
		{"POST", v1 + "/images/tag?repo=a", "", 400, "name is missing"},
		{"POST", v1 + "/images/tag?name=a", "", 400, "repo is missing"},
		{"POST", v1 + "/images/a/tag?repo=UPPER", "", 400, "invalid reference format"},
		{"POST", v1 + "/images/a/tag?repo=sha256&tag=abc", "", 400, "ambiguous tag"},
		{"POST", v1 + "/images/a/tag?repo=b", "", 404, "No such image: a"},
		{"GET", v1 + "/images/inspect", "", 400, "name is missing"},
		{"GET", v1 + "/images/nobody/history", "", 404, "No such image: nobody"},
		{"DELETE", v1 + "/images/nobody", "", 404, "No such image: nobody"},
		// Environment, command and labels.
		{"POST", v1 + "/containers", "{" + unknown + `,"Env":["a-b=c"]}`, 400, "variable \"a-b\""},
		{"POST", v1 + "/containers", "{" + image + `,"Env":["=c"]}`, 400, `variable name "" is empty`},
		{"POST", v1 + "/containers", "{" + unknown + `,"Env":["1A=c"]}`, 400, "variable \"1A\""},
		{"POST", v1 + "/containers", "{" + unknown + `,"Env":["AZF_COMMAND=c"]}`, 400, "AZF_COMMAND is reserved"},
		{"POST", v1 + "/containers", "{" + unknown + `,"Env":["functions_worker_runtime=c"]}`, 400, "is reserved"},
		{"POST", v1 + "/containers", "{" + image + `,"Env":["A=` + long + `"]}`, 400, "Linux takes at most 131071"},
		{"POST", v1 + "/containers", "{" + image + `,"Env":["A=b\u0000"]}`, 400, "has a NUL"},
		{"POST", v1 + "/containers", "{" + image + `,"Cmd":["` + long + `"]}`, 400, "an argument of"},
		// What cannot be honoured.
		{"POST", v1 + "/containers", "{" + image + `,"HostConfig":{"Binds":["/a:/b"]}}`, 501, "does not support volumes"},
		{"POST", v1 + "/containers", "{" + image + `,"HostConfig":{"NetworkMode":"host"}}`, 501, "does not support networks"},
		{"POST", v1 + "/containers", "{" + image + `,"HostConfig":{"Privileged":true}}`, 501, "does not support privileged " +
			"containers"},
		{"POST", v1 + "/containers", "{" + image + `,"Healthcheck":{"Test":["CMD","true"]}}`, 501, "does not support " +
			"health checks"},
		{"POST", v1 + "/containers", "{" + image + `,"HostConfig":{"Devices":[{"PathOnHost":"/dev/a"}]}}`, 501,
			"does not support devices"},
		// Containers that are not there.
		{"GET", v1 + "/containers/nobody", "", 404, "No such container: nobody"},
		{"DELETE", v1 + "/containers/nobody?force=1", "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/nobody/start", "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/nobody/stop", "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/nobody/kill", "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/nobody/restart", "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/nobody/wait", "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/nobody/rename?name=ab", "", 404, "No such container: nobody"},
		{"GET", v1 + "/containers/nobody/logs?stdout=1", "", 404, "No such container: nobody"},
		// Query parameters.
		{"GET", v1 + "/containers?limit=many", "", 400, `limit: "many"`},
		{"GET", v1 + "/containers?" + filters("{"), "", 400, "filters"},
		{"GET", v1 + "/containers?" + filters("[]"), "", 400, "filters"},
		{"GET", v1 + "/containers?" + filters(`{"name":7}`), "", 400, "takes a list"},
		{"GET", v1 + "/containers?" + filters(`{"name":[7]}`), "", 400, "takes a list"},
		{"GET", v1 + "/containers?" + filters(`{"colour":["red"]}`), "", 400, "invalid filter 'colour'"},
		{"GET", v1 + "/containers?" + filters(`{"status":["asleep"]}`), "", 400, "invalid filter 'status=asleep'"},
		{"GET", v1 + "/containers?" + filters(`{"exited":["x"]}`), "", 400, "invalid filter 'exited=x'"},
		{"GET", v1 + "/containers?" + filters(`{"name":["("]}`), "", 400, "invalid filter 'name=('"},
		{"GET", v1 + "/containers?" + filters(`{"before":["nobody"]}`), "", 404, "No such container: nobody"},
		{"POST", v1 + "/containers/prune?" + filters(`{"until":["soon"]}`), "", 400, "until"},
		{"GET", v1 + "/images?" + filters(`{"colour":["red"]}`), "", 400, "invalid filter 'colour'"},
		{"POST", v1 + "/images/prune?" + filters(`{"dangling":["maybe"]}`), "", 400, "dangling"},
		{"GET", v1 + "/events?" + filters(`{"colour":["red"]}`), "", 400, "invalid filter 'colour'"},
		{"GET", v1 + "/events?since=yesterday", "", 400, "since"},
		{"GET", v1 + "/events?since=20&until=10", "", 400, "cannot be after"},
		{"POST", v1 + "/containers/nobody/stop?t=soon", "", 400, `t: "soon"`},
		{"POST", v1 + "/containers/nobody/kill?signal=%3B", "", 400, "invalid signal"},
		{"POST", v1 + "/containers/nobody/wait?condition=healthy", "", 400, "invalid condition"},
		{"GET", v1 + "/containers/nobody/logs", "", 400, "at least one stream"},
		{"GET", v1 + "/containers/nobody/logs?stdout=1&tail=x", "", 400, "tail"},
		{"GET", v1 + "/containers/nobody/logs?stdout=1&since=-1", "", 400, "since"},
		{"GET", v1 + "/containers/nobody/logs?stdout=1&until=1.123456789012345678901", "", 400, "until"},
	} {
		status, _, body := p.send(t, row.method, row.path, row.body)
		var failure struct{ Message string }
		if err := json.Unmarshal(body, &failure); err != nil || status != row.status ||
			!strings.Contains(failure.Message, row.message) {
			t.Errorf("%s %.80s %.60s: got %d %.200s, want %d with %q", row.method, row.path, row.body, status, body,
				row.status, row.message)
		}
	}
	for _, call := range p.sim.Calls() {
		if call.Service == "arm" && call.Method != http.MethodGet {
			t.Errorf("Azure was asked: %s %s", call.Method, call.Path)
		}
	}
}
