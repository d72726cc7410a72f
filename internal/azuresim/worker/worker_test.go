package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// sink keeps rows and announces each.
type sink struct {
	mu   sync.Mutex
	rows []map[string]any
	more chan struct{}
}

func (s *sink) Append(table string, row map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row["Table"] = table
	s.rows = append(s.rows, row)
	close(s.more)
	s.more = make(chan struct{})
}

// wait returns the first row that matches.
func (s *sink) wait(match func(map[string]any) bool) map[string]any {
	for {
		s.mu.Lock()
		i := slices.IndexFunc(s.rows, match)
		more := s.more
		if i >= 0 {
			defer s.mu.Unlock()
			return s.rows[i]
		}
		s.mu.Unlock()
		<-more
	}
}

func message(text string) func(map[string]any) bool {
	return func(row map[string]any) bool {
		m, _ := row["Message"].(string)
		return strings.Contains(m, text)
	}
}

// base returns an image with the stand-in for the Functions host, and nothing else.
func base(t *testing.T) v1.Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "webhost")
	if err := os.WriteFile(program, azuretest.BuildProgram(t, "../funchost/webhost"), 0o700); err != nil {
		t.Fatal(err)
	}
	img, err := appimage.Base(program)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

const hostJSON = `{"version": "2.0", "functionTimeout": "00:05:00", "customHandler": {
	"description": {"defaultExecutablePath": "handler", "arguments": ["--name", "%WHO%"]},
	"enableForwardingHttpRequest": true}}`

func functionJSON(level, methods, route string) string {
	return fmt.Sprintf(`{"bindings": [
		{"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": %q, "methods": [%s], "route": %q},
		{"type": "http", "direction": "out", "name": "res"}]}`, level, methods, route)
}

type fixture struct {
	*App
	t      *testing.T
	sink   *sink
	log    *tail
	shared string // a folder that the container sees
}

