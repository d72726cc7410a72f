package wrap_test

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuresim/rootfs"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/wrap"
)

// Names that the oldest format of tar cannot hold, alone or with the prefix.
var (
	long   = strings.Repeat("long/", 30) + "name"
	almost = strings.Repeat("n", 95)
)

// oddBase has layers of each compression, and entries of each kind.
func oddBase(t *testing.T) v1.Image {
	t.Helper()
	odd := item{tar.Header{
		Typeflag: tar.TypeReg, Name: "bin/odd", Mode: 0o4755, Size: 3, Uid: 12, Gid: 34, Uname: "u", Gname: "g",
		ModTime: built.Add(5), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.mark": "a\x00b", "comment": "kept"},
	}, "odd"}
	return imageOf(t, v1.Config{},
		layerOf(t, compression.GZip, dir("./"), dir("./etc/"), file("./etc/base", "base"), file("./etc/kept", "kept"),
			file("var/old", "old"), odd, file(long, "long"), link(tar.TypeLink, "longlink", long),
			link(tar.TypeSymlink, "longsym", "/"+long), link(tar.TypeSymlink, "longer", "/"+almost),
			item{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600}}),
		layerOf(t, compression.ZStd, file("etc/a", "a"), link(tar.TypeLink, "etc/b", "./etc/a"),
			link(tar.TypeLink, "etc/c", "etc/kept"), file("etc/.wh.base", ""), file("var/.wh..wh..opq", ""),
			file("var/new", "new"),
			link(tar.TypeSymlink, "etc/absolute", "/etc/kept"), link(tar.TypeSymlink, "etc/relative", "../etc/kept"),
			link(tar.TypeSymlink, "etc/beyond", "../../../etc/kept"), link(tar.TypeSymlink, "etc/dangling", "nowhere")),
		layerOf(t, compression.None, executable(hostProgram, program(t, ""))),
	)
}

