package daemon_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/workspace"
)

// wraps starts a daemon that wraps images, with a registry of the simulator's.
func wraps(t *testing.T, change func(*daemon.Config)) *playground {
	t.Helper()
	p := newAzure(t, func(cfg *azuresim.Config) { cfg.Shared = nil }) // an image has what is in it, and nothing else
	handler := filepath.Join(p.dir, "azf-handler")
	if err := os.WriteFile(handler, azuretest.BuildProgram(t, "../../cmd/azf-handler"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.run(t, func(cfg *daemon.Config) {
		id, clientID := p.sim.Identity()
		cfg.Azure.Identity = &workspace.Identity{ID: id, ClientID: clientID}
		cfg.Azure.Registry, cfg.Wrap.Handler = "team.azurecr.io", handler
		if change != nil {
			change(cfg)
		}
	})
	return p
}

// plain pushes an image without a Functions host: one static program on nothing.
func (p *playground) plain(t *testing.T, name string, change func(*v1.Config)) {
	t.Helper()
	files := map[string]appimage.File{
		"/bin/tool":   {Content: azuretest.BuildProgram(t, "../../cmd/azf-handler/testdata/tool"), Mode: 0o755},
		"/etc/passwd": {Content: []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\n"), Mode: 0o644},
		"/etc/group":  {Content: []byte("extra:x:2002:app\n"), Mode: 0o644},
	}
	img, err := appimage.Build(files, []string{"PATH=/bin", "FROM_IMAGE=yes"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	if change != nil {
		change(&config)
	}
	if img, err = mutate.Config(img, config); err != nil {
		t.Fatal(err)
	}
	p.pushImage(t, name, img)
}

// TestWrappedImage runs an image that holds one static program, and nothing else.
func TestWrappedImage(t *testing.T) {
	p := wraps(t, nil)
	p.plain(t, "team/tool", func(config *v1.Config) {
		config.Entrypoint, config.Cmd = []string{"tool"}, []string{"show", "image"}
		config.User, config.WorkingDir = "app", "/srv/deep"
	})
	const image = "team.azurecr.io/team/tool:1"
	p.create(t, "web", api.Config{
		Image: image, Cmd: []string{"show", "a b"}, Env: []string{"LD_PRELOAD=/x", "HOME=/mine", "A=b"},
	})
	var inspected api.InspectResponse
	p.must(t, http.MethodGet, "/containers/web", nil, &inspected)
	derived := inspected.AZF.Derived
	if inspected.Config.Image != image || derived == nil || derived.Recipe == 0 || derived.Handler == "" ||
		!strings.HasPrefix(derived.Reference, "team.azurecr.io/sockerless/wrapped@sha256:") ||
		!strings.HasPrefix(derived.Base, "mcr.microsoft.com/azure-functions/base") {
		t.Fatalf("image %s, derived %+v", inspected.Config.Image, derived)
	}
	// The host starts in an image of this digest only.
	_, digest, _ := strings.Cut(derived.Source, "@")
	variables, err := os.ReadFile(filepath.Join(inspected.AZF.Workspace, "terraform.tfvars.json"))
	if err != nil || digest == "" || !strings.Contains(string(variables), digest) {
		t.Errorf("%v; no digest %q in %s", err, digest, variables)
	}
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
	if !slices.Equal(seen.Args, []string{"tool", "show", "a b"}) || seen.Dir != "/srv/deep" || seen.UID != 1000 ||
		seen.GID != 1001 || !slices.Equal(seen.Groups, []int{2002}) {
		t.Errorf("the command sees %+v", seen)
	}
	for _, want := range []string{"FROM_IMAGE=yes", "PATH=/bin", "LD_PRELOAD=/x", "HOME=/mine", "A=b"} {
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
	// The second create of the image finds the derived one.
	p.create(t, "again", api.Config{Image: image})
	p.must(t, http.MethodGet, "/containers/again", nil, &inspected)
	if again := inspected.AZF.Derived; again == nil || again.Reference != derived.Reference {
		t.Errorf("derived %+v, want %+v", again, derived)
	}
	p.verifyWrapped(t, derived.Reference)
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.must(t, http.MethodDelete, "/containers/again", nil, nil)
	p.nothingLeft(t)
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

// TestImagesThatCannotBeWrapped are refused at once, and nothing of them is left.
func TestImagesThatCannotBeWrapped(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*daemon.Config)
		deny   bool
		status int
		want   string
	}{
		"no registry": {
			func(cfg *daemon.Config) { cfg.Azure.Registry = "" }, false, http.StatusBadRequest,
			"cannot create container web: team.azurecr.io/tool:1 has no Azure Functions host, and no registry is set",
		},
		"no handler": {
			func(cfg *daemon.Config) { cfg.Wrap.Handler = "/none" }, false, http.StatusBadRequest,
			"team.azurecr.io/tool:1 has no Azure Functions host, and the azf-handler to wrap it with cannot be used",
		},
		"no program": {
			func(cfg *daemon.Config) { cfg.Wrap.Handler = "/proc/version" }, false, http.StatusBadRequest,
			"and the azf-handler to wrap it with cannot be used",
		},
		"too big": {
			func(cfg *daemon.Config) { cfg.Wrap.MaxSize = "1KiB" }, false, http.StatusBadRequest, "wrap_max_size is 1 KiB",
		},
		"no base": {
			func(cfg *daemon.Config) { cfg.Wrap.Base = "none.azurecr.io/base:1" }, false, http.StatusNotFound,
			"look up wrap_base: manifest for none.azurecr.io/base:1 not found",
		},
		"no answer from the base's registry": {
			func(cfg *daemon.Config) { cfg.Wrap.Base = "none.example.com/base:1" }, false, http.StatusServiceUnavailable,
			"look up wrap_base: registry none.example.com gives no answer",
		},
		"no right to push": {
			nil, true, http.StatusForbidden,
			"cannot push to team.azurecr.io/sockerless/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := wraps(t, row.change)
			p.plain(t, "tool", nil)
			if row.deny {
				p.sim.Deny("Microsoft.ContainerRegistry/registries/push/write")
			}
			req := api.CreateRequest{Config: &api.Config{Image: "team.azurecr.io/tool:1", Cmd: []string{"tool", "show"}}}
			err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
			if !answered(err, row.status) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if sites := p.sim.Sites(); len(sites) > 0 {
				t.Errorf("function apps are left: %v", sites)
			}
		})
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
