package daemon_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/workspace"
)

// wrapSettings let a daemon wrap images.
type wrapSettings struct {
	Handler  string // path of azf-handler
	Identity workspace.Identity
}

func (w wrapSettings) apply(cfg *daemon.Config) {
	cfg.Azure.Identity = &w.Identity
	cfg.Azure.Registry, cfg.Wrap.Handler = "team.azurecr.io", w.Handler
}

// canWrap lets the playground's daemons wrap images, with a registry of the simulator's.
func (p *playground) canWrap(t *testing.T) {
	t.Helper()
	id, clientID := p.sim.Identity()
	p.wrapping = &wrapSettings{filepath.Join(p.dir, "azf-handler"), workspace.Identity{ID: id, ClientID: clientID}}
	program := azuretest.BuildProgram(t, "../../cmd/azf-handler")
	if err := os.WriteFile(p.wrapping.Handler, program, 0o700); err != nil {
		t.Fatal(err)
	}
}

// wraps starts a daemon that wraps images.
func wraps(t *testing.T, change func(*daemon.Config)) *playground {
	t.Helper()
	azuretest.NeedsIsolation(t, container.Supported)
	p := newAzure(t, func(cfg *azuresim.Config) { cfg.Shared = nil }) // an image has what is in it, and nothing else
	p.canWrap(t)
	p.run(t, func(cfg *daemon.Config) {
		p.wrapping.apply(cfg)
		if change != nil {
			change(cfg)
		}
	})
	return p
}

// TestWrappedImages runs images without a Functions host. The host needs an interpreter, as Microsoft's does.
func TestWrappedImages(t *testing.T) {
	azuretest.NeedsProgram(t, "docker")
	seen := &registryLog{}
	p := wraps(t, func(cfg *daemon.Config) {
		seen.next = cfg.AppTransport
		cfg.AppTransport, cfg.Wrap.Base = seen, "team.azurecr.io/functions/dynamic:4"
	})
	p.put(t, "functions/dynamic:4", dynamicBase(t, p.dir))
	user := tool(t, func(config *v1.Config) {
		config.Entrypoint, config.Cmd = []string{"/bin/tool"}, []string{"show", "image"}
		config.User, config.WorkingDir = "app", "/srv/deep"
	})
	p.put(t, "team/tool:1", user)
	p.put(t, "team/shell:1", shell(t))
	config := v1.Config{Entrypoint: []string{"/tool"}, Cmd: []string{"show"}, StopSignal: "SIGQUIT"}
	p.put(t, "team/static:1", ociImage(t, config, layer(t, compression.GZip, executable("tool", 0o755, toolProgram(t)))))
	p.put(t, "team/foreign:1", configured(t, user, func(file *v1.ConfigFile) { file.Architecture = "mips" }))
	p.put(t, "team/windows:1", configured(t, user, func(file *v1.ConfigFile) { file.OS = "windows" }))
	p.put(t, "team/odd:1", odd(t))
	derived := p.wrappedTool(t, seen, user)
	p.verifyWrapped(t, derived.Reference)
	p.journeys(t, scripts{dir: "testdata/wrapped", env: map[string]string{"TEAM": "team.azurecr.io/team"}})
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.must(t, http.MethodDelete, "/containers/again", nil, nil)
	p.nothingLeft(t)
}

