package wrap_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/internal/wrap"
)

func TestPlan(t *testing.T) {
	plain := func(change func(*registry.Image)) registry.Image {
		image := registry.Image{Size: 5 << 30, Layers: make([]registry.Layer, 120)}
		image.Spec.OS, image.Spec.Architecture = "linux", "amd64"
		image.Spec.Config.Env = []string{"PATH=/bin"}
		change(&image)
		return image
	}
	for name, row := range map[string]struct {
		change func(*registry.Image)
		limits wrap.Limits
		needed bool
		kind   api.Kind
		text   string
	}{
		"needed": {change: func(*registry.Image) {}, needed: true},
		"function image": {change: func(i *registry.Image) {
			i.Spec.Config.Env, i.Layers = []string{"AzureWebJobsScriptRoot=/home"}, make([]registry.Layer, 121)
		}},
		"derived image": {change: func(i *registry.Image) {
			i.Spec.Config.Labels = map[string]string{"io.sockerless.azf.recipe": "1"}
		}},
		"arm64": {
			change: func(i *registry.Image) { i.Spec.Architecture = "arm64" }, kind: api.NotFound,
			text: "app:1 is for linux/arm64 only; Azure Functions runs linux/amd64",
		},
		"arm64 is the platform": {
			change: func(i *registry.Image) { i.Spec.Architecture = "arm64" }, needed: true,
			limits: wrap.Limits{Architecture: "arm64"},
		},
		"Windows": {
			change: func(i *registry.Image) { i.Spec.OS = "windows" }, kind: api.InvalidParameter,
			text: "app:1 is a Windows image",
		},
		"layers": {
			change: func(i *registry.Image) { i.Layers = make([]registry.Layer, 121) }, kind: api.InvalidParameter,
			text: "app:1 has 121 layers; at most 120 can be wrapped",
		},
		"size": {
			change: func(i *registry.Image) { i.Size = 9771050598 }, limits: wrap.Limits{MaxSize: 4 << 30},
			kind: api.InvalidParameter, text: "app:1 is 9.1 GiB compressed; wrap_max_size is 4 GiB",
		},
	} {
		t.Run(name, func(t *testing.T) {
			needed, err := wrap.Plan("app:1", plain(row.change), row.limits)
			check(t, err, row.kind, row.text)
			if err == nil && needed != row.needed {
				t.Errorf("needed: %v", needed)
			}
		})
	}
	check(t, wrap.NoRegistry("alpine:3.20"), api.InvalidParameter, "alpine:3.20 has no Azure Functions host, and no "+
		"registry is set to put a wrapped image into. Set registry and give this daemon AcrPush there, or build the image "+
		"FROM mcr.microsoft.com/azure-functions/base:4 (docs/images.md)")
}

// check compares an error; an empty text stands for none.
func check(t *testing.T, err error, kind api.Kind, text string) {
	t.Helper()
	if text == "" && err == nil {
		return
	}
	if text == "" || err == nil || err.Error() != text || api.KindOf(err) != kind {
		t.Errorf("error %v of kind %v, want %q of kind %v", err, api.KindOf(err), text, kind)
	}
}

// other is an architecture that is not this machine's.
var other = map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]

// indexOf returns an index of images.
func indexOf(entries ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), entries...)
}

func on(system, architecture string, img v1.Image) mutate.IndexAddendum {
	p := &v1.Platform{OS: system, Architecture: architecture}
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}}
}

func TestDeriveFromIndex(t *testing.T) {
	s := newShelf(t)
	user := userImage(t)
	foreign := configured(t, user, func(f *v1.ConfigFile) { f.Architecture = other })
	attestation := imageOf(t, v1.Config{}, gzipLayer(t, file("sbom", "x")))
	source := wrap.Source{
		Image: s.put(t, "team/app", indexOf(
			on("unknown", "unknown", attestation), on("linux", other, foreign),
			on("windows", runtime.GOARCH, attestation), on("linux", runtime.GOARCH, user),
		)),
		Base: s.put(t, "functions/base", staticBase(t)),
	}
	derived, err := newWrapper(t, s).Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	checkDerived(t, user, derived, source)
}

