package registry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/api"
)

// Calls of one session at once share one exchange of the identity's token, and may push with it.
func TestSession(t *testing.T) {
	images := shelf(t)
	var exchanges atomic.Int32
	transport := network(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/exchange" {
			exchanges.Add(1)
		}
		azureLock{next: images, exchangeStatus: http.StatusOK}.ServeHTTP(w, r)
	}))
	c := New(Config{Host: "registry.example.com", Credential: credential(nil), Transport: transport})
	named, err := reference.ParseNormalizedNamed("registry.example.com/team/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(named, api.AuthConfig{})
	if err != nil {
		t.Fatal(err)
	}
	to, err := name.ParseReference("registry.example.com/team/copy:1")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			img, err := s.Image(t.Context(), named, "linux/amd64")
			if err == nil {
				err = remote.Write(to, img, s.Options(t.Context())...)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := exchanges.Load(); n != 1 {
		t.Errorf("%d exchanges", n)
	}
	_, err = s.Image(t.Context(), named, "linux/s390x")
	check(t, err, api.NotFound, "no matching manifest for linux/s390x")
}

// The registry answers with the credentials that it got.
func TestWriteErrorsShowNoSecrets(t *testing.T) {
	transport := network(t, basicLock(nil))
	for text, c := range map[string]*Client{
		"cannot push to registry.example.com/team/app: the identity 1-2 needs AcrPush (asked anonymously, as the daemon's " +
			"identity was refused: ": New(Config{
			Host: "registry.example.com", Credential: credential(nil), Transport: transport,
		}),
		"cannot push to registry.example.com/team/app: unauthorized: who are you, Basic *** ***?": New(Config{
			Host: "registry.example.com", Username: "user", Password: aadToken, Transport: transport,
		}),
	} {
		named, err := reference.ParseNormalizedNamed("registry.example.com/team/app")
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Open(named, api.AuthConfig{})
		if err != nil {
			t.Fatal(err)
		}
		to, err := name.ParseReference("registry.example.com/team/app:1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = remote.Get(to, s.Options(t.Context())...)
		err = s.WriteError(t.Context(), named, "push to", "AcrPush", "1-2", err)
		noSecrets(t, err)
		check(t, err, api.Forbidden, text)
	}
}