// setup starts a host whose image and settings a test may change. It leaves out files without content.
func setup(t *testing.T, change func(files map[string]string, cfg *Config)) *fixture {
	t.Helper()
	files := map[string]string{
		"host.json":           hostJSON,
		"echo/function.json":  functionJSON("function", `"post", "get"`, "echo/{id}/{*rest}"),
		"open/function.json":  functionJSON("anonymous", `"get"`, "open"),
		"admin/function.json": functionJSON("admin", `"get"`, "admin"),
		"exit/function.json":  functionJSON("anonymous", `"get"`, "exit/{code}"),
		"hang/function.json":  functionJSON("anonymous", `"post"`, "hang"),
	}
	f := &fixture{t: t, sink: &sink{more: make(chan struct{})}, log: &tail{}, shared: t.TempDir()}
	cfg := Config{
		Name: "App", Image: "r.io/app:1", Dir: t.TempDir(), Telemetry: f.sink, Log: zerolog.New(f.log),
		Keys: funchost.Keys{Master: "master", Default: "default"}, Shared: []string{f.shared},
		Settings: map[string]string{
			"FUNCTIONS_WORKER_RUNTIME": "custom", "WEBSITES_ENABLE_APP_SERVICE_STORAGE": "false", "WHO": "me",
			"DOCKER_REGISTRY_SERVER_PASSWORD": "hidden",
		},
	}
	t.Setenv("SIMULATORS_OWN", "secret")
	if change != nil {
		change(files, &cfg)
	}
	program := azuretest.BuildProgram(t, "./testdata/handler")
	image := map[string]appimage.File{"/home/site/wwwroot/handler": {Content: program, Mode: 0o755}}
	for name, content := range files {
		if content != "" {
			image["/home/site/wwwroot/"+name] = appimage.File{Content: []byte(content), Mode: 0o644}
		}
	}
	img, err := appimage.BuildFrom(base(t), image, []string{"FROM_IMAGE=yes"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Pull == nil {
		cfg.Pull = func(context.Context, string) (v1.Image, error) { return img, nil }
	}
	f.App = Start(cfg)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// up waits until the host answers.
func (f *fixture) up() *fixture {
	f.t.Helper()
	azuretest.Eventually(f.t, "the host answers", f.Ready)
	return f
}

// said waits until the host's telemetry or the worker's log has a text.
func (f *fixture) said(text string) {
	f.t.Helper()
	azuretest.Eventually(f.t, text, func() bool {
		f.sink.mu.Lock()
		defer f.sink.mu.Unlock()
		return slices.ContainsFunc(f.sink.rows, message(text)) || strings.Contains(f.log.text(), text)
	})
}

// pid returns the process id of the handler in its container, 0 if it does not answer.
func (f *fixture) pid() int {
	var seen struct{ PID int }
	_ = json.Unmarshal(f.do("GET", "/api/echo/1", "default", "").Body.Bytes(), &seen) // it may not answer
	return seen.PID
}

func (f *fixture) do(method, target, key, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://app.azurewebsites.net"+target, strings.NewReader(body))
	if key != "" {
		r.Header.Set("x-functions-key", key)
	}
	r.Header.Set("traceparent", "00-"+strings.Repeat("a", 32)+"-"+strings.Repeat("b", 16)+"-01")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func TestForwarding(t *testing.T) {
	f := setup(t, nil).up()
	w := f.do("POST", "/api/echo/1/a/b?x=y", "default", "hello")
	var seen struct {
		Path, Method, Body, Traceparent string
		Env, Args                       []string
	}
	err := json.Unmarshal(w.Body.Bytes(), &seen)
	if err != nil || w.Code != http.StatusTeapot || w.Header().Get("X-Test") != "yes" {
		t.Fatalf("got %d %s, %v", w.Code, w.Body, err)
	}
	if seen.Path != "/api/echo/1/a/b?x=y" || seen.Method != http.MethodPost || seen.Body != "hello" ||
		seen.Traceparent != "" || !slices.Equal(seen.Args, []string{"--name", "me"}) {
		t.Errorf("the handler saw %+v", seen)
	}
	env := strings.Join(seen.Env, "\n")
	for _, want := range []string{"FROM_IMAGE=yes", "WHO=me", "FUNCTIONS_CUSTOMHANDLER_PORT="} {
		if !strings.Contains(env, want) {
			t.Errorf("no %s in %s", want, env)
		}
	}
	for _, hidden := range []string{"SIMULATORS_OWN"} {
		if strings.Contains(env, hidden) {
			t.Errorf("%s reached the handler", hidden)
		}
	}
	// A chunked body has no Content-Length and is not forwarded.
	r := httptest.NewRequest(http.MethodPost, "/api/echo/1", io.MultiReader(strings.NewReader("hello")))
	r.Header.Set("x-functions-key", "default")
	r.ContentLength = -1
	chunked := httptest.NewRecorder()
	f.ServeHTTP(chunked, r)
	if !strings.Contains(chunked.Body.String(), `"body":""`) {
		t.Errorf("chunked: got %s", chunked.Body)
	}
}

func TestTelemetry(t *testing.T) {
	f := setup(t, nil).up()
	f.do("POST", "/api/echo/1", "default", "x")
	// Carriage returns end lines, as in .NET.
	for text, severity := range map[string]int{
		"stdout line": 1, "10 %": 1, "20 %": 1, "stderr line": 3, "a Warning on stderr": 2,
	} {
		row := f.sink.wait(message(text))
		category := row["Properties"].(map[string]any)["Category"]
		if row["SeverityLevel"] != severity || row["OperationId"] != "" || row["AppRoleName"] != "app" ||
			category != "Host.Function.Console" {
			t.Errorf("%s: got %v", text, row)
		}
	}
	first := f.sink.wait(func(row map[string]any) bool { return message("hidden")(row) || message("10 %")(row) })
	if first["Message"] != "10 %" {
		t.Errorf("a line of a language worker was logged: %v", first)
	}
	row := f.sink.wait(func(row map[string]any) bool { return row["Table"] == "AppRequests" })
	if row["OperationId"] != strings.Repeat("a", 32) || row["Name"] != "echo" || row["ResultCode"] != "418" ||
		row["Success"] != false {
		t.Errorf("got %v", row)
	}
}

func TestRoutesAndKeys(t *testing.T) {
	f := setup(t, nil).up()
	for _, row := range []struct {
		method, target, key string
		status              int
	}{
		{"GET", "/", "", 200}, {"GET", "/api/open", "", 418}, {"POST", "/api/open", "", 405},
		{"GET", "/api/none", "", 404}, {"GET", "/open", "", 404},
		{"GET", "/api/echo/1", "", 401}, {"GET", "/api/echo/1", "wrong", 401},
		{"GET", "/api/echo/1", "default", 418}, {"GET", "/api/echo/1", "master", 418},
		{"GET", "/api/echo/1?code=default", "", 418}, {"GET", "/api/echo", "default", 404},
		{"GET", "/API/ECHO/1", "default", 418},
		{"GET", "/api/admin", "default", 401}, {"GET", "/api/admin", "master", 418},
		{"GET", "/admin/host/status", "default", 401}, {"GET", "/admin/host/status", "master", 200},
	} {
		if w := f.do(row.method, row.target, row.key, ""); w.Code != row.status {
			t.Errorf("%s %s with %q: got %d, want %d", row.method, row.target, row.key, w.Code, row.status)
		}
	}
}

func TestHostsThatDoNotComeUp(t *testing.T) {
	for name, row := range map[string]struct {
		change func(map[string]string, *Config)
		want   string
	}{
		"no such image": {func(_ map[string]string, cfg *Config) {
			cfg.Pull = func(context.Context, string) (v1.Image, error) { return nil, errors.New("no such image") }
		}, "no such image"},
		"host.json is empty": {
			func(files map[string]string, _ *Config) { files["host.json"] = "{}" }, "host.json names no customHandler",
		},
		"host.json is half": {func(files map[string]string, _ *Config) { files["host.json"] = "{" }, "read host.json"},
		"no handler": {func(files map[string]string, _ *Config) {
			files["host.json"] = strings.Replace(hostJSON, `"handler"`, `"none"`, 1)
		}, "start handler"},
		"bad time-out": {func(_ map[string]string, cfg *Config) {
			cfg.Settings["AzureFunctionsJobHost__functionTimeout"] = "soon"
		}, "functionTimeout"},
		"another runtime": {
			func(_ map[string]string, cfg *Config) { cfg.Settings["FUNCTIONS_WORKER_RUNTIME"] = "node" }, "is not custom",
		},
		"bad function": {func(files map[string]string, _ *Config) { files["open/function.json"] = "{" }, "read function"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, row.change)
			f.said(row.want)
			f.work.Wait()
			w := f.do("GET", "/", "", "")
			if w.Code != 503 || !strings.Contains(w.Body.String(), "Function host is not running.") || f.Ready() {
				t.Errorf("got %d %s, ready %v", w.Code, w.Body, f.Ready())
			}
		})
	}
}

// TestImagesOfOtherKinds: nothing in them answers as a Functions host, or writes telemetry.
func TestImagesOfOtherKinds(t *testing.T) {
	azuretest.NeedsIsolation(t, container.Supported)
	for name, row := range map[string]struct {
		change func(*v1.ConfigFile)
		want   string
	}{
		"without a command":    {func(c *v1.ConfigFile) { c.Config.Cmd = nil }, "neither an entrypoint nor a command"},
		"another command":      {func(c *v1.ConfigFile) { c.Config.Cmd = []string{"/bin/sh"} }, "exec /bin/sh: no such file"},
		"another architecture": {func(c *v1.ConfigFile) { c.Architecture = "riscv64" }, "exec format error"},
		"an unknown user":      {func(c *v1.ConfigFile) { c.Config.User = "app" }, "unable to find user app"},
		"does not answer": {func(c *v1.ConfigFile) {
			c.Config.Entrypoint, c.Config.Env = c.Config.Cmd, append(c.Config.Env, "ASPNETCORE_URLS=http://+:1")
		}, "didn't respond to HTTP pings on port: 80"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, func(_ map[string]string, cfg *Config) {
				image := base(t)
				file, err := image.ConfigFile()
				if err != nil {
					t.Fatal(err)
				}
				file = file.DeepCopy()
				row.change(file)
				if image, err = mutate.ConfigFile(image, file); err != nil {
					t.Fatal(err)
				}
				cfg.Pull = func(context.Context, string) (v1.Image, error) { return image, nil }
				if name == "does not answer" {
					cfg.StartLimit = time.Millisecond
				}
			})
			f.said(row.want)
			f.work.Wait()
			if w := f.do("GET", "/", "", ""); w.Code != 503 || f.Ready() {
				t.Errorf("got %d, ready %v", w.Code, f.Ready())
			}
		})
	}
}

