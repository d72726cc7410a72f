package wrap

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/sockerless/backend-azf/internal/api"
)

// Verify composes a derived image again, from the source and the base that its labels name, and returns what differs,
// in sentences without a subject: "has 7 layers; 8 are expected". None means that image is what Derive of this program
// derives from its source. base names the repository of the base image; its digest or tag does not matter. auth is for
// the source's registry. Verify reads the whole base image and uploads nothing. Its errors are those of Derive.
func (w *Wrapper) Verify(
	ctx context.Context, image reference.Canonical, base reference.Named, auth api.AuthConfig,
) (different []string, err error) {
	c, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	session, err := w.cfg.Registry.Open(image, api.AuthConfig{})
	if err != nil {
		return nil, err
	}
	img, err := session.Image(ctx, image, w.platform())
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, session.PullError(ctx, image, err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, session.PullError(ctx, image, err)
	}
	source, reason := w.sourceOf(config, base)
	if reason != "" {
		return []string{reason}, nil
	}
	source.Auth = auth
	user, err := c.openUser(ctx, source)
	if err != nil {
		return nil, err
	}
	host, _, err := c.rewriteHost(ctx, source.Base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, host.close()) }()
	want, err := w.derive(user, host, source)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, session.PullError(ctx, image, err)
	}
	if manifest.MediaType != want.mediaType {
		different = append(different, fmt.Sprintf("is of type %s; %s is expected", manifest.MediaType, want.mediaType))
	}
	if got := len(layers); got != len(want.layers) {
		different = append(different, fmt.Sprintf("has %s; %d are expected", count(got, "layer"), len(want.layers)))
	}
	for i := range min(len(layers), len(want.layers)) {
		d, err := want.compareLayer(i, manifest.Layers[i], layers[i])
		if err != nil {
			return nil, session.PullError(ctx, image, err)
		}
		different = append(different, d...)
	}
	d, err := compareJSON(config, want.config)
	return append(different, d...), err
}

// sourceOf returns the source that the labels of a derived image name, or why that is impossible.
func (w *Wrapper) sourceOf(config []byte, base reference.Named) (Source, string) {
	var parsed v1.ConfigFile
	if err := json.Unmarshal(config, &parsed); err != nil {
		return Source{}, "has a configuration that is not valid: " + err.Error()
	}
	labels := parsed.Config.Labels
	if labels[LabelRecipe] != strconv.Itoa(Recipe) {
		return Source{}, fmt.Sprintf("has recipe %q; this program has %d", labels[LabelRecipe], Recipe)
	}
	named, err := reference.ParseNormalizedNamed(labels[LabelImage])
	image, ok := named.(reference.Canonical)
	if err != nil || !ok {
		return Source{}, fmt.Sprintf("has the label %s=%q, which is not a reference with a digest",
			LabelImage, labels[LabelImage])
	}
	of, err := digest.Parse(labels[LabelBaseDigest])
	if err != nil {
		return Source{}, fmt.Sprintf("has the label %s=%q, which is not a digest", LabelBaseDigest, labels[LabelBaseDigest])
	}
	from, err := reference.WithDigest(reference.TrimNamed(base), of)
	if err != nil {
		return Source{}, err.Error()
	}
	return Source{Image: image, Base: from, Owner: labels[LabelOwner]}, ""
}

// compareLayer compares layer i of an image with that of a composed one.
func (i composed) compareLayer(n int, got v1.Descriptor, content v1.Layer) ([]string, error) {
	want := i.descriptors[n]
	name := fmt.Sprintf("has as layer %d of %d", n+1, len(i.layers))
	switch {
	case n < len(i.kept) && !reflect.DeepEqual(got, want):
		return []string{fmt.Sprintf("%s %s; the user's image has %s", name, got.Digest, want.Digest)}, nil
	case got.MediaType != want.MediaType:
		return []string{fmt.Sprintf("%s one of type %s; %s is expected", name, got.MediaType, want.MediaType)}, nil
	case got.Digest == want.Digest:
		return nil, nil
	}
	// Another release of this program may compress the same content differently.
	diff, err := diffOf(content)
	if err != nil {
		return nil, err
	}
	if diff == i.configFile.RootFS.DiffIDs[n] {
		return nil, nil
	}
	return []string{fmt.Sprintf("%s %s, whose content is not that of %s", name, got.Digest, want.Digest)}, nil
}

// diffOf returns the digest of a layer's content, or none for content that is not a gzip file.
func diffOf(l v1.Layer) (diff v1.Hash, err error) {
	compressed, err := l.Compressed()
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { err = errors.Join(err, compressed.Close()) }()
	h := sha256.New()
	content, err := gzip.NewReader(&sourceReader{ReadCloser: compressed})
	if err == nil {
		_, err = io.Copy(h, content)
	}
	if _, unread := errors.AsType[*sourceError](err); unread {
		return v1.Hash{}, err
	}
	if err != nil {
		return v1.Hash{}, nil
	}
	return sum(h), nil
}

// compareJSON compares two configurations.
func compareJSON(got, want []byte) ([]string, error) {
	var g, w any
	if err := errors.Join(json.Unmarshal(got, &g), json.Unmarshal(want, &w)); err != nil {
		return nil, fmt.Errorf("compare configurations: %w", err)
	}
	return compareValues("", g, w), nil
}

func compareValues(at string, got, want any) (different []string) {
	g, gotMap := got.(map[string]any)
	w, wantMap := want.(map[string]any)
	if !gotMap || !wantMap {
		if reflect.DeepEqual(got, want) {
			return nil
		}
		return []string{fmt.Sprintf("has the configuration%s %s; %s is expected", at, shortJSON(got), shortJSON(want))}
	}
	all := maps.Clone(g)
	maps.Copy(all, w)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		different = append(different, compareValues(at+" "+key, g[key], w[key])...)
	}
	return different
}

func shortJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.200s", text)
}
