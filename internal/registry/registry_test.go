package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
)

// basicValue is the value of user and password in the Authorization header.
var basicValue = base64.StdEncoding.EncodeToString([]byte("user:" + password))

func resolve(t *testing.T, cfg Config, ref string, auth api.AuthConfig, platform string) (Image, error) {
	t.Helper()
	named, err := api.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, err := New(cfg).Resolve(t.Context(), named, auth, platform)
	noSecrets(t, err)
	return image, err
}

// check compares an error with its kind and a part of its message; an empty text expects no error.
func check(t *testing.T, err error, kind api.Kind, text string) {
	t.Helper()
	if text == "" && err == nil {
		return
	}
	if text == "" || err == nil || api.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (kind %d), want %q (kind %d)", err, api.KindOf(err), text, kind)
	}
}

func TestResolve(t *testing.T) {
	transport := network(t, shelf(t))
	cfg := Config{Transport: transport}
	got, err := resolve(t, cfg, "registry.example.com/team/app:1", api.AuthConfig{}, "")
	if err != nil {
		t.Fatal(err)
	}
	c := got.Spec.Config
	if diff := cmp.Diff([]any{
		[]string{"A=b"}, []string{"run"}, []string{"/bin/app"}, "/work",
		map[string]string{"team": "x"}, map[string]struct{}{"80/tcp": {}}, "linux", "amd64", built, 3, 2,
	}, []any{
		c.Env, c.Cmd, c.Entrypoint, c.WorkingDir,
		c.Labels, c.ExposedPorts, got.Spec.OS, got.Spec.Architecture, *got.Spec.Created,
		len(got.Spec.History), len(got.Spec.RootFS.DiffIDs),
	}); diff != "" {
		t.Error(diff)
	}
	if len(got.Layers) != 2 || !strings.HasPrefix(got.Layers[0].Digest, "sha256:") {
		t.Fatalf("layers %v", got.Layers)
	}
	if got.Size <= got.Layers[0].Size+got.Layers[1].Size {
		t.Errorf("layers %v, size %d", got.Layers, got.Size)
	}
	byDigest, err := resolve(t, cfg, "registry.example.com/team/app@"+got.Digest, api.AuthConfig{}, "")
	if diff := cmp.Diff(got, byDigest); err != nil || diff != "" {
		t.Errorf("by digest: %v %s", err, diff)
	}
}

func TestPlatforms(t *testing.T) {
	transport := network(t, shelf(t))
	for _, row := range []struct {
		image, platform string
		want            string
		kind            api.Kind
		text            string
	}{
		{"multi:1", "", "amd64", 0, ""},
		{"multi:1", "linux/amd64", "amd64", 0, ""},
		{"multi:1", "linux/arm64", "arm64", 0, ""},
		{"multi:1", "Linux/ARM64/v8", "arm64", 0, ""},
		{
			"multi:1", "linux/s390x", "", api.NotFound,
			"no matching manifest for linux/s390x in the manifest list entries: " +
				"the platforms there are linux/arm64/v8, linux/amd64",
		},
		{"arm:1", "", "arm64", 0, ""},
		{"arm:1", "linux/arm64", "arm64", 0, ""},
		{
			"arm:1", "linux/amd64", "", api.NotFound,
			"registry.example.com/team/arm:1 was found but does not match the specified platform: " +
				"wanted linux/amd64, actual: linux/arm64/v8",
		},
		{"app:1", "amd64", "", api.InvalidParameter, `invalid platform "amd64": use os/arch`},
		{"app:1", "linux/amd64/v1/x", "", api.InvalidParameter, "invalid platform"},
		{
			"chart:1", "", "", api.InvalidParameter,
			"registry.example.com/team/chart:1 is not a container image: " +
				"the media type of its configuration is \"application/vnd.cncf.helm",
		},
		{
			"old:1", "", "", api.InvalidParameter,
			"is not a container image: its media type is \"application/vnd.docker.distribution.manifest.v1",
		},
	} {
		ref := "registry.example.com/team/" + row.image
		got, err := resolve(t, Config{Transport: transport}, ref, api.AuthConfig{}, row.platform)
		check(t, err, row.kind, row.text)
		if got.Spec.Architecture != row.want {
			t.Errorf("%s on %q: got %s", row.image, row.platform, got.Spec.Architecture)
		}
	}
}

