package wrap_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/wrap"
)

func TestVerify(t *testing.T) {
	s := newShelf(t)
	user := userImage(t)
	source := wrap.Source{Image: s.put(t, "team/app", user), Base: s.put(t, "functions/base", staticBase(t))}
	w := newWrapper(t, s)
	derived, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	img, manifest, _ := pulled(t, derived.Reference)
	owned := source
	owned.Owner = "one"
	if derived, err = w.Derive(t.Context(), owned); err != nil {
		t.Fatal(err)
	}
	ownedImage, _, _ := pulled(t, derived.Reference)
	digestOf := func(n int) string { return manifest.Layers[n].Digest.String() }
	changed := strings.Replace(program(t, ""), "ELF", "ELf", 1)
	changedHost := gzipLayer(t, executable(".sockerless/host/"+hostProgram, changed))
	for name, row := range map[string]struct {
		image v1.Image
		want  []string
	}{
		"as derived": {img, nil}, "as derived for an owner": {ownedImage, nil},
		"a byte of a host layer": {replaced(t, img, 3, changedHost), []string{
			"has as layer 4 of 5 " + hash(t, changedHost) + ", whose content is not that of " + digestOf(3),
		}},
		"a byte of a compressed host layer": {replaced(t, img, 2, broken{layerAt(t, img, 2)}), []string{
			"has as layer 3 of 5 " + hash(t, broken{layerAt(t, img, 2)}) + ", whose content is not that of " + digestOf(2),
		}},
		"a layer of the user": {replaced(t, img, 0, changedHost), []string{
			"has as layer 1 of 5 " + hash(t, changedHost) + "; the user's image has " + digestOf(0),
		}},
		"the same content in other compression": {replaced(t, img, 3, recompressed(t, layerAt(t, img, 3))), nil},
		"the configuration": {configured(t, img, func(f *v1.ConfigFile) {
			f.Config.User, f.Config.Entrypoint = "root", []string{"/bin/app"}
		}), []string{
			`has the configuration config Entrypoint ["/bin/app"]; ["/.sockerless/init","host"] is expected`,
			`has the configuration config User "root"; null is expected`,
		}},
		"another layer":    {appended(t, img, changedHost), []string{"has 6 layers; 5 are expected"}},
		"no derived image": {user, []string{`has recipe ""; this program has 1`}},
	} {
		t.Run(name, func(t *testing.T) {
			different, err := w.Verify(t.Context(), s.put(t, "sockerless/wrapped", row.image), source.Base, api.AuthConfig{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, different); diff != "" {
				t.Error(diff)
			}
		})
	}
	other := newWrapper(t, s, func(c *wrap.Config) { c.Handler = append(c.Handler, "newer"...) })
	different, err := other.Verify(t.Context(), canonical(t, derived.Reference), trimmed(source.Base), api.AuthConfig{})
	if err != nil || len(different) == 0 {
		t.Errorf("with another handler: %v, %v", different, err)
	}
	if got := matching(s.requests(), `^(PUT|POST|PATCH) /v2/sockerless/host/`); len(got) != 0 {
		t.Errorf("Verify has pushed: %v", got)
	}
}

func trimmed(ref reference.Named) reference.Named { return reference.TrimNamed(ref) }

func hash(t *testing.T, l v1.Layer) string {
	t.Helper()
	h, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// replaced returns an image with another layer n, from 0.
func replaced(t *testing.T, img v1.Image, n int, with v1.Layer) v1.Image {
	t.Helper()
	return changedLayers(t, img, func(layers []v1.Layer) []v1.Layer {
		layers[n] = with
		return layers
	})
}

func appended(t *testing.T, img v1.Image, l v1.Layer) v1.Image {
	t.Helper()
	return changedLayers(t, img, func(layers []v1.Layer) []v1.Layer { return append(layers, l) })
}

// changedLayers returns an image with the same configuration and other layers.
func changedLayers(t *testing.T, img v1.Image, change func([]v1.Layer) []v1.Layer) v1.Image {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	out := imageOf(t, v1.Config{}, change(layers)...)
	return configured(t, out, func(f *v1.ConfigFile) { *f = *config })
}

func layerAt(t *testing.T, img v1.Image, n int) v1.Layer {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return layers[n]
}

// broken is a layer whose compressed content has one changed byte.
type broken struct{ v1.Layer }

func (l broken) content() ([]byte, error) {
	compressed, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(compressed)
	content[len(content)-1] ^= 1
	return content, errors.Join(err, compressed.Close())
}

// Digest implements v1.Layer.
func (l broken) Digest() (v1.Hash, error) {
	content, err := l.content()
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(content))
	return h, err
}

// Compressed implements v1.Layer.
func (l broken) Compressed() (io.ReadCloser, error) {
	content, err := l.content()
	return io.NopCloser(bytes.NewReader(content)), err
}

// recompressed returns a layer with the same content in other bytes.
func recompressed(t *testing.T, l v1.Layer) v1.Layer {
	t.Helper()
	out, err := tarball.LayerFromOpener(l.Uncompressed,
		tarball.WithCompressionLevel(gzip.NoCompression), tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
