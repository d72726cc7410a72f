package rootfs_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/azuresim/rootfs"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// file returns an entry of a layer with content.
func file(name, content string) tar.Header {
	return tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)),
		PAXRecords: map[string]string{"TEST.content": content},
	}
}

func entry(kind byte, name, link string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o755}
}

// image returns an image of layers.
func image(t *testing.T, layers ...[]tar.Header) v1.Image {
	t.Helper()
	img := empty.Image
	for _, entries := range layers {
		img = appended(t, img, archive(t, entries))
	}
	return img
}

// archive returns the tar archive of a layer.
func archive(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		content := h.PAXRecords["TEST.content"]
		h.ModTime = time.Unix(1000, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// appended returns an image with one more layer.
func appended(t *testing.T, img v1.Image, content []byte, options ...tarball.LayerOption) v1.Image {
	t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, options...)
	if err == nil {
		img, err = mutate.AppendLayers(img, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestCompressions of layers, as OCI and Docker have them.
func TestCompressions(t *testing.T) {
	one, two := archive(t, []tar.Header{file("a", "1")}), archive(t, []tar.Header{file("b", "2")})
	img := appended(t, empty.Image, one,
		tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
	img = appended(t, img, two, tarball.WithCompression(compression.GZip), tarball.WithMediaType(types.DockerLayer))
	root := filepath.Join(t.TempDir(), "rootfs")
	if err := rootfs.Unpack(img, root); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, root); len(got) != 2 || got["a"] != "1" || got["b"] != "2" {
		t.Errorf("got %q", got)
	}
}

// tree returns the files below a folder by their names: content, or where a link leads; folders end in a slash.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		switch {
		case d.IsDir():
			found[name+"/"] = ""
		case d.Type()&os.ModeSymlink != 0:
			found[name], err = os.Readlink(path)
		case d.Type().IsRegular():
			var content []byte
			content, err = os.ReadFile(path)
			found[name] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUnpack(t *testing.T) {
	dir := func(name string) tar.Header { return entry(tar.TypeDir, name, "") }
	for name, row := range map[string]struct {
		layers [][]tar.Header
		want   map[string]string
	}{
		"a hard link whose target an upper layer removes": {
			layers: [][]tar.Header{
				{dir("opt/"), file("opt/b", "text"), entry(tar.TypeLink, "opt/a", "opt/b")}, {file("opt/.wh.b", "")},
			},
			want: map[string]string{"opt/": "", "opt/a": "text"},
		},
		"a hard link by an absolute name": {
			layers: [][]tar.Header{{file("b", "text"), entry(tar.TypeLink, "a", "/b")}},
			want:   map[string]string{"a": "text", "b": "text"},
		},
		"whiteouts of a file, a folder and nothing": {
			layers: [][]tar.Header{
				{file("a", "1"), file("d/e/f", "2"), file("keep", "3")},
				{file(".wh.a", ""), file("d/.wh.e", ""), file(".wh.x", "")},
			},
			want: map[string]string{"d/": "", "keep": "3"},
		},
		"an opaque folder, before its new content": {
			layers: [][]tar.Header{
				{file("d/old", "1"), file("d/sub/old", "2")}, {dir("d/"), file("d/.wh..wh..opq", ""), file("d/new", "3")},
			},
			want: map[string]string{"d/": "", "d/new": "3"},
		},
		"an opaque folder, after its new content": {
			layers: [][]tar.Header{
				{file("d/old", "1"), file("d/sub/old", "2")},
				{file("d/new", "3"), file("d/sub/new", "4"), file("d/.wh..wh..opq", "")},
			},
			want: map[string]string{"d/": "", "d/new": "3", "d/sub/": "", "d/sub/new": "4"},
		},
		"a file in place of a folder, and the other way": {
			layers: [][]tar.Header{{file("a/b", "1"), file("c", "2")}, {file("a", "3"), dir("c/"), file("c/d", "4")}},
			want:   map[string]string{"a": "3", "c/": "", "c/d": "4"},
		},
		"a file in place of a link": {
			layers: [][]tar.Header{{file("b", "1"), entry(tar.TypeSymlink, "a", "b")}, {file("a", "2")}},
			want:   map[string]string{"a": "2", "b": "1"},
		},
		"folders that are links, relative and absolute": {
			layers: [][]tar.Header{
				{dir("usr/bin/"), entry(tar.TypeSymlink, "bin", "usr/bin"), entry(tar.TypeSymlink, "sbin", "/usr/bin")},
				{file("bin/a", "1"), file("sbin/b", "2")},
			},
			want: map[string]string{
				"usr/": "", "usr/bin/": "", "bin": "usr/bin", "sbin": "/usr/bin", "usr/bin/a": "1", "usr/bin/b": "2",
			},
		},
		"names and links that lead outside": {
			layers: [][]tar.Header{
				{entry(tar.TypeSymlink, "out", "../../../.."), file("out/a", "1"), file("../../b", "2"), file("/c", "3")},
			},
			want: map[string]string{"out": "../../../..", "a": "1", "b": "2", "c": "3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			root := filepath.Join(outside, "rootfs")
			if err := rootfs.Unpack(image(t, row.layers...), root); err != nil {
				t.Fatal(err)
			}
			got := tree(t, root)
			for name, content := range row.want {
				if have, ok := got[name]; !ok || have != content {
					t.Errorf("%s: got %q, %v", name, have, ok)
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("left: %q", got)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
				t.Errorf("beside the root there are %v, %v", entries, err)
			}
		})
	}
}

// TestAttributes: modes, owners, capabilities and devices are those of the image.
func TestAttributes(t *testing.T) {
	azuretest.Needs(t, "root")
	if os.Geteuid() != 0 {
		t.Fatal("run this test as root, which may change owners and create devices")
	}
	const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	setuid, tmp, ping := file("usr/bin/passwd", "x"), entry(tar.TypeDir, "tmp/", ""), file("usr/bin/ping", "x")
	setuid.Mode, setuid.Uid, setuid.Gid = 0o4755, 0, 42
	tmp.Mode = 0o1777
	ping.Mode, ping.PAXRecords["SCHILY.xattr.security.capability"] = 0o755, capability
	null := entry(tar.TypeChar, "null", "")
	null.Devmajor, null.Devminor, null.Mode = 1, 3, 0o666
	own := file("home/app/file", "x")
	own.Uid, own.Gid = 1000, 1001
	root := filepath.Join(t.TempDir(), "rootfs")
	if err := rootfs.Unpack(image(t, []tar.Header{setuid, tmp, ping, null, own}), root); err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (s syscall.Stat_t) {
		t.Helper()
		if err := syscall.Lstat(filepath.Join(root, name), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := stat("usr/bin/passwd"); s.Mode&0o7777 != 0o4755 || s.Gid != 42 || s.Mtim.Sec != 1000 {
		t.Errorf("passwd is %+v", s)
	}
	if s := stat("tmp"); s.Mode&0o7777 != 0o1777 || s.Mtim.Sec != 1000 {
		t.Errorf("tmp is %+v", s)
	}
	if s := stat("null"); s.Mode&syscall.S_IFMT != syscall.S_IFCHR || s.Rdev != unix.Mkdev(1, 3) || s.Mode&0o777 != 0o666 {
		t.Errorf("null is %+v", s)
	}
	if s := stat("home/app/file"); s.Uid != 1000 || s.Gid != 1001 {
		t.Errorf("file is %+v", s)
	}
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(root, "usr/bin/ping"), "security.capability", buf)
	if err != nil || string(buf[:n]) != capability {
		t.Errorf("the capability is %q, %v", buf[:max(n, 0)], err)
	}
}