func TestCredentials(t *testing.T) {
	images := shelf(t)
	basic, bearer := network(t, basicLock(images)), network(t, bearerLock(images))
	azure := func(status int, anonymous bool) *http.Transport {
		return network(t, azureLock{images, status, anonymous})
	}
	const denied = "repository does not exist or may require 'docker login': "
	down := errors.New("the identity has no home\nPOST https://login/ body=" + aadToken)
	for name, row := range map[string]struct {
		cfg  Config
		host string
		auth api.AuthConfig
		kind api.Kind
		text string
	}{
		"basic, given": {
			cfg: Config{Transport: basic}, auth: api.AuthConfig{Username: "user", Password: password},
		},
		"basic, given as auth": {cfg: Config{Transport: basic}, auth: api.AuthConfig{Auth: basicValue}},
		"basic, auth is not base64": {
			cfg: Config{Transport: basic}, auth: api.AuthConfig{Auth: password + "!"}, kind: api.InvalidParameter,
			text: "is not user:password in base64",
		},
		"basic, auth has no colon": {
			cfg: Config{Transport: basic}, auth: api.AuthConfig{Auth: base64.StdEncoding.EncodeToString([]byte(password))},
			kind: api.InvalidParameter, text: "is not user:password in base64",
		},
		"basic, wrong": {
			cfg: Config{Transport: basic}, auth: api.AuthConfig{Username: "other", Password: password}, kind: api.NotFound,
			text: denied + "unauthorized: who are you, Basic *** ***?",
		},
		"basic, anonymous": {
			cfg: Config{Transport: basic}, kind: api.NotFound,
			text: "pull access denied for registry.example.com/team/app, " + denied + "unauthorized: who are you",
		},
		"basic, configured": {
			cfg: Config{Transport: basic, Host: "Registry.example.com", Username: "user", Password: password},
		},
		"basic, configured elsewhere": {
			cfg:  Config{Transport: basic, Host: "other.example.com", Username: "user", Password: password},
			kind: api.NotFound, text: denied,
		},
		"basic, given comes first": {
			cfg:  Config{Transport: basic, Host: "registry.example.com", Username: "user", Password: "old"},
			auth: api.AuthConfig{Username: "user", Password: password},
		},
		"bearer, given": {
			cfg: Config{Transport: bearer}, auth: api.AuthConfig{Username: "user", Password: password},
		},
		"bearer, identity token": {cfg: Config{Transport: bearer}, auth: api.AuthConfig{IdentityToken: refreshToken}},
		"bearer, registry token": {cfg: Config{Transport: bearer}, auth: api.AuthConfig{RegistryToken: accessToken}},
		"bearer, wrong": {
			cfg: Config{Transport: bearer}, auth: api.AuthConfig{Username: "other", Password: password}, kind: api.NotFound,
			text: denied + "unauthorized: incorrect ***",
		},
		"bearer, wrong token": {
			cfg: Config{Transport: bearer}, auth: api.AuthConfig{IdentityToken: aadToken}, kind: api.NotFound,
			text: denied + "unauthorized: incorrect ***",
		},
		"bearer, wrong access token": {
			cfg: Config{Transport: bearer}, auth: api.AuthConfig{RegistryToken: aadToken}, kind: api.NotFound,
			text: denied + "unauthorized: no token, or Bearer ***",
		},

		"azure, identity": {
			cfg: Config{Transport: azure(200, false), Credential: credential(nil)}, host: "acme.azurecr.io",
		},
		"azure, China": {
			cfg:  Config{Transport: azure(200, false), Credential: credential(nil), AzureSuffix: "azurecr.cn"},
			host: "acme.azurecr.cn",
		},
		"azure, another cloud": {
			cfg:  Config{Transport: azure(200, false), Credential: credential(nil), AzureSuffix: "azurecr.us"},
			host: "acme.azurecr.io", kind: api.NotFound, text: denied + "unauthorized: authentication required",
		},
		"azure, configured host": {
			cfg: Config{Transport: azure(200, false), Credential: credential(nil), Host: "registry.example.com"},
		},
		"azure, another host": {
			cfg: Config{Transport: azure(200, false), Credential: credential(nil)}, kind: api.NotFound,
			text: denied + "unauthorized: authentication required",
		},
		"azure, no identity": {
			cfg: Config{Transport: azure(200, false)}, host: "acme.azurecr.io", kind: api.NotFound,
			text: denied + "unauthorized: authentication required",
		},
		"azure, public": {cfg: Config{Transport: azure(200, true)}, host: "acme.azurecr.io"},
		"azure, no token, public": {
			cfg: Config{Transport: azure(200, true), Credential: credential(down)}, host: "acme.azurecr.io",
		},
		"azure, refused, public": {
			cfg: Config{Transport: azure(403, true), Credential: credential(nil)}, host: "acme.azurecr.io",
		},
		"azure, no token": {
			cfg: Config{Transport: azure(200, false), Credential: credential(down)}, host: "acme.azurecr.io",
			kind: api.NotFound,
			text: "authentication required (asked anonymously, as the daemon's identity was refused: " +
				"it got no token from Azure: the identity has no home)",
		},
		"azure, refused": {
			cfg: Config{Transport: azure(403, false), Credential: credential(nil)}, host: "acme.azurecr.io", kind: api.NotFound,
			text: "the daemon's identity was refused: the registry gave it no token: denied: not with ***)",
		},
		"azure, exchange is down": {
			cfg: Config{Transport: azure(503, true), Credential: credential(nil)}, host: "acme.azurecr.io",
			kind: api.Unavailable, text: "registry acme.azurecr.io gives no answer: denied: not with ***",
		},
		"azure, exchange is elsewhere": {
			cfg: Config{Transport: azure(307, false), Credential: credential(nil)}, host: "acme.azurecr.io", kind: api.NotFound,
			text: "the registry gave it no token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if row.host == "" {
				row.host = "registry.example.com"
			}
			if row.cfg.AzureSuffix == "" {
				row.cfg.AzureSuffix = "azurecr.io"
			}
			_, err := resolve(t, row.cfg, row.host+"/team/app:1", row.auth, "")
			check(t, err, row.kind, row.text)
		})
	}
}

