package wrap_test

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/wrap"
)

func TestDerive(t *testing.T) {
	for name, user := range map[string]v1.Image{
		"OCI":    userImage(t),
		"Docker": docker(t, userImage(t)),
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			source := wrap.Source{Image: s.put(t, "team/app", user), Base: s.put(t, "functions/base", staticBase(t))}
			w := newWrapper(t, s)
			derived, err := w.Derive(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			if got := matching(s.requests(), `^GET /v2/team/app/blobs/`); len(got) != 1 {
				t.Errorf("read of the user's blobs: %v, want the configuration only", got)
			}
			if derived.MountedBlobs != 4 || derived.PushedBytes == 0 {
				t.Errorf("%d blobs were mounted, %d bytes pushed", derived.MountedBlobs, derived.PushedBytes)
			}
			checkDerived(t, user, derived, source)

			again, err := w.Derive(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			if got := matching(s.requests(), writes); len(got) != 0 || again.PushedBytes != 0 || again.MountedBlobs != 0 {
				t.Errorf("the second time: %v, %+v", got, again)
			}
			again.PushedBytes, again.MountedBlobs = derived.PushedBytes, derived.MountedBlobs
			if diff := cmp.Diff(derived, again); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// docker returns an image with Docker's media types.
func docker(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	out := mutate.MediaType(imageOf(t, v1.Config{}), types.DockerManifestSchema2)
	out = mutate.ConfigMediaType(out, types.DockerConfigJSON)
	for _, l := range layers {
		if out, err = mutate.Append(out, mutate.Addendum{Layer: l, MediaType: types.DockerLayer}); err != nil {
			t.Fatal(err)
		}
	}
	return configured(t, out, func(f *v1.ConfigFile) { f.Config, f.History = config.Config, config.History })
}

func checkDerived(t *testing.T, user v1.Image, derived wrap.Derived, source wrap.Source) {
	t.Helper()
	img, manifest, config := pulled(t, derived.Reference)
	theirs, err := user.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs.Layers, manifest.Layers[:2], cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the user's layers: %s", diff)
	}
	for _, l := range manifest.Layers[2:] {
		if l.MediaType != theirs.Layers[0].MediaType {
			t.Errorf("a layer of type %s among those of type %s", l.MediaType, theirs.Layers[0].MediaType)
		}
	}
	if manifest.MediaType != theirs.MediaType || manifest.Config.MediaType != theirs.Config.MediaType {
		t.Errorf("types %s and %s, want %s and %s",
			manifest.MediaType, manifest.Config.MediaType, theirs.MediaType, theirs.Config.MediaType)
	}
	var hosts []string
	for _, l := range manifest.Layers[2:4] {
		hosts = append(hosts, l.Digest.String())
	}
	if len(manifest.Layers) != 5 || !slices.Equal(hosts, derived.HostLayers) {
		t.Errorf("host layers %v of %d layers, want %v of 5", hosts, len(manifest.Layers), derived.HostLayers)
	}
	want := v1.Config{
		Entrypoint: []string{"/.sockerless/init", "host"}, WorkingDir: "/",
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
		Env: []string{
			"AzureWebJobsScriptRoot=/.sockerless/home/site/wwwroot", "HOME=/.sockerless/home",
			"FUNCTIONS_WORKER_RUNTIME=custom", "AzureFunctionsJobHost__Logging__Console__IsEnabled=true",
		},
		Labels: map[string]string{
			"io.sockerless.azf.image": source.Image.String(), "io.sockerless.azf.recipe": "1",
			"io.sockerless.azf.image.digest":   source.Image.Digest().String(),
			"io.sockerless.azf.base.digest":    source.Base.Digest().String(),
			"io.sockerless.azf.handler.digest": derived.HandlerDigest, "io.sockerless.azf.handler": "2",
		},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration: %s", diff)
	}
	theirConfig, err := user.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	history := len(theirConfig.History) + 3
	if !config.Created.Equal(built) || len(config.History) != history || len(config.RootFS.DiffIDs) != 5 {
		t.Errorf("created %v, %d entries of history, %d diff ids",
			config.Created, len(config.History), len(config.RootFS.DiffIDs))
	}
	if derived.Tag != "w-"+strings.TrimPrefix(derived.Digest, "sha256:")[:24] {
		t.Errorf("tag %s", derived.Tag)
	}
	_, tagged, _ := pulled(t, strings.TrimSuffix(derived.Reference, "@"+derived.Digest)+":"+derived.Tag)
	if !reflect.DeepEqual(tagged, manifest) {
		t.Error("the tag names another manifest")
	}
	checkLastLayer(t, entries(t, img, 4), source)
}

func checkLastLayer(t *testing.T, got map[string]item, source wrap.Source) {
	t.Helper()
	modes := map[string]int64{}
	for name, i := range got {
		modes[name] = i.Mode
	}
	want := map[string]int64{
		".sockerless/": 0o755, ".sockerless/init": 0o755, ".sockerless/image.json": 0o644, ".sockerless/libs": 0o644,
		".sockerless/tmp/": 0o1777, ".sockerless/home/": 0o700, ".sockerless/home/site/": 0o755,
		".sockerless/home/site/wwwroot/": 0o755, ".sockerless/home/site/wwwroot/host.json": 0o644,
		".sockerless/home/site/wwwroot/run/": 0o755, ".sockerless/home/site/wwwroot/run/function.json": 0o644,
		".sockerless/home/site/wwwroot/runs/": 0o755, ".sockerless/home/site/wwwroot/runs/function.json": 0o644,
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Error(diff)
	}
	var image map[string]any
	if err := json.Unmarshal([]byte(got[".sockerless/image.json"].content), &image); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{
		"version": 1.0, "reference": source.Image.String(), "digest": source.Image.Digest().String(),
		"base": source.Base.String(), "config": map[string]any{
			"Env": []any{"A=b"}, "User": "app", "WorkingDir": "/work", "Entrypoint": []any{"/bin/app"},
			"Cmd": []any{"run"}, "StopSignal": "SIGINT",
		},
	}, image); diff != "" {
		t.Error(diff)
	}
	var host struct {
		CustomHandler struct {
			Description struct {
				DefaultExecutablePath string
				Arguments             []string
			}
			EnableForwardingHTTPRequest bool
		}
	}
	if err := json.Unmarshal([]byte(got[".sockerless/home/site/wwwroot/host.json"].content), &host); err != nil {
		t.Fatal(err)
	}
	d := host.CustomHandler.Description
	if d.DefaultExecutablePath != "/.sockerless/init" || !slices.Equal(d.Arguments, []string{"handler"}) ||
		!host.CustomHandler.EnableForwardingHTTPRequest {
		t.Errorf("%+v", host)
	}
}

func TestDeriveAtOnce(t *testing.T) {
	s := newShelf(t)
	source := wrap.Source{Image: s.put(t, "team/app", userImage(t)), Base: s.put(t, "functions/base", staticBase(t))}
	// Two wrappers, as two daemons have them.
	wrappers := []*wrap.Wrapper{newWrapper(t, s), newWrapper(t, s)}
	var derived [4]wrap.Derived
	var wait sync.WaitGroup
	for i := range derived {
		wait.Go(func() {
			var err error
			if derived[i], err = wrappers[i%2].Derive(t.Context(), source); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, d := range derived {
		if d.Digest != derived[0].Digest {
			t.Errorf("%s and %s", d.Digest, derived[0].Digest)
		}
	}
	checkDerived(t, userImage(t), derived[0], source)
}

// A registry that cannot mount gets the layers as uploads, at most Parallel at a time.
func TestDeriveWithoutMounts(t *testing.T) {
	s := newShelf(t)
	user := imageOf(t, userConfig, gzipLayer(t, file("a", random(t, 1<<20))), gzipLayer(t, file("b", random(t, 1<<20))))
	source := wrap.Source{Image: s.put(t, "team/app", user), Base: s.put(t, "functions/base", staticBase(t))}
	var now, most atomic.Int32
	s.intercepts(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Query().Has("mount"):
			refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "no mounts")
		case r.Method == http.MethodPatch:
			most.Store(max(most.Load(), now.Add(1)))
			s.handle(w, r)
			now.Add(-1)
		default:
			return false
		}
		return true
	})
	w := newWrapper(t, s, func(c *wrap.Config) { c.Parallel = 1 })
	derived, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	checkDerived(t, user, derived, source)
	if derived.MountedBlobs != 0 || derived.PushedBytes < 2<<20 || most.Load() != 1 {
		t.Errorf("%d mounted, %d bytes pushed, %d uploads at once", derived.MountedBlobs, derived.PushedBytes, most.Load())
	}
}

// Derive is cut off at each of its requests, before or after the registry has carried it out, and then repeated.
func TestDeriveCutOff(t *testing.T) {
	user, base := userImage(t), staticBase(t)
	for _, carriedOut := range []bool{false, true} {
		for n := 1; ; n++ {
			s := newShelf(t)
			source := wrap.Source{Image: s.put(t, "team/app", user), Base: s.put(t, "functions/base", base)}
			ctx, cancel := context.WithCancel(t.Context())
			s.intercepts(func(at int, _ http.ResponseWriter, r *http.Request) bool {
				if at < n {
					return false
				}
				if carriedOut && at == n {
					s.handle(discard{}, r)
				}
				cancel()
				panic(http.ErrAbortHandler)
			})
			temp := t.TempDir()
			own := func(c *wrap.Config) { c.TempDir = temp }
			_, err := newWrapper(t, s, own).Derive(ctx, source)
			cancel()
			s.intercepts(nil)
			if left := filesIn(t, temp); len(left) != 0 {
				t.Errorf("request %d: temporary files are left: %v", n, left)
			}
			derived, again := newWrapper(t, s).Derive(t.Context(), source)
			if again != nil {
				t.Fatalf("cut off at request %d, repeated: %v", n, again)
			}
			checkDerived(t, user, derived, source)
			s.Close()
			if err == nil {
				if n < 20 {
					t.Errorf("Derive has %d requests only", n-1)
				}
				break
			}
		}
	}
}

// discard is where an answer goes that nobody gets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
