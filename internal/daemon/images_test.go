package daemon_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// TestSimulatedRegistryIsAsked wants a daemon on the simulator to look images up in the simulator's registry, over
// its own CA.
func TestSimulatedRegistryIsAsked(t *testing.T) {
	dir := azuretest.ShortDir(t)
	sim, err := azuresim.Start(azuresim.Config{Dir: filepath.Join(dir, "azuresim"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	files := map[string]appimage.File{"/bin/app": {Content: []byte("x"), Mode: 0o755}}
	img, err := appimage.Build(files, []string{"A=b"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	image := sim.Registry() + "/team/app:1"
	transport := sim.Transport()
	defer transport.CloseIdleConnections()
	if err := appimage.Push(t.Context(), image, img, transport); err != nil {
		t.Fatal(err)
	}
	cfg, err := simulated(t.Context(), sim.Access(), sim.Transport(), dir, filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tools = toolchain.Tools{Terraform: "never run"}
	cfg.Providers.Pool = config.PoolOff // no Terraform runs
	d, err := daemon.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	stream, err := daemon.Engine(d).ImagePull(t.Context(), image, api.AuthConfig{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := daemon.Engine(d).ImageInspect(t.Context(), image)
	if err != nil || !got.AZF.Resolved || got.Config.Env[0] != "A=b" || got.Size == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	// The simulated network has no other registry.
	if _, err := daemon.Engine(d).ImagePull(t.Context(), "alpine", api.AuthConfig{}, ""); err != nil {
		t.Error(err)
	}
	if got, err := daemon.Engine(d).ImageInspect(t.Context(), "alpine"); err != nil || got.AZF.Resolved ||
		!strings.Contains(got.AZF.Error, "index.docker.io") {
		t.Errorf("got %+v, %v", got.AZF, err)
	}
}