// TestNoHostJSON has hosts that answer, and know no function.
func TestNoHostJSON(t *testing.T) {
	azuretest.NeedsIsolation(t, container.Supported)
	for name, change := range map[string]func(map[string]string, *Config){
		"missing": func(files map[string]string, _ *Config) { files["host.json"] = "" },
		"hidden by the shared storage": func(_ map[string]string, cfg *Config) {
			delete(cfg.Settings, "WEBSITES_ENABLE_APP_SERVICE_STORAGE")
		},
		"elsewhere": func(_ map[string]string, cfg *Config) { cfg.Settings["HOME"] = "/root" },
	} {
		t.Run(name, func(t *testing.T) {
			if w := setup(t, change).up().do("GET", "/api/open", "", ""); w.Code != 404 {
				t.Errorf("got %d, want 404", w.Code)
			}
		})
	}
}

func TestColdStart(t *testing.T) {
	f := setup(t, func(_ map[string]string, cfg *Config) { cfg.ColdStart = time.Hour })
	if w := f.do("GET", "/", "", ""); w.Code != 503 {
		t.Errorf("got %d, want 503", w.Code)
	}
}

func TestCutWhileTheFunctionGoesOn(t *testing.T) {
	f := setup(t, func(_ map[string]string, cfg *Config) { cfg.ResponseCut = 50 * time.Millisecond }).up()
	done := filepath.Join(f.shared, "done")
	if w := f.do("POST", "/api/hang", "", done); w.Code != 502 {
		t.Errorf("got %d, want 502", w.Code)
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	row := f.sink.wait(func(row map[string]any) bool { return row["Table"] == "AppRequests" })
	if row["Success"] != true || row["ResultCode"] != "200" {
		t.Errorf("got %v, want its good end", row)
	}
}

func TestFunctionTimeoutRestartsTheHandler(t *testing.T) {
	f := setup(t, func(_ map[string]string, cfg *Config) {
		cfg.Settings["AzureFunctionsJobHost__functionTimeout"] = "00:00:01"
	}).up()
	before := f.pid()
	if w := f.do("POST", "/api/hang", "", "/nowhere/never"); w.Code != 500 {
		t.Errorf("got %d, want 500", w.Code)
	}
	azuretest.Eventually(t, "another process of the handler", func() bool { return f.pid() > 0 && f.pid() != before })
}

func TestRestartRules(t *testing.T) {
	crash := func(code, starts string) func(map[string]string, *Config) {
		return func(_ map[string]string, cfg *Config) {
			cfg.Settings["CRASH"], cfg.Settings["STARTS"] = code, starts
			cfg.Settings["MARKS"] = filepath.Join(cfg.Shared[0], "marks")
		}
	}
	marks := func(f *fixture) int {
		content, err := os.ReadFile(filepath.Join(f.shared, "marks"))
		if err != nil {
			t.Error(err)
		}
		return len(content)
	}
	t.Run("two failures are forgiven", func(t *testing.T) {
		f := setup(t, crash("1", "2")).up()
		if marks(f) != 3 {
			t.Errorf("started %d times, want 3", marks(f))
		}
	})
	t.Run("the third ends the host", func(t *testing.T) {
		f := setup(t, crash("1", "99"))
		f.sink.wait(message("exceeded http worker restart retry count"))
		f.work.Wait()
		if marks(f) != 3 || f.Ready() {
			t.Errorf("started %d times, want 3", marks(f))
		}
	})
	t.Run("200 is not counted", func(t *testing.T) {
		f := setup(t, crash("200", "5")).up()
		if marks(f) != 6 {
			t.Errorf("started %d times, want 6", marks(f))
		}
	})
	t.Run("0 is not restarted", func(t *testing.T) {
		f := setup(t, nil).up()
		if w := f.do("GET", "/api/exit/0", "", ""); w.Code != 500 {
			t.Errorf("got %d, want 500", w.Code)
		}
		if w := f.do("GET", "/api/open", "", ""); w.Code != 500 || !f.Ready() {
			t.Errorf("later: got %d, ready %v; want 500 from a host that is up", w.Code, f.Ready())
		}
	})
}

func TestWithoutForwarding(t *testing.T) {
	f := setup(t, func(files map[string]string, _ *Config) {
		files["host.json"] = strings.Replace(hostJSON, `HttpRequest": true`, `HttpRequest": false`, 1)
		files["wrapped/function.json"] = functionJSON("anonymous", `"post"`, "wrapped")
	}).up()
	w := f.do("POST", "/api/wrapped", "", "content")
	if w.Code != 202 || w.Header().Get("X-Test") != "yes" || w.Body.String() != "content" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	f.sink.wait(message("logged"))
}

func TestCloseEndsEverything(t *testing.T) {
	f := setup(t, nil).up()
	of := func(p azuretest.Process) bool { return p.Getenv("WHO") == "me" }
	if running := azuretest.Processes(t, of); len(running) != 2 {
		t.Errorf("running are %v, want the host and the handler", running)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left := azuretest.Processes(t, of); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if w := f.do("GET", "/", "", ""); w.Code != 503 {
		t.Errorf("got %d after Close", w.Code)
	}
}

// TestArgumentsInPieces has an argument with a blank, and one with quotes, in host.json.
func TestArgumentsInPieces(t *testing.T) {
	f := setup(t, func(files map[string]string, cfg *Config) {
		files["host.json"] = strings.Replace(hostJSON, `"%WHO%"`, `"%WHO%", "say \"it\"", "\\\"quoted one\\\""`, 1)
		cfg.Settings["WHO"] = "me too"
	}).up()
	var seen struct{ Args []string }
	if err := json.Unmarshal(f.do("GET", "/api/open", "", "").Body.Bytes(), &seen); err != nil {
		t.Fatal(err)
	}
	if want := []string{"--name", "me", "too", "say", "it", `"quoted`, `one"`}; !slices.Equal(seen.Args, want) {
		t.Errorf("got %q, want %q", seen.Args, want)
	}
}

// TestWithoutRoot runs an image as where the system refuses namespaces.
func TestWithoutRoot(t *testing.T) {
	f := setup(t, func(_ map[string]string, cfg *Config) { cfg.WithoutRoot = true }).up()
	w := f.do("POST", "/api/echo/1", "default", "hello")
	var seen struct {
		Body string
		Env  []string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &seen); err != nil || seen.Body != "hello" {
		t.Fatalf("got %d %s, %v", w.Code, w.Body, err)
	}
	for _, want := range []string{
		"FROM_IMAGE=yes", "WHO=me", "HOME=" + filepath.Join(f.root(), "home"),
		"PATH=" + filepath.Join(f.root(), "usr/local/sbin") + ":",
	} {
		if !slices.ContainsFunc(seen.Env, func(entry string) bool { return strings.HasPrefix(entry, want) }) {
			t.Errorf("no %s in %q", want, seen.Env)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left := azuretest.Processes(t, func(p azuretest.Process) bool { return p.Getenv("WHO") == "me" }); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
