package wrap_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/internal/wrap"
)

const hostProgram = "azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"

var built = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// program returns the smallest program that counts as static, or one with an interpreter.
func program(t *testing.T, interpreter string) string {
	t.Helper()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machines[runtime.GOARCH]), Version: 1, Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = 1
	parts := []any{&header}
	if interpreter != "" {
		header.Phoff, header.Phentsize, header.Phnum = 64, 56, 1
		segment := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 120, Filesz: uint64(len(interpreter) + 1)}
		parts = append(parts, segment, []byte(interpreter+"\x00"))
	}
	var buf bytes.Buffer
	for _, part := range parts {
		if err := binary.Write(&buf, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return buf.String()
}

// item is an entry of a layer.
type item struct {
	tar.Header
	content string
}

func file(name, content string) item {
	return item{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func executable(name, content string) item {
	i := file(name, content)
	i.Mode = 0o755
	return i
}

func link(kind byte, name, target string) item {
	return item{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}}
}

func dir(name string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func archive(t *testing.T, items []item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, i := range items {
		if i.ModTime.IsZero() {
			i.ModTime = built
		}
		err := w.WriteHeader(&i.Header)
		if err == nil {
			_, err = io.WriteString(w, i.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layerOf(t *testing.T, with compression.Compression, items ...item) v1.Layer {
	t.Helper()
	content := archive(t, items)
	options := []tarball.LayerOption{tarball.WithMediaType(types.OCILayer), tarball.WithCompression(with)}
	if with == compression.ZStd {
		options = append(options, tarball.WithMediaType(types.OCILayerZStd))
	}
	if with == compression.GZip {
		options = append(options, tarball.WithCompressionLevel(gzip.BestSpeed))
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, options...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func gzipLayer(t *testing.T, items ...item) v1.Layer { return layerOf(t, compression.GZip, items...) }

// imageOf returns an OCI image of this machine's architecture.
func imageOf(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return configured(t, img, func(f *v1.ConfigFile) { f.Config = config })
}

func configured(t *testing.T, img v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", runtime.GOARCH, v1.Time{Time: built}
	change(file)
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// put pushes an image or an index to a shelf, and returns its reference.
func (s *shelf) put(t *testing.T, repository string, what remote.Taggable) reference.Canonical {
	t.Helper()
	return s.putTag(t, repository, "1", what)
}

func (s *shelf) putTag(t *testing.T, repository, tag string, what remote.Taggable) reference.Canonical {
	t.Helper()
	ref, err := name.ParseReference(s.host() + "/" + repository + ":" + tag)
	if err == nil {
		err = remote.Push(ref, what, remote.WithContext(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	s.requests()
	return canonical(t, s.host()+"/"+repository+"@"+desc.Digest.String())
}

func canonical(t *testing.T, text string) reference.Canonical {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		t.Fatal(err)
	}
	ref, ok := named.(reference.Canonical)
	if !ok {
		t.Fatalf("%s has no digest", text)
	}
	return ref
}

// userConfig sets all that a derived image replaces.
var userConfig = v1.Config{
	Env: []string{"A=b"}, User: "app", WorkingDir: "/work", Entrypoint: []string{"/bin/app"}, Cmd: []string{"run"},
	StopSignal: "SIGINT", Labels: map[string]string{"team": "x"}, Volumes: map[string]struct{}{"/data": {}},
	ExposedPorts: map[string]struct{}{"8080/tcp": {}}, OnBuild: []string{"RUN x"},
}

// userImage returns an image of two layers.
func userImage(t *testing.T) v1.Image {
	t.Helper()
	img := imageOf(t, userConfig, gzipLayer(t, executable("bin/app", "#!")), gzipLayer(t, file("etc/app", "x=1")))
	return configured(t, img, func(f *v1.ConfigFile) {
		f.History = []v1.History{{CreatedBy: "COPY a"}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "COPY b"}}
	})
}

// staticBase returns a base image of two layers whose host is a static program.
func staticBase(t *testing.T) v1.Image {
	t.Helper()
	return imageOf(t, v1.Config{}, gzipLayer(t, dir("etc/"), file("etc/base", "base")),
		gzipLayer(t, executable(hostProgram, program(t, ""))))
}

// newWrapper returns a Wrapper that pushes to a shelf.
func newWrapper(t *testing.T, s *shelf, change ...func(*wrap.Config)) *wrap.Wrapper {
	t.Helper()
	cfg := wrap.Config{
		Registry:   registry.New(registry.Config{Transport: transport(t)}),
		Repository: s.host() + "/sockerless", Handler: []byte(program(t, "")),
		Limits: wrap.Limits{Architecture: runtime.GOARCH}, TempDir: t.TempDir(),
	}
	for _, c := range change {
		c(&cfg)
	}
	w, err := wrap.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// transport returns a transport whose connections end with the test.
func transport(t *testing.T) http.RoundTripper {
	t.Helper()
	own := &http.Transport{}
	t.Cleanup(own.CloseIdleConnections)
	return own
}

// pulled returns an image with its manifest and configuration.
func pulled(t *testing.T, ref string) (v1.Image, *v1.Manifest, *v1.ConfigFile) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(parsed)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return img, manifest, config
}

// entries returns the entries of layer n of an image by name, from 0.
func entries(t *testing.T, img v1.Image, n int) map[string]item {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[n].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	out := map[string]item{}
	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = item{*h, string(body)}
	}
}

// machineFile returns a file of this machine, with the path where links end.
func machineFile(t *testing.T, at ...string) (string, string) {
	t.Helper()
	for _, p := range at {
		if content, err := os.ReadFile(p); err == nil {
			return strings.TrimPrefix(path.Clean(p), "/"), string(content)
		}
	}
	t.Fatalf("this machine has none of %v", at)
	return "", ""
}