func TestSourcesThatAreRefused(t *testing.T) {
	user := userImage(t)
	many := make([]v1.Layer, 121)
	for i := range many {
		many[i] = gzipLayer(t, file("same", "same"))
	}
	deep := make([]v1.Layer, 10)
	for i := range deep[:9] {
		deep[i] = gzipLayer(t, file("etc/x", "x"))
	}
	deep[9] = gzipLayer(t, executable(hostProgram, program(t, "")))
	for name, row := range map[string]struct {
		source remote.Taggable
		base   v1.Image
		kind   api.Kind
		text   string
	}{
		"121 layers": {
			source: imageOf(t, userConfig, many...), kind: api.InvalidParameter,
			text: "IMAGE has 121 layers; at most 120 can be wrapped",
		},
		"too many with those of the base": {
			source: imageOf(t, userConfig, many[:115]...), base: imageOf(t, v1.Config{}, deep...),
			kind: api.InvalidParameter, text: "IMAGE has 115 layers; at most 114 can be wrapped",
		},
		"other platforms only": {
			source: indexOf(on("linux", other, user)), kind: api.NotFound,
			text: "no matching manifest for linux/" + runtime.GOARCH + " in the manifest list entries: " +
				"the platforms there are linux/" + other,
		},
		"other platform": {
			source: configured(t, user, func(f *v1.ConfigFile) { f.Architecture = other }), kind: api.NotFound,
			text: "IMAGE is for linux/" + other + " only; Azure Functions runs linux/" + runtime.GOARCH,
		},
		"Windows": {
			source: configured(t, user, func(f *v1.ConfigFile) { f.OS = "windows" }), kind: api.InvalidParameter,
			text: "IMAGE is a Windows image",
		},
		"too large": {
			source: imageOf(t, userConfig, gzipLayer(t, file("large", random(t, 5000)))), kind: api.InvalidParameter,
			text: "IMAGE is 5.", // KiB
		},
		"schema 1": {
			source: mutate.MediaType(user, types.DockerManifestSchema1Signed), kind: api.InvalidParameter,
			text: "IMAGE is not a container image: its media type is " +
				`"application/vnd.docker.distribution.manifest.v1+prettyjws"`,
		},
		"malformed": {
			source: configured(t, user, func(f *v1.ConfigFile) { f.RootFS.DiffIDs = nil }), kind: api.InvalidParameter,
			text: "IMAGE is not a valid image: it has 2 layers, and its configuration names 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			if row.base == nil {
				row.base = staticBase(t)
			}
			source := wrap.Source{Image: s.put(t, "team/app", row.source), Base: s.put(t, "functions/base", row.base)}
			w := newWrapper(t, s, func(c *wrap.Config) {
				if name == "too large" {
					c.Limits.MaxSize = 5000
				}
			})
			_, err := w.Derive(t.Context(), source)
			if err == nil || api.KindOf(err) != row.kind ||
				!strings.HasPrefix(err.Error(), strings.Replace(row.text, "IMAGE", source.Image.String(), 1)) {
				t.Errorf("%v of kind %v, want %s", err, api.KindOf(err), row.text)
			}
			if got := matching(s.requests(), writes+`.*/wrapped/`); len(got) != 0 {
				t.Errorf("something was pushed: %v", got)
			}
		})
	}
}

// withIdentity configures an Azure identity for a shelf. The exchange of its token, which needs TLS, is answered here.
func withIdentity(s *shelf, c *wrap.Config) {
	c.Registry = registry.New(registry.Config{
		Host: s.host(), Credential: azuretest.Credential{}, Transport: exchange{http.DefaultTransport},
	})
}

type exchange struct{ http.RoundTripper }

func (e exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/oauth2/exchange" {
		return e.RoundTripper.RoundTrip(r)
	}
	answer := httptest.NewRecorder()
	_, err := answer.WriteString(`{"refresh_token": "refresh-t0ken"}`)
	return answer.Result(), err
}

