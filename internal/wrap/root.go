package wrap

import (
	"archive/tar"
	"fmt"
	"path"
	"slices"
	"strings"
)

// The names of whiteouts (github.com/opencontainers/image-spec, layer.md).
const (
	whiteout     = ".wh."
	opaque       = ".wh..wh..opq"
	whiteoutsOwn = ".wh..wh." // names that aufs keeps for itself
)

// node is a file, folder or link of a root.
type node struct {
	kind    byte // of package tar
	link    string
	layer   int
	library *library
}

// root is the tree that the layers of an image form, by path without the first slash.
type root map[string]node

// parentOf returns the folder of a path; the root's is "".
func parentOf(p string) string {
	if dir := path.Dir(p); dir != "." {
		return dir
	}
	return ""
}

// place returns the path of an entry with its parents' links followed.
func (r root) place(name string) string {
	if name == "" {
		return ""
	}
	return path.Join(r.resolve(parentOf(name)), path.Base(name))
}

// resolve follows all links of a path, as far as there are any. Nothing leads out of the root.
func (r root) resolve(name string) string {
	done, todo := "", strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = parentOf(done)
			continue
		}
		next := path.Join(done, part)
		n := r[next]
		if n.kind != tar.TypeSymlink || links >= 40 {
			done = next
			continue
		}
		links++
		if strings.HasPrefix(n.link, "/") {
			done = ""
		}
		todo = append(strings.Split(n.link, "/"), todo...)
	}
	return done
}

// apply changes the tree as an entry of a layer does. name is the entry's place.
func (r root) apply(h *tar.Header, name string, layer int, l *library) {
	base := path.Base(name)
	switch {
	case base == opaque:
		r.remove(parentOf(name), layer, false)
		return
	case strings.HasPrefix(base, whiteoutsOwn):
		return
	case strings.HasPrefix(base, whiteout):
		r.remove(path.Join(parentOf(name), strings.TrimPrefix(base, whiteout)), layer, true)
		return
	case h.Typeflag == tar.TypeLink:
		n := r[r.resolve(clean(h.Linkname))]
		n.layer = layer
		r[name] = n
		return
	}
	if r[name].kind == tar.TypeDir && h.Typeflag != tar.TypeDir {
		r.remove(name, layer+1, true)
	}
	r[name] = node{kind: h.Typeflag, link: h.Linkname, layer: layer, library: l}
}

// remove removes what layers below one have put below a folder, and on demand the folder itself.
func (r root) remove(name string, layer int, self bool) {
	for p, n := range r {
		below := name == "" || strings.HasPrefix(p, name+"/")
		if n.layer < layer && (below || self && p == name) {
			delete(r, p)
		}
	}
}

// folders returns the folders, with links followed, in which a dynamic loader looks for libraries.
func (r root) folders(architecture string) (found []string) {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[architecture]
	with := map[string]bool{}
	for p, n := range r {
		if n.library != nil {
			with[parentOf(p)] = true
		}
	}
	for _, dir := range []string{
		"lib/" + triplet, "usr/lib/" + triplet, "lib64", "usr/lib64", "lib", "usr/lib", "usr/local/lib",
	} {
		if dir = r.resolve(dir); with[dir] && !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	return found
}

// extraLibraries are what .NET loads without naming it in its files. Their names end with a version.
var extraLibraries = []string{"libssl.so", "libcrypto.so", "libicuuc.so", "libicui18n.so", "libicudata.so"}

// checkLibraries returns an error that names the libraries that a program lacks, or those that its libraries lack.
func (r root) checkLibraries(program string, folders []string) error {
	var missing []string
	todo := []string{program}
	for _, extra := range extraLibraries {
		at := r.versioned(extra, folders)
		if at == "" {
			missing = append(missing, extra)
			continue
		}
		todo = append(todo, at)
	}
	seen := map[string]bool{}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if seen[at] {
			continue
		}
		seen[at] = true
		for _, name := range r[at].library.needs {
			found := r.find(name, at, folders)
			if found == "" {
				if !slices.Contains(missing, name) {
					missing = append(missing, name)
				}
				continue
			}
			todo = append(todo, found)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it lacks libraries: %s", strings.Join(missing, ", "))
	}
	return nil
}

// find returns the path of a library that a file needs, or "".
func (r root) find(name, needer string, folders []string) string {
	var search []string
	for _, list := range r[needer].library.search {
		for dir := range strings.SplitSeq(list, ":") {
			for _, origin := range []string{"$ORIGIN", "${ORIGIN}"} {
				// Other folders are outside of the prefix in the derived image.
				if rest, ok := strings.CutPrefix(dir, origin); ok {
					search = append(search, path.Join(parentOf(needer), rest))
				}
			}
		}
	}
	for _, dir := range append(search, folders...) {
		if at := r.resolve(path.Join(dir, name)); r[at].library != nil {
			return at
		}
	}
	return ""
}

// versioned returns the path of a library whose name has a version, such as libssl.so.3, or "".
func (r root) versioned(name string, folders []string) string {
	var found []string
	for p := range r {
		if slices.Contains(folders, parentOf(p)) && strings.HasPrefix(path.Base(p), name+".") {
			if at := r.resolve(p); r[at].library != nil {
				found = append(found, at)
			}
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.Min(found)
}
