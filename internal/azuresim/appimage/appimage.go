// Package appimage builds function images without a container engine and pushes them to a registry, so that a demo and
// tests have something to run. It knows nothing of the simulator or of the content of the files.
//
//	files := map[string]appimage.File{"/home/site/wwwroot/host.json": {Content: hostJSON, Mode: 0o644}}
//	img, err := appimage.Build(files, env, labels)
//	err = appimage.Push(ctx, "127.0.0.1:5000/hello:1", img, transport)
package appimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is an image that Build builds and Push pushes.
type Image = v1.Image

// File is one regular file of an image.
type File struct {
	Content []byte
	Mode    int64
}

// Build builds an image of one layer. See BuildFrom.
func Build(files map[string]File, env []string, labels map[string]string, cmd ...string) (v1.Image, error) {
	return BuildFrom(empty.Image, files, env, labels, cmd...)
}

// BuildFrom builds an image of one layer more than base, for this machine's platform. Files are named by their absolute
// path in the image; env holds NAME=value entries, which replace those of base; labels may be nil. What runs is cmd, or
// what base runs. The same input gives the same digest.
func BuildFrom(
	base v1.Image, files map[string]File, env []string, labels map[string]string, cmd ...string,
) (v1.Image, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	dirs := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		rel := strings.TrimPrefix(path.Clean(file), "/")
		var parents []string
		for dir := path.Dir(rel); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			parents = append(parents, dir)
		}
		for _, dir := range slices.Backward(parents) {
			header := tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}
			if err := w.WriteHeader(&header); err != nil {
				return nil, fmt.Errorf("build image: %w", err)
			}
		}
		f := files[file]
		err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: rel, Mode: f.Mode, Size: int64(len(f.Content)), ModTime: time.Unix(0, 0),
		})
		if err == nil {
			_, err = w.Write(f.Content)
		}
		if err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithCompressionLevel(gzip.NoCompression)) // the registry is on this machine, and compression takes long
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config.Env, cfg.Config.Labels = override(cfg.Config.Env, env), labels
	if len(cmd) > 0 {
		cfg.Config.Cmd = cmd
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	return img, nil
}

// override returns the entries of both, without those of the first whose names the second has.
func override(first, second []string) []string {
	given := map[string]bool{}
	for _, entry := range second {
		name, _, _ := strings.Cut(entry, "=")
		given[name] = true
	}
	return append(slices.DeleteFunc(slices.Clone(first), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return given[name]
	}), second...)
}

// Push uploads an image to the registry in its reference. It blocks until the registry has it.
func Push(ctx context.Context, ref string, img v1.Image, transport http.RoundTripper) error {
	tag, err := name.ParseReference(ref)
	if err != nil {
		return fmt.Errorf("push image: %w", err)
	}
	// One upload at a time: the registry takes blobs one after another, and a blob that waits for its turn can use up the
	// HTTP/2 connection's flow control, so that the upload under way would never end.
	err = remote.Write(tag, img, remote.WithContext(ctx), remote.WithTransport(transport), remote.WithJobs(1))
	if err != nil {
		return fmt.Errorf("push image %s: %w", ref, err)
	}
	return nil
}
