package daemon_test

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
)

// newImage pushes an image that is to be wrapped, and that no container had before, and returns its reference.
func (h *harness) newImage(ctx context.Context, name string) (string, error) {
	img, err := appimage.Build(map[string]appimage.File{"/name": {Content: []byte(name)}}, nil, nil)
	if err != nil {
		return "", err
	}
	transport := h.azure.sim.Transport()
	defer transport.CloseIdleConnections()
	return "team.azurecr.io/" + name + ":1", appimage.Push(ctx, h.azure.sim.Registry()+"/"+name+":1", img, transport)
}

// loseHosts removes the host layers of all base images from the registry, as a person may.
func (h *harness) loseHosts(t *testing.T) {
	t.Helper()
	const repository = "sockerless/host"
	repo, options := h.azure.repository(t, repository)
	for _, tag := range h.azure.tags(t, repository) {
		if err := remote.Delete(repo.Tag(tag), options...); err != nil {
			t.Error(err)
		}
	}
}

// tags returns the tags of a repository in the simulator's registry; none for a repository that does not exist.
func (p *playground) tags(t *testing.T, repository string) []string {
	t.Helper()
	repo, options := p.repository(t, repository)
	tags, err := remote.List(repo, options...)
	if err != nil && !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		t.Fatal(err)
	}
	return tags
}

func (p *playground) repository(t *testing.T, path string) (name.Repository, []remote.Option) {
	t.Helper()
	repo, err := name.NewRepository(p.sim.Registry() + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	transport := p.sim.Transport()
	t.Cleanup(transport.CloseIdleConnections)
	return repo, []remote.Option{remote.WithTransport(transport), remote.WithContext(t.Context())}
}

// derivedImages returns the tags of all derived images, and those whose manifest, or a blob that it names, is missing.
func (p *playground) derivedImages(t *testing.T) (all, incomplete []string) {
	t.Helper()
	const repository = "sockerless/wrapped"
	repo, options := p.repository(t, repository)
	all = p.tags(t, repository)
	for _, tag := range all {
		img, err := remote.Image(repo.Tag(tag), options...)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range append(manifest.Layers, manifest.Config) {
			l, err := remote.Layer(repo.Digest(blob.Digest.String()), options...)
			if err == nil {
				_, err = l.Size() // asks the registry
			}
			if err != nil {
				t.Logf("%s:%s: %s: %v", repository, tag, blob.Digest, err)
				incomplete = append(incomplete, tag)
				break
			}
		}
	}
	return all, incomplete
}

// tempFiles returns the temporary files of wraps in the state folder.
func (p *playground) tempFiles(t *testing.T) []string {
	t.Helper()
	left, err := fs.Glob(os.DirFS(p.stateDir()), "azf-wrap-*")
	if err != nil {
		t.Fatal(err)
	}
	return left
}
