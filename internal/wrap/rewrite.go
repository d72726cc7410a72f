package wrap

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

const (
	// hostPrefix is where the files of the base image are in a derived image.
	hostPrefix = installPrefix + protocol.HostFolder
	// installPrefix is protocol.InstallFolder in the names of entries.
	installPrefix = ".sockerless/"
	// maxHead is how much of the program is searched for the name of its interpreter, in bytes.
	maxHead = 1 << 20
)

// rewriter rewrites the layers of a base image, one after the other.
type rewriter struct {
	architecture string
	spool        *os.File // holds one library while it is read
	root         root
	layer        int // from 1
	// The program as the layer of this number has it, and its interpreter, which is empty for a static program.
	programLayer int
	interpreter  string
}

// rewrite writes the next layer: all that in holds, below hostPrefix. It reads in to its end.
func (r *rewriter) rewrite(in io.Reader, out *tar.Writer) error {
	r.layer++
	if r.layer == 1 {
		// The user's image may have files there. The opaque marker hides them.
		for _, h := range []tar.Header{
			{Typeflag: tar.TypeDir, Name: installPrefix, Mode: 0o755},
			{Typeflag: tar.TypeReg, Name: installPrefix + opaque, Mode: 0o644},
			{Typeflag: tar.TypeDir, Name: hostPrefix + "/", Mode: 0o755},
		} {
			h.ModTime = time.Unix(0, 0)
			if err := out.WriteHeader(&h); err != nil {
				return err
			}
		}
	}
	entries := tar.NewReader(in)
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.entry(h, entries, out)
		}
		if err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, in) // the registry's digest is verified at the end of the content
	return err
}

// entry writes one entry.
func (r *rewriter) entry(h *tar.Header, content io.Reader, out *tar.Writer) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // it holds comments
	}
	if h.Typeflag == tar.TypeGNUSparse {
		h.Typeflag = tar.TypeReg // the reader fills the holes
	}
	place := r.root.place(clean(h.Name))
	regular := h.Typeflag == tar.TypeReg
	if regular && place == protocol.HostProgram {
		var err error
		if content, err = r.patch(content); err != nil {
			return fmt.Errorf("%s: %w", protocol.HostProgram, err)
		}
	}
	read := regular && (place == protocol.HostProgram || strings.Contains(path.Base(place), ".so"))
	if read {
		if err := r.rewind(); err != nil {
			return err
		}
		content = io.TeeReader(content, r.spool)
	}
	if err := out.WriteHeader(moved(h)); err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		return err
	}
	var l *library
	if read {
		l = readLibrary(io.NewSectionReader(r.spool, 0, h.Size))
	}
	r.root.apply(h, place, r.layer, l)
	return nil
}

func (r *rewriter) rewind() error {
	_, err := r.spool.Seek(0, io.SeekStart)
	return errors.Join(err, r.spool.Truncate(0))
}

// patch returns the content of the program with another interpreter.
func (r *rewriter) patch(content io.Reader) (io.Reader, error) {
	head := make([]byte, maxHead)
	n, err := io.ReadFull(content, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	head = head[:n]
	interpreter, err := readProgram(head, r.architecture)
	if err != nil {
		return nil, baseError{err}
	}
	r.programLayer, r.interpreter = r.layer, ""
	if interpreter != nil {
		if r.interpreter, err = patch(interpreter); err != nil {
			return nil, baseError{err}
		}
	}
	return io.MultiReader(bytes.NewReader(head), content), nil
}

// baseError says why an image cannot be a base.
type baseError struct{ error }

// check returns the path of the base's dynamic loader and the folders of its libraries, when all layers are written. A
// static program needs neither.
func (r *rewriter) check() (loader string, folders []string, err error) {
	n := r.root[protocol.HostProgram]
	if n.kind == 0 {
		return "", nil, baseError{fmt.Errorf("it has no %s", protocol.HostProgram)}
	}
	if n.kind != tar.TypeReg || n.layer != r.programLayer || n.library == nil {
		return "", nil, baseError{fmt.Errorf("its %s is not a regular program", protocol.HostProgram)}
	}
	if r.interpreter == "" {
		return "", nil, nil
	}
	loader = r.root.resolve(r.interpreter)
	if r.root[loader].kind != tar.TypeReg {
		return "", nil, baseError{fmt.Errorf("it lacks the interpreter %s of its Functions host", r.interpreter)}
	}
	folders = r.root.folders(r.architecture)
	if err := r.root.checkLibraries(protocol.HostProgram, folders); err != nil {
		return "", nil, baseError{err}
	}
	return loader, folders, nil
}

// clean returns a name of an entry, or the target of a hard link, as a path without the first slash.
func clean(name string) string { return path.Clean("/" + name)[1:] }

// moved returns the header of an entry below hostPrefix.
func moved(h *tar.Header) *tar.Header {
	out := *h
	// PAX keeps fractions of seconds, and all that the other formats hold.
	out.Format = tar.FormatPAX
	out.AccessTime, out.ChangeTime = time.Time{}, time.Time{}
	out.Name = path.Join(hostPrefix, clean(h.Name))
	switch h.Typeflag {
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeLink:
		out.Linkname = path.Join(hostPrefix, clean(h.Linkname))
	case tar.TypeSymlink:
		out.Linkname = target(clean(h.Name), h.Linkname)
	}
	return &out
}

// target returns the target of a symbolic link of the base image, below hostPrefix.
func target(name, link string) string {
	if strings.HasPrefix(link, "/") {
		return path.Join("/"+hostPrefix, clean(link))
	}
	depth := strings.Count(name, "/")
	for part := range strings.SplitSeq(link, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 { // beyond the root, which is its own parent
			return path.Join("/"+hostPrefix, clean(path.Join(parentOf(name), link)))
		}
	}
	return link
}
