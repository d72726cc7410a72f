package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestImagesThatCannotBeWrapped are refused at once, and nothing of them is left.
func TestImagesThatCannotBeWrapped(t *testing.T) {
	var change func(*daemon.Config)
	p := wraps(t, func(cfg *daemon.Config) {
		cfg.Providers.Pool = config.PoolOff // no Terraform runs
		if change != nil {
			change(cfg)
		}
	})
	// A wrap that was killed has left a file, which the next daemon removes.
	if err := os.WriteFile(filepath.Join(p.stateDir(), "azf-wrap-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plain := tool(t, nil)
	other := configured(t, plain, func(file *v1.ConfigFile) { file.Architecture = "mips" })
	windows := configured(t, plain, func(file *v1.ConfigFile) { file.OS = "windows" })
	many := ociImage(t, v1.Config{}, slices.Repeat([]v1.Layer{layer(t, compression.None, file("same", ""))}, 121)...)
	for n, row := range []struct {
		name   string
		change func(*daemon.Config)
		image  remote.Taggable
		deny   bool
		status int
		want   string
	}{
		{
			name: "no registry", change: func(cfg *daemon.Config) { cfg.Azure.Registry = "" },
			status: http.StatusBadRequest, want: "CANNOT IMAGE has no Azure Functions host, and no registry is set to put a " +
				"wrapped image into. Set registry and give this daemon AcrPush there",
		},
		{
			name: "no handler", change: func(cfg *daemon.Config) { cfg.Wrap.Handler = "/none" },
			status: http.StatusBadRequest,
			want:   "CANNOT IMAGE has no Azure Functions host, and the azf-handler to wrap it with cannot be used",
		},
		{
			name: "no program", change: func(cfg *daemon.Config) { cfg.Wrap.Handler = "/proc/version" },
			status: http.StatusBadRequest,
			want:   "CANNOT IMAGE has no Azure Functions host, and the azf-handler to wrap it with cannot be used",
		},
		{
			name: "too big", change: func(cfg *daemon.Config) { cfg.Wrap.MaxSize = "1KiB" },
			status: http.StatusBadRequest, want: "compressed; wrap_max_size is 1 KiB",
		},
		{
			name: "no base", change: func(cfg *daemon.Config) { cfg.Wrap.Base = "none.azurecr.io/base:1" },
			status: http.StatusNotFound, want: "CANNOT look up wrap_base: manifest for none.azurecr.io/base:1 not found",
		},
		{
			name:   "no answer from the base's registry",
			change: func(cfg *daemon.Config) { cfg.Wrap.Base = "none.example.com/base:1" },
			status: http.StatusServiceUnavailable,
			want:   "CANNOT look up wrap_base: registry none.example.com gives no answer",
		},
		{
			name: "no answer from the registry", change: func(cfg *daemon.Config) { cfg.Azure.Registry = "none.example.com" },
			status: http.StatusServiceUnavailable, want: "CANNOT registry none.example.com gives no answer",
		},
		{
			name: "no right to push", deny: true, status: http.StatusForbidden,
			want: "CANNOT cannot push to team.azurecr.io/sockerless/host: the identity CLIENT needs AcrPush",
		},
		{
			name: "other architecture", image: other, status: http.StatusNotFound,
			want: "CANNOT IMAGE is for linux/mips only; Azure Functions runs linux/" + runtime.GOARCH,
		},
		{
			name: "other architectures", image: indexOf(platform(other, "linux", "mips")), status: http.StatusNotFound,
			want: "no matching manifest for linux/" + runtime.GOARCH + " in the manifest list entries: " +
				"the platforms there are linux/mips",
		},
		{name: "Windows", image: windows, status: http.StatusBadRequest, want: "CANNOT IMAGE is a Windows image"},
		{
			name: "many layers", image: many, status: http.StatusBadRequest,
			want: "CANNOT IMAGE has 121 layers; at most 120 can be wrapped",
		},
		{
			name: "schema 1", image: mutate.MediaType(plain, types.DockerManifestSchema1Signed),
			status: http.StatusBadRequest, want: "IMAGE is not a container image: its media type is " +
				`"application/vnd.docker.distribution.manifest.v1+prettyjws"`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.change != nil || change != nil {
				p.stop()
				change = row.change
				p.start()
			}
			if row.image == nil {
				row.image = plain
			}
			repository := fmt.Sprint("team/tool", n)
			p.put(t, repository+":1", row.image)
			if row.deny {
				p.sim.Deny("Microsoft.ContainerRegistry/registries/push/write")
				defer p.sim.Allow()
			}
			_, client := p.sim.Identity()
			image := "team.azurecr.io/" + repository + ":1"
			want := strings.NewReplacer(
				"CANNOT", "cannot create container web:", "IMAGE", image, "CLIENT", client,
			).Replace(row.want)
			req := api.CreateRequest{Config: &api.Config{Image: image, Cmd: []string{"tool", "show"}}}
			err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
			if !answered(err, row.status) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			for _, call := range p.sim.Calls() {
				// The service plan is there for the next container.
				if call.Method == http.MethodPut && !strings.Contains(call.Path, "/serverFarms/") {
					t.Errorf("Azure has seen %s %s", call.Method, call.Path)
				}
			}
		})
	}
	if left := p.tempFiles(t); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}
