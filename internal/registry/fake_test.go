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

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Secrets of the tests. None may ever be seen.
const (
	password     = "pass-w0rd"
	aadToken     = "aad-t0ken"
	refreshToken = "refresh-t0ken"
	accessToken  = "access-t0ken"
)

// network is a transport under which every host name reaches one TLS server.
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
	transport.TLSClientConfig.ServerName = "example.com" // which the server's certificate is for
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	return transport
}

// shelf is a registry that holds images, open to everyone; tests put locks before it.
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
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: image(t, v1.Platform{}), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
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

// image is one of two layers, whose configuration says something in every part.
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
	config.OS, config.Architecture, config.Variant, config.Created = p.OS, p.Architecture, p.Variant, v1.Time{Time: built}
	config.Config = v1.Config{
		Env: []string{"A=b"}, Cmd: []string{"run"}, Entrypoint: []string{"/bin/app"}, WorkingDir: "/work",
		Labels: map[string]string{"team": "x"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	config.History = []v1.History{{CreatedBy: "COPY a", Created: v1.Time{Time: built}}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "COPY b"}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// refuse answers in the form of the specification.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code, "message": message}}}); err != nil {
		panic(err)
	}
}

func respond(w http.ResponseWriter, body map[string]string) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

// basicLock lets user in.
func basicLock(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "user" || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "who are you, "+r.Header.Get("Authorization")+" "+pass+"?")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bearerLock lets those in who have a token, which user gets, and for which a refresh token is taken too.
func bearerLock(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token" && (user == "user" && pass == password || r.PostFormValue("refresh_token") == refreshToken):
			respond(w, map[string]string{"token": accessToken})
		case r.URL.Path == "/token":
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect "+pass+r.PostFormValue("refresh_token")+r.Header.Get("Authorization"))
		case r.Header.Get("Authorization") == "Bearer "+accessToken:
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token",service="s"`)
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "no token, or "+r.Header.Get("Authorization"))
		}
	})
}

// azureLock is an Azure Container Registry. An exchange answers with exchangeStatus; anonymous tells whether everyone may pull.
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
		if r.Method != http.MethodPost || r.PostFormValue("grant_type") != "access_token" || r.PostFormValue("service") != r.Host || r.PostFormValue("access_token") != aadToken {
			refuse(w, http.StatusBadRequest, "UNSUPPORTED", "malformed exchange")
			return
		}
		respond(w, map[string]string{"refresh_token": refreshToken})
	case r.URL.Path == "/oauth2/token" && (r.Method == http.MethodPost && r.PostFormValue("refresh_token") == refreshToken || r.Method == http.MethodGet && l.anonymous):
		respond(w, map[string]string{"access_token": accessToken})
	case r.URL.Path == "/oauth2/token":
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case r.Header.Get("Authorization") == "Bearer "+accessToken:
		l.next.ServeHTTP(w, r)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/oauth2/token",service="`+r.Host+`"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	}
}

// credential is an Azure credential that gives a token or an error.
type credential struct{ err error }

func (c credential) GetToken(_ context.Context, opts policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c.err != nil {
		return azcore.AccessToken{}, c.err
	}
	if fmt.Sprint(opts.Scopes) != "[https://containerregistry.azure.net/.default]" {
		return azcore.AccessToken{}, errors.New("asked for another scope")
	}
	return azcore.AccessToken{Token: aadToken}, nil
}

// noSecrets fails when an error, or anything that it wraps, shows a secret.
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