func TestRegistriesThatRefuse(t *testing.T) {
	const password = "pass-w0rd"
	deny := func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		refuse(w, http.StatusForbidden, "DENIED", "not with "+password)
		return true
	}
	fail := func(_ int, w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusBadGateway)
		}
		return r.Method == http.MethodPost
	}
	users := func(s *shelf, c *wrap.Config) {
		c.Registry = registry.New(registry.Config{Host: s.host(), Username: "user", Password: password})
	}
	identity := func(s *shelf, c *wrap.Config) {
		withIdentity(s, c)
		c.ClientID = func() string { return "1234-5678" }
	}
	for name, row := range map[string]struct {
		intercept interceptor
		config    func(*shelf, *wrap.Config)
		kind      api.Kind
		text      string
	}{
		"identity may not push": {
			deny, identity, api.Forbidden, "cannot push to HOST/sockerless/host: the identity 1234-5678 needs AcrPush",
		},
		"unnamed identity may not push": {
			deny, withIdentity, api.Forbidden, "cannot push to HOST/sockerless/host: the identity needs AcrPush",
		},
		"user may not push": {
			deny, users, api.Forbidden, "cannot push to HOST/sockerless/host: denied: not with ***: " +
				"the credentials for this registry need the right to do so",
		},
		"registry fails": {
			fail, users, api.Unavailable, "registry HOST gives no answer: HTTP status 502 Bad Gateway",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			source := wrap.Source{Image: s.put(t, "team/app", userImage(t)), Base: s.put(t, "functions/base", staticBase(t))}
			s.intercepts(func(n int, w http.ResponseWriter, r *http.Request) bool {
				if _, pass, _ := r.BasicAuth(); row.kind == api.Forbidden && pass != password && strings.Contains(row.text, "***") {
					w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
					refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "who are you?")
					return true
				}
				return row.intercept(n, w, r)
			})
			w := newWrapper(t, s, func(c *wrap.Config) { row.config(s, c) })
			_, err := w.Derive(t.Context(), source)
			check(t, err, row.kind, strings.ReplaceAll(row.text, "HOST", s.host()))
		})
	}
}

func TestRegistriesThatAreDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s := newShelf(t)
	source := wrap.Source{Image: s.put(t, "team/app", userImage(t)), Base: s.put(t, "functions/base", staticBase(t))}
	for name, row := range map[string]struct {
		source     wrap.Source
		repository string
	}{
		"ours":       {source, down + "/sockerless"},
		"the user's": {wrap.Source{Image: moved(t, source.Image, down), Base: source.Base}, s.host() + "/sockerless"},
		"the base's": {wrap.Source{Image: source.Image, Base: moved(t, source.Base, down)}, s.host() + "/sockerless"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWrapper(t, s, func(c *wrap.Config) { c.Repository = row.repository })
			_, err := w.Derive(t.Context(), row.source)
			want := "registry " + down + " gives no answer: "
			if api.KindOf(err) != api.Unavailable || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The user's registry fails when its layers are read, which are not to be blamed on ours.
func TestSourceThatFails(t *testing.T) {
	theirs, ours := newShelf(t), newShelf(t)
	user := userImage(t)
	source := wrap.Source{Image: theirs.put(t, "team/app", user), Base: ours.put(t, "functions/base", staticBase(t))}
	layer := hash(t, layerAt(t, user, 0))
	theirs.intercepts(func(_ int, w http.ResponseWriter, r *http.Request) bool {
		fails := strings.HasSuffix(r.URL.Path, layer)
		if fails {
			w.WriteHeader(http.StatusBadGateway)
		}
		return fails
	})
	w := newWrapper(t, ours)
	_, err := w.Derive(t.Context(), source)
	check(t, err, api.Unavailable, "registry "+theirs.host()+" gives no answer: HTTP status 502 Bad Gateway")
	theirs.intercepts(nil)
	derived, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	checkDerived(t, user, derived, source)
}
