package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/internal/wrap"
)

// TestWrapVerify has the installed program check a wrapped image, and one whose host layer has one changed byte.
func TestWrapVerify(t *testing.T) {
	dir := azuretest.ShortDir(t)
	path := map[string]string{}
	for name, from := range map[string]string{
		"handler": "../azf-handler", "webhost": "../../internal/azuresim/funchost/webhost",
	} {
		path[name] = filepath.Join(dir, name)
		if err := os.WriteFile(path[name], azuretest.BuildProgram(t, from), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sim, err := azuresim.Start(azuresim.Config{
		Dir: filepath.Join(dir, "azuresim"), Log: zerolog.Nop(), FunctionsHost: path["webhost"],
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	}()
	transport := sim.Transport()
	defer transport.CloseIdleConnections()
	options := []remote.Option{remote.WithTransport(transport), remote.WithContext(t.Context())}
	wrapped := derive(t, sim, path["handler"], options)
	verify := installed(t, t.TempDir(), "wrap", "verify")
	run := func(ref string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.Command(verify.Path, "wrap", "verify", "--config=", "--cloud", sim.URL(),
			"--subscription-id", azuresim.DefaultSubscriptionID, "--resource-group", azuresim.DefaultResourceGroup,
			"--location", azuresim.DefaultLocation, "--storage-account", azuresim.DefaultStorageAccount,
			"--state-dir", filepath.Join(dir, "state"), "--registry", "team.azurecr.io",
			"--wrap-handler", path["handler"], "--wrap-base", sim.Registry()+"/azure-functions/base:4", ref)
		cmd.Env = append(verify.Env, "SSL_CERT_FILE="+sim.CAFile(), "HTTPS_PROXY="+sim.ProxyURL(), "NO_PROXY=")
		for name, value := range sim.Access().CredentialEnv() {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		var out, log strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return out.String(), log.String(), cmd.ProcessState.ExitCode()
	}
	const repository = "team.azurecr.io/sockerless/wrapped"
	image := repository + "@" + wrapped.DigestStr()
	if out, log, code := run(image); code != 0 || out != image+" is as it claims\n" {
		t.Errorf("status %d: %s%s", code, out, log)
	}
	image = repository + "@" + forge(t, wrapped, options)
	out, log, code := run(image)
	if code != 1 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, image+" has as layer 2 of 3 sha256:") ||
		!strings.Contains(log, image+" is not what this program derives from the image that it names") {
		t.Errorf("with a changed byte, status %d: %s%s", code, out, log)
	}
	if _, log, code := run(repository + ":w-1"); code != 2 || !strings.Contains(log, "is not a reference with a digest") {
		t.Errorf("without a digest, status %d: %s", code, log)
	}
}

// derive pushes an image without a Functions host, and wraps it.
func derive(t *testing.T, sim *azuresim.Sim, handler string, options []remote.Option) name.Digest {
	t.Helper()
	program, err := os.ReadFile(handler)
	if err != nil {
		t.Fatal(err)
	}
	img, err := appimage.Build(map[string]appimage.File{"/etc/app": {Content: []byte("x=1"), Mode: 0o644}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := sim.Transport()
	defer transport.CloseIdleConnections()
	if err := appimage.Push(t.Context(), sim.Registry()+"/team/app:1", img, transport); err != nil {
		t.Fatal(err)
	}
	w, err := wrap.New(wrap.Config{
		Registry: registry.New(registry.Config{Transport: transport}), Repository: sim.Registry() + "/sockerless",
		Handler: program, Limits: wrap.Limits{Architecture: runtime.GOARCH}, TempDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	canonical := func(tag string) reference.Canonical {
		ref, err := name.ParseReference(sim.Registry() + "/" + tag)
		if err != nil {
			t.Fatal(err)
		}
		desc, err := remote.Head(ref, options...)
		if err != nil {
			t.Fatal(err)
		}
		named, err := reference.ParseNormalizedNamed(ref.Context().Digest(desc.Digest.String()).String())
		if err != nil {
			t.Fatal(err)
		}
		return named.(reference.Canonical) // it has a digest
	}
	derived, err := w.Derive(t.Context(), wrap.Source{
		Image: canonical("team/app:1"), Base: canonical("azure-functions/base:4"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(derived.Reference)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// forge pushes a copy of an image that has one changed byte in its second layer, and returns the copy's digest.
func forge(t *testing.T, ref name.Digest, options []remote.Option) string {
	t.Helper()
	img, err := remote.Image(ref, options...)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	layers[1], err = tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	copied, err := mutate.AppendLayers(empty.Image, layers...)
	if err == nil {
		copied, err = mutate.ConfigFile(copied, config)
	}
	if err == nil {
		err = remote.Write(ref.Context().Tag("forged"), copied, options...)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := copied.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
