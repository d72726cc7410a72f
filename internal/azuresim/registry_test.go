package azuresim_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
)

func TestPrivateRegistry(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := appimage.Push(t.Context(), a.Registry()+"/team/app:1", img, a.cloud.Transport); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference("team.azurecr.io/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	get := func(auth authn.Authenticator) error {
		_, err := remote.Get(ref,
			remote.WithAuth(auth), remote.WithTransport(a.cloud.Transport), remote.WithContext(t.Context()))
		return err
	}
	exchange := func(audience string) (status int, token string) {
		t.Helper()
		resp, err := a.client.PostForm("https://team.azurecr.io/oauth2/exchange", url.Values{
			"grant_type": {"access_token"}, "service": {"team.azurecr.io"}, "access_token": {a.tokenFor(audience)},
		})
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Token string `json:"refresh_token"`
		}
		if err := errors.Join(json.NewDecoder(resp.Body).Decode(&body), resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body.Token
	}
	status, token := exchange("https://containerregistry.azure.net")
	if err := get(authn.FromConfig(authn.AuthConfig{IdentityToken: token})); status != http.StatusOK || err != nil {
		t.Errorf("with an identity: %d, %v", status, err)
	}
	identity := authn.FromConfig(authn.AuthConfig{IdentityToken: token})
	push := func(tag string) error {
		return remote.Write(ref.Context().Tag(tag), img,
			remote.WithAuth(identity), remote.WithTransport(a.cloud.Transport), remote.WithContext(t.Context()))
	}
	if err := push("2"); err != nil {
		t.Errorf("with AcrPush: %v", err)
	}
	a.Deny("Microsoft.ContainerRegistry/registries/push/write")
	refused, ok := errors.AsType[*transport.Error](push("3"))
	if !ok || refused.StatusCode != http.StatusUnauthorized || get(identity) != nil {
		t.Errorf("without AcrPush: %v", refused)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	remove := func(ref name.Reference) error {
		return remote.Delete(ref,
			remote.WithAuth(identity), remote.WithTransport(a.cloud.Transport), remote.WithContext(t.Context()))
	}
	a.Deny("Microsoft.ContainerRegistry/registries/artifacts/delete")
	refused, ok = errors.AsType[*transport.Error](remove(ref.Context().Digest(digest.String())))
	if !ok || refused.StatusCode != http.StatusUnauthorized || get(identity) != nil {
		t.Errorf("without AcrDelete: %v", refused)
	}
	a.Allow()
	if err := push("3"); err != nil {
		t.Error(err)
	}
	if err := remove(ref.Context().Tag("3")); err != nil || get(identity) != nil {
		t.Errorf("one tag is deleted: %v", err)
	}
	if err := remove(ref.Context().Digest(digest.String())); err != nil {
		t.Errorf("with AcrDelete: %v", err)
	}
	// With a manifest, all its tags go.
	refused, ok = errors.AsType[*transport.Error](get(identity))
	if !ok || refused.StatusCode != http.StatusNotFound {
		t.Errorf("the image is still there: %v", refused)
	}
	if status, _ := exchange(a.URL()); status != http.StatusUnauthorized {
		t.Errorf("a token for Resource Manager is exchanged: %d", status)
	}
	for who, auth := range map[string]authn.Authenticator{
		"anonymous": authn.Anonymous, "a password": &authn.Basic{Username: "u", Password: "p"},
		"another registry's token": authn.FromConfig(authn.AuthConfig{IdentityToken: "x" + token}),
	} {
		refused, ok := errors.AsType[*transport.Error](get(auth))
		if !ok || refused.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %v", who, refused)
		}
	}
}

func TestProxyLeadsToTheSimulatorOnly(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	proxy, err := url.Parse(a.ProxyURL())
	if err != nil {
		t.Fatal(err)
	}
	through := a.cloud.Transport.Clone()
	t.Cleanup(through.CloseIdleConnections)
	through.Proxy, through.DialContext = http.ProxyURL(proxy), nil
	get := func(address string) (int, error) {
		resp, err := (&http.Client{Transport: through}).Get(address)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if status, err := get("https://team.azurecr.io/v2/"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("a registry: %d, %v", status, err)
	}
	for address, want := range map[string]string{
		"https://none.azurewebsites.net/": "Bad Gateway", "https://example.com/": "Forbidden",
	} {
		if _, err := get(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", address, err)
		}
	}
	if status, err := get("http://example.com/"); err != nil || status != http.StatusForbidden {
		t.Errorf("without TLS: %d, %v", status, err)
	}
}

// TestRepositoriesHaveTheirOwnBlobs mounts a blob from one repository in another.
func TestRepositoriesHaveTheirOwnBlobs(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := appimage.Push(t.Context(), a.Registry()+"/team/app:1", img, a.cloud.Transport); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path string, body []byte) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+a.Registry()+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", string(types.DockerManifestSchema2))
		res, err := a.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
		return res.StatusCode
	}
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		method, path string
		body         []byte
		status       int
	}{
		{"HEAD", "/v2/team/app/blobs/" + layer.String(), nil, 200},
		{"HEAD", "/v2/other/app/blobs/" + layer.String(), nil, 404},
		{"PUT", "/v2/other/app/manifests/1", manifest, 400},
		{"POST", "/v2/other/app/blobs/uploads/?from=none&mount=" + layer.String(), nil, 202},
		{"HEAD", "/v2/other/app/blobs/" + layer.String(), nil, 404},
		{"POST", "/v2/other/app/blobs/uploads/?from=team/app&mount=" + layer.String(), nil, 201},
		{"HEAD", "/v2/other/app/blobs/" + layer.String(), nil, 200},
		{"PUT", "/v2/other/app/manifests/1", manifest, 400},
		{"POST", "/v2/other/app/blobs/uploads/?from=team/app&mount=" + config.String(), nil, 201},
		{"PUT", "/v2/other/app/manifests/1", manifest, 201},
	} {
		if status := send(row.method, row.path, row.body); status != row.status {
			t.Errorf("%s %s: got %d, want %d", row.method, row.path, status, row.status)
		}
	}
}

// TestBaseImage pulls what stands for Microsoft's base image.
func TestBaseImage(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	ref, err := name.ParseReference(a.Registry() + "/azure-functions/base:4")
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()), remote.WithTransport(a.cloud.Transport))
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"}
	if !slices.Equal(file.Config.Cmd, want) || !slices.Contains(file.Config.Env, "HOME=/home") {
		t.Errorf("the image runs %q with %q", file.Config.Cmd, file.Config.Env)
	}
}
