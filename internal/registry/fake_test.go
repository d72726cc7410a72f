package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// Secrets of the tests. No error may show one of them.
const (
	password     = "pass-w0rd"
	aadToken     = "aad-t0ken"
	refreshToken = "refresh-t0ken"
	accessToken  = "access-t0ken"
)

// network returns a transport with which every host name reaches one TLS server.
func network(t *testing.T, handler http.Handler) *http.Transport {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	transport, ok := srv.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the test server's transport is of another kind")
	}
	transport.TLSClientConfig.ServerName = "example.com" // the name in the server's certificate
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	return transport
}

// shelf returns a registry with images that requires no authentication. Tests put locks before it.
func shelf(t *testing.T) http.Handler {
	t.Helper()
	handler := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	transport := network(t, handler)
	push := func(tag string, put func(name.Reference, ...remote.Option) error) {
		ref, err := name.ParseReference("registry.example.com/team/" + tag)
		if err == nil {
			err = put(ref, remote.WithTransport(transport), remote.WithContext(t.Context()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	arm := image(t, v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"})
	amd := image(t, v1.Platform{OS: "linux", Architecture: "amd64"})
	entry := func(img v1.Image, p v1.Platform) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}}
	}
	index := mutate.AppendManifests(empty.Index,
		entry(arm, v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}),
		entry(amd, v1.Platform{OS: "linux", Architecture: "amd64"}),
		entry(image(t, v1.Platform{}), v1.Platform{OS: "unknown", Architecture: "unknown"}),
	)
	push("app:1", func(r name.Reference, o ...remote.Option) error { return remote.Write(r, amd, o...) })
	push("arm:1", func(r name.Reference, o ...remote.Option) error { return remote.Write(r, arm, o...) })
	push("multi:1", func(r name.Reference, o ...remote.Option) error { return remote.WriteIndex(r, index, o...) })
	chart := mutate.ConfigMediaType(amd, "application/vnd.cncf.helm.config.v1+json")
	push("chart:1", func(r name.Reference, o ...remote.Option) error { return remote.Write(r, chart, o...) })
	old := mutate.MediaType(amd, types.DockerManifestSchema1Signed)
	push("old:1", func(r name.Reference, o ...remote.Option) error { return remote.Write(r, old, o...) })
	return handler
}

var built = time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)

// image returns an image with two layers, whose configuration sets every part that Resolve reads.
func image(t *testing.T, p v1.Platform) v1.Image {
	t.Helper()
	img, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Created = v1.Time{Time: built}
	config.Config = v1.Config{
		Env: []string{"A=b"}, Cmd: []string{"run"}, Entrypoint: []string{"/bin/app"}, WorkingDir: "/work",
		Labels: map[string]string{"team": "x"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	config.History = []v1.History{
		{CreatedBy: "COPY a", Created: v1.Time{Time: built}}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "COPY b"},
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// refuse answers with an error in the form of the specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	diagnostic := map[string]string{"code": code, "message": message}
	if err := json.NewEncoder(w).Encode(map[string]any{"errors": []any{diagnostic}}); err != nil {
		panic(err)
	}
}

func respond(w http.ResponseWriter, body map[string]string) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

// basicLock admits user with the password.
func basicLock(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "user" || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			message := "who are you, " + r.Header.Get("Authorization") + " " + pass + "?"
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", message)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bearerLock admits requests with a token. It issues the token for user's password and for the refresh token.
func bearerLock(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token":
			if user == "user" && pass == password || r.PostFormValue("refresh_token") == refreshToken {
				respond(w, map[string]string{"token": accessToken})
				return
			}
			message := "incorrect " + pass + r.PostFormValue("refresh_token") + r.Header.Get("Authorization")
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", message)
		case r.Header.Get("Authorization") == "Bearer "+accessToken:
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="s"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "no token, or "+r.Header.Get("Authorization"))
		}
	})
}

// azureLock is an Azure Container Registry. An exchange answers with exchangeStatus. anonymous permits anonymous
// pulls.
type azureLock struct {
	next           http.Handler
	exchangeStatus int
	anonymous      bool
}

func (l azureLock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/oauth2/exchange":
		if l.exchangeStatus != http.StatusOK {
			refuse(w, l.exchangeStatus, "DENIED", "not with "+r.PostFormValue("access_token"))
			return
		}
		if r.Method != http.MethodPost || r.PostFormValue("grant_type") != "access_token" ||
			r.PostFormValue("service") != r.Host || r.PostFormValue("access_token") != aadToken {
			refuse(w, http.StatusBadRequest, "UNSUPPORTED", "malformed exchange")
			return
		}
		respond(w, map[string]string{"refresh_token": refreshToken})
	case r.URL.Path == "/oauth2/token":
		refresh := r.Method == http.MethodPost && r.PostFormValue("refresh_token") == refreshToken
		if refresh || r.Method == http.MethodGet && l.anonymous {
			respond(w, map[string]string{"access_token": accessToken})
			return
		}
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case r.Header.Get("Authorization") == "Bearer "+accessToken:
		l.next.ServeHTTP(w, r)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/oauth2/token",service="`+r.Host+`"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	}
}

// credential returns an Azure credential that gives a token for registries, or the error.
func credential(err error) azuretest.Credential {
	return azuretest.Credential{Token: aadToken, Scope: "https://containerregistry.azure.net/.default", Err: err}
}

// noSecrets fails the test when an error, or one that it wraps, shows a secret.
func noSecrets(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, secret := range []string{password, aadToken, refreshToken, accessToken, basicValue} {
			if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, secret) {
				t.Errorf("secret in error: %s", text)
			}
		}
	}
}