func TestAnswers(t *testing.T) {
	images := shelf(t)
	status := func(status int, code, message string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				refuse(w, status, code, message)
			}
		})
	}
	page := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
		})
	}
	for name, row := range map[string]struct {
		handler http.Handler
		ref     string
		kind    api.Kind
		text    string
	}{
		"no such tag": {
			images, "registry.example.com/team/app:2", api.NotFound,
			"manifest for registry.example.com/team/app:2 not found: manifest unknown: Unknown manifest",
		},
		"no such repository": {
			images, "registry.example.com/team/none", api.NotFound,
			"manifest for registry.example.com/team/none:latest not found: name unknown: Unknown name",
		},
		"Docker Hub": {
			images, "alpine", api.NotFound, "manifest for alpine:latest not found: name unknown: Unknown name",
		},
		"forbidden": {
			status(403, "DENIED", "requested access to the resource is denied"), "acme/app", api.NotFound,
			"pull access denied for acme/app, repository does not exist or may require 'docker login': " +
				"denied: requested access to the resource is denied",
		},
		"too many requests": {
			status(429, "TOOMANYREQUESTS", "slow down"), "acme/app", api.Unavailable,
			"registry index.docker.io gives no answer: toomanyrequests: slow down",
		},
		"no access now": {
			status(503, "UNAVAILABLE", "back soon"), "acme/app", api.Unavailable, "unavailable: back soon",
		},
		"broken":      {status(500, "DENIED", "by mistake"), "acme/app", api.Unavailable, "denied: by mistake"},
		"no registry": {page(404), "example.com/app", api.Unavailable, "it is not a registry: GET /v2/ is not found"},
		"a web page": {
			page(200), "example.com/app", api.Unavailable, `it answers with "text/html" in place of a manifest`,
		},
		"an odd status": {page(418), "example.com/app", api.Unavailable, "HTTP status 418 I'm a teapot"},
		"a long answer": {status(403, "DENIED", strings.Repeat("ä", 1000)), "acme/app", api.NotFound, "ä..."},
		"a token service without tokens": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				respond(w, map[string]string{"refresh_token": refreshToken})
				return
			}
			bearerLock(images).ServeHTTP(w, r)
		}), "example.com/app", api.Unavailable, "no token in bearer response:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resolve(t, Config{Transport: network(t, row.handler)}, row.ref, api.AuthConfig{}, "")
			check(t, err, row.kind, row.text)
		})
	}
}

func TestNoAnswer(t *testing.T) {
	images := shelf(t)
	closed := httptest.NewTLSServer(images)
	address := strings.TrimPrefix(closed.URL, "https://")
	closed.Close()
	_, err := resolve(t, Config{}, address+"/team/app:1", api.AuthConfig{}, "")
	check(t, err, api.Unavailable, "registry "+address+" gives no answer: dial tcp")

	untrusted := network(t, images)
	untrusted.TLSClientConfig.RootCAs = nil
	_, err = resolve(t, Config{Transport: untrusted}, "registry.example.com/team/app:1", api.AuthConfig{}, "")
	check(t, err, api.Unavailable, "certificate")

	slow := network(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	impatient := Config{Transport: slow, Timeout: time.Millisecond}
	_, err = resolve(t, impatient, "registry.example.com/team/app:1", api.AuthConfig{}, "")
	check(t, err, api.Unavailable, "registry registry.example.com gives no answer: it took too long")

	// The caller may leave: then the error does not blame the registry.
	asked, left := make(chan struct{}, 10), errors.New("left")
	slow = network(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	ctx, leave := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		leave(left)
	}()
	named, err := api.ParseReference("registry.example.com/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(Config{Transport: slow}).Resolve(ctx, named, api.AuthConfig{}, "")
	if !errors.Is(err, left) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

// TestPlainHTTP offers a registry without TLS at a private address: no call may reach it, with or without
// credentials.
func TestPlainHTTP(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	transport := network(t, nil)
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	auth := api.AuthConfig{Username: "user", Password: password}
	_, err := resolve(t, Config{Transport: transport}, "10.1.2.3:5000/team/app:1", auth, "")
	check(t, err, api.Unavailable, "HTTP response to HTTPS client")
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls in plain text", n)
	}
}
