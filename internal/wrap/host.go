package wrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/api"
)

// Labels of images with host layers. Paths are those in the base image; folders are separated by colons.
const (
	labelLoader  = "io.sockerless.azf.host.loader"
	labelFolders = "io.sockerless.azf.host.folders"
)

// hostLayers are the rewritten layers of a base image.
type hostLayers struct {
	layers []v1.Layer
	diffs  []v1.Hash
	// loader is the path of the base image's dynamic loader, and folders those of its libraries. A static host has
	// neither.
	loader  string
	folders []string
	files   []*os.File
}

func (h *hostLayers) close() error {
	var errs []error
	for _, f := range h.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// hostTag returns the tag of the image with the host layers of a base image.
func (w *Wrapper) hostTag(base reference.Canonical) string {
	return fmt.Sprintf("%.12s-r%d", base.Digest().Encoded(), Recipe)
}

// Host ensures that the registry has the host layers of a base image, and returns their digests. An image that cannot
// be a base is an InvalidParameter error; other errors are those of Derive.
func (w *Wrapper) Host(ctx context.Context, base reference.Canonical) ([]string, error) {
	c, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	h, err := c.ensureHost(ctx, base)
	if err != nil {
		return nil, err
	}
	return digests(h.layers)
}

func digests(layers []v1.Layer) (out []string, err error) {
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		out = append(out, digest.String())
	}
	return out, nil
}

// ensureHost returns the host layers in the registry, after it has pushed them when they are not there.
func (c *call) ensureHost(ctx context.Context, base reference.Canonical) (_ *hostLayers, err error) {
	if h, err := c.findHost(ctx, base); h != nil || err != nil {
		return h, err
	}
	if err := acquire(ctx, c.rewriting); err != nil {
		return nil, err
	}
	defer func() { <-c.rewriting }()
	// Someone else may have pushed them meanwhile.
	if h, err := c.findHost(ctx, base); h != nil || err != nil {
		return h, err
	}
	h, config, err := c.rewriteHost(ctx, base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	img := composed{mediaType: types.OCIManifestSchema1, layers: h.layers, configFile: config}
	if err := img.compose(); err != nil {
		return nil, err
	}
	if err := c.push(ctx, c.host, c.hostTag(base), img); err != nil {
		return nil, err
	}
	found, err := c.findHost(ctx, base)
	if found == nil && err == nil {
		err = api.Errorf(api.Unavailable, "registry %s has lost %s:%s", c.host.RegistryStr(), c.host.named, c.hostTag(base))
	}
	return found, err
}

// findHost returns the host layers in the registry, or nil.
func (c *call) findHost(ctx context.Context, base reference.Canonical) (*hostLayers, error) {
	desc, err := c.puller.Get(ctx, c.host.Tag(c.hostTag(base)))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.pushError(ctx, c.host, err)
	}
	img, err := desc.Image()
	if err != nil {
		return nil, c.pushError(ctx, c.host, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, c.pushError(ctx, c.host, err)
	}
	labels := config.Config.Labels
	if labels[LabelBaseDigest] != base.Digest().String() || labels[LabelRecipe] != strconv.Itoa(Recipe) ||
		config.Architecture != c.cfg.Limits.Architecture {
		return nil, nil // the tag has a part of the digest only
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, c.pushError(ctx, c.host, err)
	}
	h := &hostLayers{layers: layers, diffs: config.RootFS.DiffIDs, loader: labels[labelLoader]}
	if folders := labels[labelFolders]; folders != "" {
		h.folders = strings.Split(folders, ":")
	}
	return h, nil
}

// rewriteHost rewrites the layers of a base image to files, which the caller must close, and returns the configuration
// of an image with them.
func (c *call) rewriteHost(
	ctx context.Context, base reference.Canonical,
) (_ *hostLayers, _ *v1.ConfigFile, err error) {
	session, err := c.cfg.Registry.Open(base, api.AuthConfig{})
	if err != nil {
		return nil, nil, err
	}
	img, err := session.Image(ctx, base, c.platform())
	if err != nil {
		return nil, nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, nil, session.PullError(ctx, base, err)
	}
	baseConfig, err := img.ConfigFile()
	if err != nil {
		return nil, nil, session.PullError(ctx, base, err)
	}
	r := &rewriter{architecture: c.cfg.Limits.Architecture, root: root{}}
	if r.spool, err = tempFile(c.cfg.TempDir); err != nil {
		return nil, nil, fmt.Errorf("rewrite base image: %w", err)
	}
	h := &hostLayers{}
	defer func() {
		err = errors.Join(err, r.spool.Close())
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	for i, l := range layers {
		if err := c.rewriteLayer(l, r, h); err != nil {
			if source, ok := errors.AsType[*sourceError](err); ok {
				return h, nil, session.PullError(ctx, base, source.err)
			}
			return h, nil, c.baseError(base, fmt.Errorf("layer %d: %w", i+1, err))
		}
	}
	if h.loader, h.folders, err = r.check(); err != nil {
		return h, nil, c.baseError(base, err)
	}
	config := &v1.ConfigFile{
		OS: "linux", Architecture: c.cfg.Limits.Architecture, Created: baseConfig.Created,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: h.diffs},
		Config: v1.Config{Labels: map[string]string{
			LabelBaseDigest: base.Digest().String(), LabelRecipe: strconv.Itoa(Recipe),
			labelLoader: h.loader, labelFolders: strings.Join(h.folders, ":"),
		}},
	}
	return h, config, nil
}

func (c *call) baseError(base reference.Canonical, err error) error {
	if _, ok := errors.AsType[baseError](err); ok {
		return api.Errorf(api.InvalidParameter, "the base image %s cannot be put into other images: %w", base, err)
	}
	return fmt.Errorf("rewrite base image %s: %w", base, err)
}

// rewriteLayer adds the next layer to h.
func (c *call) rewriteLayer(l v1.Layer, r *rewriter, h *hostLayers) (err error) {
	in, err := l.Uncompressed()
	if err != nil {
		return &sourceError{err: err}
	}
	source := &sourceReader{ReadCloser: in}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := tempFile(c.cfg.TempDir)
	if err != nil {
		return err
	}
	h.files = append(h.files, f)
	out, err := newArchive(f)
	if err != nil {
		return err
	}
	if err := r.rewrite(source, out.Writer); err != nil {
		return err
	}
	done, err := out.finish(f)
	h.layers, h.diffs = append(h.layers, done), append(h.diffs, done.diffID)
	return err
}

// sourceError is the failure of a registry that is read, as opposed to that of one that is written.
type sourceError struct {
	err  error
	user func(context.Context, error) error // returns err for the user
}

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// sourceReader marks the errors of a reader.
type sourceReader struct {
	io.ReadCloser
	user func(context.Context, error) error
}

func (r *sourceReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err, r.user}
	}
	return n, err
}