// wrappedTool runs a container of team/tool, creates another one, and returns the derived image of both.
func (p *playground) wrappedTool(t *testing.T, seen *registryLog, user v1.Image) api.Derived {
	t.Helper()
	const image = "team.azurecr.io/team/tool:1"
	p.create(t, "web", api.Config{
		Image: image, Cmd: []string{"show", "a b"}, Env: []string{"LD_PRELOAD=/x", "PATH=/q", "HOME=/mine", "A=b"},
	})
	first := seen.since()
	if len(first.matching(`^POST .*/sockerless/wrapped/blobs/uploads/\?.*mount=.* 201$`)) == 0 ||
		len(first.matching(`^PUT .*/sockerless/wrapped/manifests/`)) != 1 {
		t.Errorf("the daemon has sent %q", first)
	}
	layers, err := user.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got := first.matching(`^(GET|PUT) .*` + digest.String()); len(got) > 0 {
			t.Errorf("a layer of the user's passes the daemon: %q", got)
		}
	}
	var inspected api.InspectResponse
	p.must(t, http.MethodGet, "/containers/web", nil, &inspected)
	derived := inspected.AZF.Derived
	if inspected.Config.Image != image || derived == nil || derived.Recipe == 0 || derived.Handler == "" ||
		!strings.HasPrefix(derived.Reference, "team.azurecr.io/sockerless/wrapped@sha256:") ||
		!strings.HasPrefix(derived.Base, "team.azurecr.io/functions/dynamic@sha256:") {
		t.Fatalf("image %s, derived %+v", inspected.Config.Image, derived)
	}
	// The host starts in an image of this digest only.
	_, digest, _ := strings.Cut(derived.Source, "@")
	variables, err := os.ReadFile(filepath.Join(inspected.AZF.Workspace, "terraform.tfvars.json"))
	if err != nil || digest == "" || !strings.Contains(string(variables), digest) {
		t.Errorf("%v; no digest %q in %s", err, digest, variables)
	}
	p.ranTool(t)
	// The second create of the image finds the derived one.
	seen.since()
	p.create(t, "again", api.Config{Image: image})
	if got := seen.since().matching(`^(POST|PATCH|PUT) `); len(got) > 0 {
		t.Errorf("the second create pushes: %q", got)
	}
	p.must(t, http.MethodGet, "/containers/again", nil, &inspected)
	if again := inspected.AZF.Derived; again == nil || again.Reference != derived.Reference {
		t.Errorf("derived %+v, want %+v", again, derived)
	}
	return *derived
}

// ranTool runs the container web, and checks what its command sees.
func (p *playground) ranTool(t *testing.T) {
	t.Helper()
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
	lines := p.logs(t, "web", "stdout=1&stderr=1")
	if res.StatusCode != 0 || len(lines) != 1 {
		t.Fatalf("got %+v, %+v and %q", res, res.Error, lines)
	}
	var seen struct {
		Env, Args []string
		Dir       string
		UID, GID  int
		Groups    []int
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[0], "stdout: ")), &seen); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen.Args, []string{"/bin/tool", "show", "a b"}) || seen.Dir != "/srv/deep" || seen.UID != 1000 ||
		seen.GID != 1001 || !slices.Equal(seen.Groups, []int{2002}) {
		t.Errorf("the command sees %+v", seen)
	}
	for _, want := range []string{"FROM_IMAGE=yes", "PATH=/q", "LD_PRELOAD=/x", "HOME=/mine", "A=b"} {
		if !slices.Contains(seen.Env, want) {
			t.Errorf("no %s in %q", want, seen.Env)
		}
	}
	for _, entry := range seen.Env {
		for _, hidden := range []string{"LD_LIBRARY_PATH", "ASPNETCORE_", "DOTNET_", "AzureWebJobs", "SSL_CERT_"} {
			if strings.HasPrefix(entry, hidden) {
				t.Errorf("the command sees %s", entry)
			}
		}
	}
}

// registryLog is a transport that logs what a daemon sends to registries: METHOD URL STATUS.
type registryLog struct {
	next http.RoundTripper

	mu   sync.Mutex
	sent requests
}

type requests []string

// RoundTrip implements http.RoundTripper.
func (l *registryLog) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/v2/") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sent = append(l.sent, fmt.Sprint(r.Method, " ", r.URL, " ", res.StatusCode))
	}
	return res, err
}

// since returns what was sent since the last call.
func (l *registryLog) since() requests {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := l.sent
	l.sent = nil
	return sent
}

func (r requests) matching(form string) requests {
	is := regexp.MustCompile(form)
	return slices.DeleteFunc(slices.Clone(r), func(request string) bool { return !is.MatchString(request) })
}