func TestHostLayers(t *testing.T) {
	s := newShelf(t)
	// The user's image must not add to the host's files.
	user := imageOf(t, userConfig, gzipLayer(t, file(".sockerless/host/etc/intruder", "x"), file("etc/base", "user's")))
	source := wrap.Source{Image: s.put(t, "team/app", user), Base: s.put(t, "functions/base", oddBase(t))}
	derived, err := newWrapper(t, s).Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	img, _, _ := pulled(t, derived.Reference)
	first := entries(t, img, 1)
	odd := first[".sockerless/host/bin/odd"]
	if odd.Mode != 0o4755 || odd.Uid != 12 || odd.Gid != 34 || odd.Uname != "u" || !odd.ModTime.Equal(built.Add(5)) ||
		odd.PAXRecords["SCHILY.xattr.user.mark"] != "a\x00b" || odd.content != "odd" {
		t.Errorf("%+v", odd)
	}
	const below = ".sockerless/host/"
	links := map[string]string{}
	for _, n := range []int{1, 2} {
		for name, i := range entries(t, img, n) {
			if i.Linkname != "" {
				links[strings.TrimPrefix(name, below)] = i.Linkname
			}
		}
	}
	if diff := cmp.Diff(map[string]string{
		"longer": "/" + below + almost, "longlink": below + long, "longsym": "/" + below + long,
		"etc/b": below + "etc/a", "etc/c": below + "etc/kept",
		"etc/absolute": "/" + below + "etc/kept", "etc/relative": "../etc/kept",
		"etc/beyond": "/" + below + "etc/kept", "etc/dangling": "nowhere",
	}, links); diff != "" {
		t.Error(diff)
	}

	root := t.TempDir()
	if err := rootfs.Unpack(img, root); err != nil {
		t.Fatal(err)
	}
	host := filepath.Join(root, below)
	for name, want := range map[string]string{
		"etc/b": "a", "etc/c": "kept", "etc/relative": "kept", "var/new": "new", long: "long", "longlink": "long",
		"../../etc/base": "user's", "etc/base": "", "var/old": "", "etc/intruder": "",
	} {
		got, err := os.ReadFile(filepath.Join(host, name))
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	var a, b unix.Stat_t
	if err := unix.Stat(filepath.Join(host, "etc/a"), &a); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(filepath.Join(host, "etc/b"), &b); err != nil || a.Ino != b.Ino {
		t.Errorf("a hard link is another file (%v)", err)
	}
}

func TestHostLayersAreDeterministic(t *testing.T) {
	var all [][]string
	for range 2 {
		s := newShelf(t)
		base := s.put(t, "functions/base", oddBase(t))
		w := newWrapper(t, s)
		layers, err := w.Host(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, layers)
		s.requests()
		again, err := w.Host(t.Context(), base)
		if err != nil || !slices.Equal(again, layers) {
			t.Errorf("again: %v, %v", again, err)
		}
		requests := s.requests()
		if got := append(matching(requests, writes), matching(requests, `functions/base`)...); len(got) != 0 {
			t.Errorf("the second time: %v", got)
		}
	}
	if !slices.Equal(all[0], all[1]) {
		t.Errorf("%v and %v", all[0], all[1])
	}
}

// The host image's tag holds a part of the base's digest. Another image under the tag is replaced.
func TestHostOfAnotherBaseIsReplaced(t *testing.T) {
	s := newShelf(t)
	base := s.put(t, "functions/base", staticBase(t))
	w := newWrapper(t, s)
	want, err := w.Host(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	tag := base.Digest().Encoded()[:12] + "-r1"
	other := imageOf(t, v1.Config{Labels: map[string]string{
		"io.sockerless.azf.recipe": "1", "io.sockerless.azf.base.digest": digest.FromString("x").String(),
	}}, gzipLayer(t, file("x", "x")))
	s.putTag(t, "sockerless/host", tag, other)
	got, err := w.Host(t.Context(), base)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// folders has where this machine has its libraries.
var folders = map[string][]string{
	"amd64": {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
	"arm64": {"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
}[runtime.GOARCH]

func tripletDir() string { return "usr" + folders[0] }

// dynamicBase returns a base image whose host is this machine's shell with its libraries, in a merged /usr. change
// removes files or changes them.
func dynamicBase(t *testing.T, change func(map[string]item)) v1.Image {
	t.Helper()
	_, shell := machineFile(t, "/bin/sh")
	parsed, err := elf.NewFile(strings.NewReader(shell))
	if err != nil {
		t.Fatal(err)
	}
	var interpreter string
	for _, p := range parsed.Progs {
		if p.Type == elf.PT_INTERP {
			content := make([]byte, p.Filesz)
			if _, err := p.ReadAt(content, 0); err != nil {
				t.Fatal(err)
			}
			interpreter = strings.TrimRight(string(content), "\x00")
		}
	}
	if interpreter == "" {
		t.Fatal("/bin/sh of this machine is static: this test needs a dynamic one")
	}
	_, dynamicLoader := machineFile(t, interpreter)
	files := map[string]item{
		"host":        executable(hostProgram, shell),
		"lib":         link(tar.TypeSymlink, "lib", "usr/lib"),
		"lib64":       link(tar.TypeSymlink, "lib64", "usr/lib64"),
		"loader":      executable(tripletDir()+"/ld-real.so", dynamicLoader),
		"interpreter": link(tar.TypeSymlink, path.Join("usr", interpreter), folders[0]+"/ld-real.so"),
	}
	todo, err := parsed.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if _, ok := files[name]; ok {
			continue
		}
		var at []string
		for _, dir := range folders {
			at = append(at, path.Join(dir, name))
		}
		_, content := machineFile(t, at...)
		files[name] = executable(tripletDir()+"/"+name, content)
		needs, err := elf.NewFile(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		more, err := needs.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		todo = append(todo, more...)
	}
	// .NET's libraries, of which only the names and the form matter here.
	libc := files["libc.so.6"].content
	for _, name := range []string{"libssl.so", "libcrypto.so", "libicuuc.so", "libicui18n.so", "libicudata.so"} {
		files[name] = link(tar.TypeLink, tripletDir()+"/"+name+".7", tripletDir()+"/libc.so.6")
	}
	if libc == "" {
		t.Fatal("the shell of this machine needs no libc.so.6")
	}
	if change != nil {
		change(files)
	}
	var items []item
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if files[name].Typeflag != tar.TypeLink {
			items = append(items, files[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) { // after what they link to
		if files[name].Typeflag == tar.TypeLink {
			items = append(items, files[name])
		}
	}
	return imageOf(t, v1.Config{}, gzipLayer(t, items...))
}

// The shell of this machine runs below the prefix in an image that has nothing else.
func TestPatchedProgramRuns(t *testing.T) {
	azuretest.NeedsIsolation(t, container.Supported)
	s := newShelf(t)
	user := imageOf(t, v1.Config{}, gzipLayer(t, file("etc/app", "x=1")))
	source := wrap.Source{
		Image: s.put(t, "team/app", user), Base: s.put(t, "functions/base", dynamicBase(t, nil)),
	}
	derived, err := newWrapper(t, s).Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	img, _, _ := pulled(t, derived.Reference)
	last := entries(t, img, 2)
	if got, want := last[".sockerless/libs"].content, "/.sockerless/host/"+tripletDir()+"\n"; got != want {
		t.Errorf("libs: %q, want %q", got, want)
	}
	ld := last[".sockerless/ld.so"]
	if ld.Typeflag != tar.TypeSymlink || ld.Linkname != "host/"+tripletDir()+"/ld-real.so" {
		t.Errorf("ld.so: %+v", ld)
	}
	root := t.TempDir()
	if err := rootfs.Unpack(img, root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "lib64")); err == nil {
		t.Fatal("the user's image has a /lib64 of its own")
	}
	var output bytes.Buffer
	c, err := container.Start(container.Config{
		Root: root, Args: []string{"/.sockerless/host/" + hostProgram, "-c", "echo it runs; exit 7"}, Output: &output,
		Env: []string{"LD_LIBRARY_PATH=" + strings.TrimSpace(last[".sockerless/libs"].content)},
	})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if output.String() != "it runs\n" || c.ExitCode() != 7 {
		t.Errorf("%q, code %d", &output, c.ExitCode())
	}
}

func TestBasesThatAreRefused(t *testing.T) {
	host := func(i item) v1.Image { return imageOf(t, v1.Config{}, gzipLayer(t, i)) }
	other := []byte(program(t, ""))
	other[18] ^= 0xff // the machine
	for name, row := range map[string]struct {
		base v1.Image
		text string
	}{
		"no host":       {host(file("etc/x", "x")), "it has no " + hostProgram},
		"script":        {host(executable(hostProgram, "#!/bin/sh\n")), "it is not a 64-bit ELF program"},
		"other machine": {host(executable(hostProgram, string(other))), "it is for "},
		"link":          {host(link(tar.TypeSymlink, hostProgram, "/bin/sh")), "is not a regular program"},
		"hard link": {imageOf(t, v1.Config{}, gzipLayer(t, executable("bin/host.so", program(t, "")),
			link(tar.TypeLink, hostProgram, "bin/host.so"))), "is not a regular program"},
		"short":            {host(executable(hostProgram, program(t, "/lib/ld.so.1"))), "has 13 bytes; 19 are needed"},
		"no interpreter":   {dynamicBase(t, without("loader")), "it lacks the interpreter /lib"},
		"no libc":          {dynamicBase(t, without("libc.so.6")), "it lacks libraries: "},
		"no extra library": {dynamicBase(t, without("libicuuc.so")), "it lacks libraries: libicuuc.so"},
		"library is a text": {dynamicBase(t, func(files map[string]item) {
			files["libssl.so"] = file(tripletDir()+"/libssl.so.7", "INPUT(x)")
		}), "it lacks libraries: libssl.so"},
		"host removed": {imageOf(t, v1.Config{}, gzipLayer(t, executable(hostProgram, program(t, ""))),
			gzipLayer(t, file(path.Dir(hostProgram)+"/.wh."+path.Base(hostProgram), ""))), "it has no " + hostProgram},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			base := s.put(t, "functions/base", row.base)
			temp := t.TempDir()
			_, err := newWrapper(t, s, func(c *wrap.Config) { c.TempDir = temp }).Host(t.Context(), base)
			if api.KindOf(err) != api.InvalidParameter || !strings.Contains(err.Error(), row.text) ||
				!strings.HasPrefix(err.Error(), "the base image "+base.String()+" cannot be put into other images: ") {
				t.Errorf("%v", err)
			}
			if got := matching(s.requests(), writes); len(got) != 0 {
				t.Errorf("something was pushed: %v", got)
			}
			if left := filesIn(t, temp); len(left) != 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

func without(name string) func(map[string]item) {
	return func(files map[string]item) {
		if name == "libc.so.6" { // which others are links to
			for other, i := range files {
				if i.Typeflag == tar.TypeLink {
					delete(files, other)
				}
			}
		}
		delete(files, name)
	}
}

// A static host needs no libraries, and its image no loader.
func TestHostInLaterLayer(t *testing.T) {
	s := newShelf(t)
	base := imageOf(t, v1.Config{}, gzipLayer(t, executable(hostProgram, program(t, "/lib64/ld-linux-x86-64.so.2"))),
		gzipLayer(t, executable(hostProgram, program(t, ""))))
	source := wrap.Source{Image: s.put(t, "team/app", userImage(t)), Base: s.put(t, "functions/base", base)}
	derived, err := newWrapper(t, s).Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	img, _, _ := pulled(t, derived.Reference)
	if _, has := entries(t, img, 4)[".sockerless/ld.so"]; has {
		t.Error("there is a loader for a static host")
	}
	patched := entries(t, img, 2)[".sockerless/host/"+hostProgram].content
	if !bytes.Contains([]byte(patched), []byte("/.sockerless/ld.so\x00")) || strings.Contains(patched, "ld-linux") {
		t.Errorf("%q", patched)
	}
	if patched := entries(t, img, 3)[".sockerless/host/"+hostProgram].content; patched != program(t, "") {
		t.Errorf("a static program was changed")
	}
}
