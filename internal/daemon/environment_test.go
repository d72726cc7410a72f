package daemon_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sockerless/backend-azf/examples"
	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/workspace"
)

// corpus returns variables with all that a setting may lose on its way.
func corpus() (env []string) {
	var printable strings.Builder
	for c := ' '; c <= '~'; c++ {
		printable.WriteRune(c)
	}
	for i, value := range []string{
		printable.String(), "$$", "$HOME ${HOME} $(id) `id`", `\`, `\\ \$ \" \n`, `"`, `'`, `"quoted"`, "a\nb\n",
		"\r\n\t\x01\x1b", "", " ", " leading and trailing ", "=", "a=b", "#", "%WHO%", "%{if}", "${x}",
		"@Microsoft.KeyVault(SecretUri=https://v/s)",
		"🦆 é \u2028", "e\u0301",
		strings.Repeat("x", 100<<10), strings.Repeat("🦆$\\", 11<<10), strings.Repeat("\n", 100<<10),
	} {
		env = append(env, fmt.Sprintf("VALUE_%d=%s", i, value))
	}
	for i := range 500 {
		env = append(env, fmt.Sprintf("MANY_%d=%d", i, i))
	}
	return append(env, "HTTP_PROXY=http://upper", "http_proxy=http://lower", "my.setting=a", "my_setting=b", "my-var=1",
		"HOME=/root", "PORT=3000", "WEBSITES_PORT=3000", "HTTPS_PROXY=http://p:1", "DOTNET_gcServer=1", "PATH=/usr/bin:/bin",
		"WEBSITE_RUN_FROM_PACKAGE=1", "AzureWebJobsStorage=x", "AZF_COMMAND=[]", "CONTAINER_NAME=web",
		strings.Repeat("LONG", 30)+"=x", "Ä ö.ü=x", "1=x")
}

// environmentOf runs a command that leaves its environment in a file, and returns that, sorted.
func (p *playground) environmentOf(t *testing.T, name string) []string {
	t.Helper()
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
	content, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil || res.StatusCode != 0 {
		t.Fatalf("the run ended with %+v, %v", res, err)
	}
	env := strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
	slices.Sort(env)
	return env
}

// leaves returns a container's command for environmentOf.
func (p *playground) leaves(name string) []string {
	return []string{"/bin/cp", "/proc/self/environ", filepath.Join(p.dir, name)}
}

// TestEnvironmentRoundTrip takes variables through Terraform, azurerm, App Service's changes and azf-handler.
func TestEnvironmentRoundTrip(t *testing.T) {
	p := newPlayground(t)
	env := corpus()
	p.create(t, "web", api.Config{Env: env, Cmd: p.leaves("web")})
	got := p.environmentOf(t, "web")
	known := map[string]bool{}
	for _, entry := range got {
		known[entry] = true
	}
	for _, entry := range env {
		if !known[entry] {
			name, _, _ := strings.Cut(entry, "=")
			t.Errorf("the command lacks %.100q; it has %.100q", entry, withName(got, name))
		}
	}
	// Beside these, there are the image's variables and the allowed ones, and nothing of the Functions host.
	rest := slices.DeleteFunc(got, func(entry string) bool { return slices.Contains(env, entry) })
	for i, entry := range rest {
		rest[i], _, _ = strings.Cut(entry, "=")
	}
	want := []string{
		"ASPNETCORE_CONTENTROOT", "ASPNETCORE_URLS", "AZF_RUN_ID", "AzureFunctionsJobHost__Logging__Console__IsEnabled",
		"AzureWebJobsScriptRoot", "DOTNET_USE_POLLING_FILE_WATCHER", "FUNCTIONS_WORKER_RUNTIME",
	}
	if !slices.Equal(rest, want) {
		t.Errorf("beside the container's own, the command has %q, want %q", rest, want)
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.nothingLeft(t)
}

func withName(env []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool { return !strings.HasPrefix(entry, name+"=") })
}

