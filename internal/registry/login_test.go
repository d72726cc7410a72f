package registry

import (
	"net/http"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

func TestLogin(t *testing.T) {
	images := shelf(t)
	hosts := make(chan string, 100)
	bearer := network(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host
		bearerLock(images).ServeHTTP(w, r)
	}))
	basic := network(t, basicLock(images))
	down := network(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	for name, row := range map[string]struct {
		transport http.RoundTripper
		auth      api.AuthConfig
		kind      api.Kind
		text      string
	}{
		"right":        {bearer, api.AuthConfig{Username: "user", Password: password}, 0, ""},
		"right, auth":  {bearer, api.AuthConfig{Auth: basicValue, ServerAddress: "https://index.docker.io/v1/"}, 0, ""},
		"right, token": {bearer, api.AuthConfig{IdentityToken: refreshToken, ServerAddress: "docker.io"}, 0, ""},
		"wrong": {
			bearer, api.AuthConfig{Username: "user", Password: accessToken}, api.Unauthorized,
			"login to index.docker.io failed: unauthorized: incorrect ***",
		},
		"right, basic": {
			basic, api.AuthConfig{Username: "user", Password: password, ServerAddress: "https://registry.example.com:5000"},
			0, "",
		},
		"wrong, basic": {
			basic, api.AuthConfig{Username: "user", Password: aadToken, ServerAddress: "registry.example.com"},
			api.Unauthorized,
			"login to registry.example.com failed: unauthorized: who are you, Basic *** ***?: check user name and password",
		},
		"none": {
			basic, api.AuthConfig{ServerAddress: "registry.example.com"}, api.InvalidParameter,
			"no credentials for registry.example.com",
		},
		"not a registry": {
			basic, api.AuthConfig{Username: "user", ServerAddress: "a b"}, api.InvalidParameter,
			`server address "a b" is not a registry`,
		},
		"registry is down": {
			down, api.AuthConfig{Username: "user", Password: password}, api.Unavailable,
			"registry index.docker.io gives no answer: HTTP status 502 Bad Gateway",
		},
		"auth is not base64": {basic, api.AuthConfig{Auth: "%"}, api.InvalidParameter, "is not user:password"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New(Config{Transport: row.transport}).Login(t.Context(), row.auth)
			noSecrets(t, err)
			check(t, err, row.kind, row.text)
		})
	}
	close(hosts)
	for host := range hosts {
		if host != "index.docker.io" {
			t.Errorf("called %s", host)
		}
	}
}