// verifyWrapped checks a derived image, as wrap verify does, with the handler that made it and with another one.
func (p *playground) verifyWrapped(t *testing.T, text string) {
	t.Helper()
	image, err := daemon.WrappedReference(text)
	if err != nil {
		t.Fatal(err)
	}
	if different, err := daemon.VerifyWrapped(t.Context(), p.cfg, image); err != nil || len(different) > 0 {
		t.Errorf("differences %q, %v", different, err)
	}
	other := p.cfg
	other.Wrap.Handler = filepath.Join(p.dir, "other-handler")
	program := slices.Concat(azuretest.BuildProgram(t, "../../cmd/azf-handler"), []byte{0})
	if err := os.WriteFile(other.Wrap.Handler, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if different, err := daemon.VerifyWrapped(t.Context(), other, image); err != nil || len(different) == 0 {
		t.Errorf("with another handler: differences %q, %v", different, err)
	}
	if _, err := daemon.WrappedReference("team.azurecr.io/sockerless/wrapped:w-1"); err == nil {
		t.Error("a reference without a digest is accepted")
	}
}

// TestWrapBaseIsGone wraps a second image when the tag of the base cannot be looked up any more.
func TestWrapBaseIsGone(t *testing.T) {
	p := wraps(t, func(cfg *daemon.Config) { cfg.Wrap.Refresh = 0 })
	wrapped := func(name string) api.Derived {
		t.Helper()
		p.plain(t, name, func(config *v1.Config) { config.Labels = map[string]string{"name": name} })
		p.create(t, name, api.Config{Image: "team.azurecr.io/" + name + ":1", Cmd: []string{"tool", "show"}})
		var inspected api.InspectResponse
		p.must(t, http.MethodGet, "/containers/"+name, nil, &inspected)
		return *inspected.AZF.Derived
	}
	first := wrapped("one")
	p.removeBase(t)
	second := wrapped("two")
	if first.Base != second.Base || first.Digest == second.Digest {
		t.Errorf("derived are %+v and %+v", first, second)
	}
}

// TestWrapBaseIsLookedUpAtStart needs the base's tag before the first container only.
func TestWrapBaseIsLookedUpAtStart(t *testing.T) {
	lookedUp := make(chan struct{})
	p := wraps(t, func(cfg *daemon.Config) {
		next, once := cfg.AppTransport, sync.OnceFunc(func() { close(lookedUp) })
		cfg.AppTransport = roundTripper(func(req *http.Request) (*http.Response, error) {
			res, err := next.RoundTrip(req)
			if err == nil && res.StatusCode == http.StatusOK && strings.Contains(req.URL.Path, "/azure-functions/base/blobs/") {
				once() // the configuration, which comes last
			}
			return res, err
		})
	})
	<-lookedUp
	p.removeBase(t)
	p.plain(t, "tool", nil)
	p.create(t, "web", api.Config{Image: "team.azurecr.io/tool:1", Cmd: []string{"tool", "show"}})
}

// roundTripper is an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// removeBase removes the tag of the base image from the simulator's registry.
func (p *playground) removeBase(t *testing.T) {
	t.Helper()
	ref, err := name.ParseReference(p.sim.Registry() + "/azure-functions/base:4")
	if err != nil {
		t.Fatal(err)
	}
	transport := p.sim.Transport()
	defer transport.CloseIdleConnections()
	if err := remote.Delete(ref, remote.WithTransport(transport), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestPruneOfWrappedImages deletes wrapped images in the registry, and no others.
func TestPruneOfWrappedImages(t *testing.T) {
	p := wraps(t, nil)
	const image = "team.azurecr.io/team/tool:1"
	p.plain(t, "team/tool", nil)
	p.plain(t, "team/pause", func(config *v1.Config) { config.Cmd = []string{"tool", "pause"} })
	derived := func(name, image string, command ...string) string {
		t.Helper()
		p.create(t, name, api.Config{Image: image, Cmd: command})
		var inspected api.InspectResponse
		p.must(t, http.MethodGet, "/containers/"+name, nil, &inspected)
		return inspected.AZF.Derived.Reference
	}
	prune := func() api.ImagePruneReport {
		t.Helper()
		var report api.ImagePruneReport
		p.must(t, http.MethodPost, "/images/prune?filters="+url.QueryEscape(`{"dangling":["false"]}`), nil, &report)
		return report
	}
	used := derived("runs", "team.azurecr.io/team/pause:1")
	p.must(t, http.MethodPost, "/containers/runs/start", nil, nil)
	gone := derived("web", image, "tool", "show")
	if report := prune(); report.SpaceReclaimed != 0 {
		t.Errorf("the images of containers are pruned: %+v", report)
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)

	p.sim.Deny("Microsoft.ContainerRegistry/registries/artifacts/delete")
	if report := prune(); report.SpaceReclaimed != 0 || !p.hasImage(t, gone) {
		t.Errorf("pruned without AcrDelete: %+v", report)
	}
	var info api.Info
	p.must(t, http.MethodGet, "/info", nil, &info)
	if !slices.Contains(info.DriverStatus, [2]string{"Wrapped Images", "2"}) ||
		!slices.ContainsFunc(info.Warnings, func(w string) bool { return strings.Contains(w, "needs AcrDelete") }) {
		t.Errorf("%v, warnings %q", info.DriverStatus, info.Warnings)
	}
	p.sim.Allow()
	report := prune()
	_, digest, _ := strings.Cut(gone, "@")
	for _, want := range []api.ImageDeleted{{Untagged: gone}, {Deleted: digest}} {
		if !slices.Contains(report.ImagesDeleted, want) {
			t.Errorf("%+v is not in %+v", want, report.ImagesDeleted)
		}
	}
	if report.SpaceReclaimed < 1<<20 || report.SpaceReclaimed > 10<<20 { // azf-handler, and little more
		t.Errorf("%d bytes are freed", report.SpaceReclaimed)
	}
	for ref, want := range map[string]bool{gone: false, used: true, image: true, "team.azurecr.io/team/pause:1": true} {
		if p.hasImage(t, ref) != want {
			t.Errorf("%s is in the registry: %t, want %t", ref, !want, want)
		}
	}

	if again := derived("again", image, "tool", "show"); again != gone {
		t.Errorf("derived again is %s, want %s", again, gone)
	}
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/again/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/again/wait", nil, &res)
	if res.StatusCode != 0 {
		t.Errorf("a container of an image that was derived again ends with %+v", res)
	}
}

// hasImage reports whether the simulator's registry has an image.
func (p *playground) hasImage(t *testing.T, image string) bool {
	t.Helper()
	_, path, _ := strings.Cut(image, "/")
	ref, err := name.ParseReference(p.sim.Registry() + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	connection := p.sim.Transport()
	defer connection.CloseIdleConnections()
	_, err = remote.Head(ref, remote.WithTransport(connection), remote.WithContext(t.Context()))
	if te, ok := errors.AsType[*transport.Error](err); ok && te.StatusCode == http.StatusNotFound {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// TestAnonymousPullOfWrappedImages has a daemon that pushes by its own credential, and apps without an identity.
func TestAnonymousPullOfWrappedImages(t *testing.T) {
	p := wraps(t, func(cfg *daemon.Config) { cfg.Azure.Identity = nil })
	p.plain(t, "tool", nil)
	var created api.CreateResponse
	req := api.CreateRequest{Config: &api.Config{Image: p.sim.Registry() + "/tool:1", Cmd: []string{"tool", "show"}}}
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if want := "Azure pulls from team.azurecr.io anonymously"; len(created.Warnings) != 1 ||
		!strings.HasPrefix(created.Warnings[0], want) {
		t.Errorf("warnings are %q, want %q", created.Warnings, want)
	}
}