// TestImagesWithoutLabel has images of which nobody knows what their handler reads.
func TestImagesWithoutLabel(t *testing.T) {
	p := newPlayground(t)
	image := p.push(t, "unlabelled")
	var created api.CreateResponse
	req := api.CreateRequest{Config: &api.Config{
		Image: image, Env: []string{`A=pa$$w0rd\`, "B=1"}, Cmd: p.leaves("web"),
	}}
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if len(created.Warnings) != 1 || !strings.HasPrefix(created.Warnings[0], "environment A: App Service may change $") {
		t.Errorf("warnings are %q", created.Warnings)
	}
	if got := p.environmentOf(t, "web"); !slices.Contains(got, `A=pa$$w0rd\`) || !slices.Contains(got, "B=1") {
		t.Errorf("the handler, which reads a spec, has %q", got)
	}
	for entry, want := range map[string]string{
		"HOME=/root": "HOME is reserved", "PORT=1": "PORT is reserved", "my-var=1": "app settings take letters",
		"K=@Microsoft.KeyVault(x)": "key_vault_references",
	} {
		req.Env = []string{entry}
		err := p.Call(t.Context(), http.MethodPost, "/containers?name=refused", req, nil)
		if !answered(err, http.StatusBadRequest) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), protocol.Label) {
			t.Errorf("%s: got %v, want %q", entry, err, want)
		}
	}
}

// older builds an image with the azf-handler of protocol 1.
func (p *playground) older(t *testing.T, name string, labels map[string]string) string {
	t.Helper()
	const wwwroot = "/home/site/wwwroot/"
	files := map[string]appimage.File{
		wwwroot + "azf-handler": {Content: azuretest.BuildProgram(t, "./testdata/handler1"), Mode: 0o755},
	}
	root, err := fs.Sub(examples.Hello, "hello/wwwroot")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		files[wwwroot+path] = appimage.File{Content: content, Mode: 0o644}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	host := filepath.Join(p.dir, "webhost")
	program := azuretest.BuildProgram(t, "../azuresim/funchost/webhost")
	if err := os.WriteFile(host, program, 0o700); err != nil {
		t.Fatal(err)
	}
	base, err := appimage.Base(host)
	if err != nil {
		t.Fatal(err)
	}
	img, err := appimage.BuildFrom(base, files, nil, labels)
	if err != nil {
		t.Fatal(err)
	}
	return p.pushImage(t, name, img)
}

// TestProtocolVersions has handlers and labels of other versions than the daemon's.
func TestProtocolVersions(t *testing.T) {
	p := newPlayground(t)
	run := func(name, image string) (res api.WaitResponse, lines []string) {
		p.create(t, name, api.Config{Image: image, Cmd: []string{"/bin/echo", "ran"}})
		p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
		return res, p.logs(t, name, "stdout=1")
	}
	res, lines := run("one", p.older(t, "older", nil))
	if res.StatusCode != 0 || !slices.Equal(lines, []string{"stdout: ran"}) {
		t.Errorf("a handler of protocol 1: got %+v, %q", res, lines)
	}
	res, lines = run("two", p.older(t, "mislabelled", map[string]string{protocol.Label: "2"}))
	if res.StatusCode != 127 || len(lines) > 0 || res.Error == nil ||
		!strings.Contains(res.Error.Message, "azf-handler is older than the image's label says") {
		t.Errorf("a handler of protocol 1 with the label of 2: got %+v, %q", res, lines)
	}
	image := p.older(t, "newer", map[string]string{protocol.Label: "3"})
	err := p.Call(t.Context(), http.MethodPost, "/containers", api.CreateRequest{Config: &api.Config{Image: image}}, nil)
	if !answered(err, http.StatusBadRequest) || !strings.Contains(err.Error(), "update the daemon") {
		t.Errorf("a label of protocol 3: got %v", err)
	}
}

// TestContainerOfAnEarlierRelease has the app settings and the workspace of a release that knew no spec.
func TestContainerOfAnEarlierRelease(t *testing.T) {
	p := newPlayground(t)
	image := p.push(t, "unlabelled")
	command := []string{"/bin/sh", "-c", "env | grep ^A=; exit 3"}
	id := p.create(t, "web", api.Config{Image: image, Env: []string{"A=1"}, Cmd: command})
	p.stop()
	var info api.InspectResponse
	earlier := func(body map[string]any) {
		config := body["properties"].(map[string]any)["siteConfig"].(map[string]any)
		settings := config["appSettings"].([]any)
		kept := slices.DeleteFunc(settings, func(item any) bool {
			return strings.HasPrefix(item.(map[string]any)["name"].(string), protocol.SpecEnv)
		})
		if len(kept) == len(settings) {
			t.Error("there was no spec")
		}
		config["appSettings"] = kept
	}
	site := "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup +
		"/providers/Microsoft.Web/sites/skls-" + id[:20]
	if err := p.sim.Edit(site, earlier); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(p.stateDir(), "workspaces/containers", id)
	files, err := filepath.Glob("testdata/earlier/*.tf")
	if err != nil || len(files) != 3 {
		t.Fatalf("got %v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
	if lines := p.logs(t, "web", "stdout=1"); res.StatusCode != 3 || !slices.Equal(lines, []string{"stdout: A=1"}) {
		t.Errorf("got %+v, %q", res, lines)
	}
	p.must(t, http.MethodGet, "/containers/web", nil, &info)
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.nothingLeft(t)
}

// TestReferences has references to secrets that only the setting makes App Service resolve.
func TestReferences(t *testing.T) {
	const reference = "@Microsoft.KeyVault(SecretUri=https://v/s/1)"
	const missing = "@Microsoft.KeyVault(SecretUri=https://v/s/2)"
	allowed := false
	p := newAzure(t)
	p.run(t, func(cfg *daemon.Config) {
		id, clientID := p.sim.Identity()
		cfg.Azure.Identity = &workspace.Identity{ID: id, ClientID: clientID}
		cfg.Azure.KeyVaultReferences = allowed
	})
	p.sim.SetSecret(reference, `se$cret\`)
	p.create(t, "literal", api.Config{Env: []string{"A=" + reference}, Cmd: p.leaves("literal")})
	if got := withName(p.environmentOf(t, "literal"), "A"); !slices.Equal(got, []string{"A=" + reference}) {
		t.Errorf("without the setting the command gets %q", got)
	}
	p.stop()
	allowed = true
	p.start()
	p.create(t, "secret", api.Config{Env: []string{"A=" + reference}, Cmd: p.leaves("secret")})
	// App Service un-escapes the secret: whether it does is not known.
	if got := withName(p.environmentOf(t, "secret"), "A"); !slices.Equal(got, []string{`A=se\`}) {
		t.Errorf("with the setting the command gets %q", got)
	}
	p.create(t, "missing", api.Config{Env: []string{"A=" + missing}, Cmd: p.leaves("missing")})
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/missing/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/missing/wait", nil, &res)
	if res.StatusCode != 126 || res.Error == nil ||
		!strings.Contains(res.Error.Message, "variable A: App Service has not resolved") {
		t.Errorf("a secret that is missing: got %d, %+v", res.StatusCode, res.Error)
	}
}

// TestUserOfTheRequest runs a command as the image's user and as the request's.
func TestUserOfTheRequest(t *testing.T) {
	azuretest.Needs(t, "root")
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root, since azf-handler changes the user")
	}
	azuretest.NeedsIsolation(t, container.Supported)
	p := newPlayground(t)
	image := p.pushWith(t, "user", func(config *v1.Config) { config.User = "65534:65533" })
	for name, row := range map[string]struct{ image, user, want string }{
		"image": {image, "", "65534 65533"}, "request": {p.image, "1234", "1234 0"}, "root": {p.image, "", "0 0"},
	} {
		p.create(t, name, api.Config{Image: row.image, User: row.user, Cmd: []string{"sh", "-c", "echo $(id -u) $(id -g)"}})
		p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, nil)
		if lines := p.logs(t, name, "stdout=1&stderr=1"); !slices.Equal(lines, []string{"stdout: " + row.want}) {
			t.Errorf("%s: got %q, want %s", name, lines, row.want)
		}
	}
	// App Service starts the container as the image's user, so that nothing in it can take another one.
	p.create(t, "other", api.Config{Image: image, User: "1234", Cmd: []string{"true"}})
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/other/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/other/wait", nil, &res)
	const why = "runs as user 65534 and not as root"
	if res.StatusCode != 126 || res.Error == nil || !strings.Contains(res.Error.Message, why) {
		t.Errorf("another user than the image's: got %d, %+v", res.StatusCode, res.Error)
	}
}
