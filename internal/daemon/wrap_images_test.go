package daemon_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// entry is one of a layer.
type entry struct {
	tar.Header
	content []byte
}

func file(name, content string) entry { return executable(name, 0o644, []byte(content)) }

func executable(name string, mode int64, content []byte) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content}
}

func link(kind byte, name, target string) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}}
}

// layer returns a layer that is compressed in some way.
func layer(t *testing.T, with compression.Compression, entries ...entry) v1.Layer {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, e := range entries {
		err := w.WriteHeader(&e.Header)
		if err == nil {
			_, err = w.Write(e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	media := types.OCILayer
	if with == compression.ZStd {
		media = types.OCILayerZStd
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(media), tarball.WithCompression(with), tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ociImage returns an OCI image of this machine's architecture.
func ociImage(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return configured(t, img, func(file *v1.ConfigFile) {
		file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	})
}

func configured(t *testing.T, img v1.Image, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	change(file)
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// toolProgram returns a static program.
func toolProgram(t *testing.T) []byte {
	t.Helper()
	return azuretest.BuildProgram(t, "../../cmd/azf-handler/testdata/tool")
}

// tool returns an image without a Functions host: one static program on nothing.
func tool(t *testing.T, change func(*v1.Config)) v1.Image {
	t.Helper()
	img, err := appimage.Build(map[string]appimage.File{
		"/bin/tool":   {Content: toolProgram(t), Mode: 0o755},
		"/etc/passwd": {Content: []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\n"), Mode: 0o644},
		"/etc/group":  {Content: []byte("extra:x:2002:app\n"), Mode: 0o644},
	}, []string{"PATH=/bin", "FROM_IMAGE=yes"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return configured(t, img, func(file *v1.ConfigFile) {
		if change != nil {
			change(&file.Config)
		}
	})
}

// plain pushes such an image.
func (p *playground) plain(t *testing.T, name string, change func(*v1.Config)) {
	t.Helper()
	p.pushImage(t, name, tool(t, change))
}

// shell returns an image with this machine's shell and echo, and their libraries.
func shell(t *testing.T) v1.Image {
	t.Helper()
	files := map[string]appimage.File{}
	for _, program := range []string{"/bin/sh", "/bin/echo"} {
		libraries, err := appimage.Libraries(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(libraries, program) {
			files[path] = appimage.File{Content: content(t, path), Mode: 0o755}
		}
	}
	img, err := appimage.Build(files, []string{"PATH=/usr/bin:/bin"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// dynamicBase returns a base image whose Functions host needs an interpreter, as Microsoft's does. Its libraries break
// every program that finds them: the host needs none.
func dynamicBase(t *testing.T, dir string) v1.Image {
	t.Helper()
	host := filepath.Join(dir, "webhost")
	build := exec.Command("go", "build", "-buildmode=pie", "-o", host, "../azuresim/funchost/webhost")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	needed, err := appimage.Libraries(host)
	if err != nil || len(needed) != 1 {
		t.Fatalf("the host needs %v, %v, want its interpreter", needed, err)
	}
	entries := []entry{
		executable(protocol.HostProgram, 0o755, content(t, host)), executable("lib/ld.so", 0o755, content(t, needed[0])),
		link(tar.TypeSymlink, needed[0][1:], "/lib/ld.so"),
	}
	for _, library := range []string{
		"libc.so.6", "libssl.so.3", "libcrypto.so.3", "libicuuc.so.72", "libicui18n.so.72", "libicudata.so.72",
	} {
		entries = append(entries, link(tar.TypeLink, "lib/"+library, "lib/ld.so"))
	}
	return ociImage(t, v1.Config{}, layer(t, compression.GZip, entries...))
}

// odd returns an index of an attestation and an image of 120 layers, which have what an engine must unpack right.
func odd(t *testing.T) v1.ImageIndex {
	t.Helper()
	look := azuretest.BuildProgram(t, "./testdata/look")
	raw := executable("usr/tools/raw", 0o755, look)
	capability := binary.LittleEndian.AppendUint32(nil, 0x02000001) // revision 2, effective: capability.h
	capability = binary.LittleEndian.AppendUint32(capability, 1<<unix.CAP_NET_RAW)
	raw.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(append(capability, make([]byte, 12)...))}
	layers := []v1.Layer{
		layer(t, compression.GZip, executable("usr/tools/look", 0o755, look), link(tar.TypeSymlink, "bin", "usr/tools"),
			executable("usr/tools/suid", 0o4755, look), raw, file("opt/target", "linked"),
			link(tar.TypeLink, "opt/link", "opt/target"), file("srv/old", "old"), file("srv/deep/old", "old")),
		layer(t, compression.ZStd, file("opt/.wh.target", ""), file("srv/new", "new"), file("srv/.wh..wh..opq", "")),
	}
	for n := range 120 - len(layers) {
		layers = append(layers, layer(t, compression.GZip, file(fmt.Sprintf("layers/%d", n), "")))
	}
	img := ociImage(t, v1.Config{Env: []string{"PATH=/bin"}, User: "1000", Cmd: []string{"look"}}, layers...)
	attestation := ociImage(t, v1.Config{}, layer(t, compression.None, file("attestation", "{}")))
	return indexOf(platform(attestation, "unknown", "unknown"), platform(img, "linux", runtime.GOARCH))
}

func indexOf(images ...mutate.IndexAddendum) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), images...)
}

func platform(img v1.Image, system, architecture string) mutate.IndexAddendum {
	of := &v1.Platform{OS: system, Architecture: architecture}
	return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: of}}
}

// put pushes an image or an index, and returns its reference with the digest.
func (p *playground) put(t *testing.T, text string, what remote.Taggable) name.Digest {
	t.Helper()
	ref, err := name.ParseReference(p.sim.Registry() + "/" + text)
	if err != nil {
		t.Fatal(err)
	}
	transport := p.sim.Transport()
	defer transport.CloseIdleConnections()
	options := []remote.Option{remote.WithTransport(transport), remote.WithContext(t.Context())}
	if err := remote.Push(ref, what, options...); err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Head(ref, options...)
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Digest(desc.Digest.String())
}
