package wrap

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/examples"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// layer is a compressed layer in a file or in memory. It implements v1.Layer.
type layer struct {
	content        io.ReaderAt
	digest, diffID v1.Hash
	size           int64
}

func (l *layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return gzip.NewReader(l.reader()) }
func (l *layer) Compressed() (io.ReadCloser, error)   { return io.NopCloser(l.reader()), nil }
func (l *layer) reader() io.Reader                    { return io.NewSectionReader(l.content, 0, l.size) }

// archive writes a layer. The same entries give the same digest.
type archive struct {
	*tar.Writer
	zip            *gzip.Writer
	out            *bufio.Writer
	digest, diffID hash.Hash
	size           int64
}

func newArchive(out io.Writer) (*archive, error) {
	a := &archive{digest: sha256.New(), diffID: sha256.New()}
	a.out = bufio.NewWriterSize(io.MultiWriter(out, a.digest, (*counter)(&a.size)), 64<<10)
	var err error
	a.zip, err = gzip.NewWriterLevel(a.out, gzip.BestSpeed)
	a.Writer = tar.NewWriter(io.MultiWriter(a.diffID, a.zip))
	return a, err
}

// finish ends the archive. content is what it has written.
func (a *archive) finish(content io.ReaderAt) (*layer, error) {
	err := errors.Join(a.Close(), a.zip.Close(), a.out.Flush())
	return &layer{content: content, digest: sum(a.digest), diffID: sum(a.diffID), size: a.size}, err
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// tempPrefix begins the names of temporary files.
const tempPrefix = "azf-wrap-"

// RemoveLeftovers removes the temporary files that a killed process has left in a Config.TempDir. No other process may
// use the folder at the time.
func RemoveLeftovers(dir string) error {
	left, err := fs.Glob(os.DirFS(dir), tempPrefix+"*")
	for _, name := range left {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	return err
}

// tempFile returns a file without a name, which the system removes when it is closed.
func tempFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// HandlerName is the name of azf-handler in a derived image.
const HandlerName = "init"

// Names in the last layer, and what the environment says of them.
const (
	handlerPath = protocol.InstallFolder + "/" + HandlerName
	homePath    = protocol.InstallFolder + "/home"
	rootPath    = homePath + "/site/wwwroot" // the Functions host looks here, whatever protocol.ScriptRootEnv says
)

// lastLayer returns the layer on top of the host's.
func (w *Wrapper) lastLayer(h *hostLayers, of protocol.Image) (*layer, error) {
	image, err := json.Marshal(of)
	if err != nil {
		return nil, err
	}
	functions, err := functionFiles()
	if err != nil {
		return nil, err
	}
	var libs strings.Builder
	for _, dir := range h.folders {
		libs.WriteString("/" + path.Join(hostPrefix, dir) + "\n")
	}
	files := []entry{
		{name: protocol.InstallFolder + "/", mode: 0o755},
		{name: handlerPath, mode: 0o755, content: w.cfg.Handler},
		{name: protocol.InstallFolder + "/" + protocol.ImageFile, mode: 0o644, content: image},
		{name: protocol.InstallFolder + "/" + protocol.LibrariesFile, mode: 0o644, content: []byte(libs.String())},
		{name: protocol.InstallFolder + "/tmp/", mode: 0o1777},
		{name: homePath + "/", mode: 0o700},
	}
	if h.loader != "" {
		files = append(files, entry{name: loader, mode: 0o777, link: protocol.HostFolder + "/" + h.loader})
	}
	var buf bytes.Buffer
	a, err := newArchive(&buf)
	if err != nil {
		return nil, err
	}
	for _, e := range append(files, functions...) {
		if err := e.write(a.Writer); err != nil {
			return nil, fmt.Errorf("write %s: %w", e.name, err)
		}
	}
	l, err := a.finish(nil)
	l.content = bytes.NewReader(buf.Bytes())
	return l, err
}

// entry is a file, a link, or a folder, whose name ends with a slash.
type entry struct {
	name    string
	mode    int64
	link    string
	content []byte
}

func (e entry) write(out *tar.Writer) error {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(e.name, "/"), Mode: e.mode, Linkname: e.link,
		Size: int64(len(e.content)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX,
	}
	switch {
	case e.link != "":
		h.Typeflag = tar.TypeSymlink
	case strings.HasSuffix(e.name, "/"):
		h.Typeflag = tar.TypeDir
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err := out.Write(e.content)
	return err
}

// functionFiles returns the functions of the example image, with the handler of derived images, and their folders.
func functionFiles() ([]entry, error) {
	const from = "hello/wwwroot"
	entries := []entry{{name: homePath + "/site/", mode: 0o755}}
	err := fs.WalkDir(examples.Hello, from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := rootPath + strings.TrimPrefix(name, from)
		if d.IsDir() {
			entries = append(entries, entry{name: at + "/", mode: 0o755})
			return nil
		}
		content, err := examples.Hello.ReadFile(name)
		if err == nil && d.Name() == "host.json" {
			content, err = withHandler(content)
		}
		entries = append(entries, entry{name: at, mode: 0o644, content: content})
		return err
	})
	return entries, err
}

// withHandler returns a host.json whose custom handler is that of derived images.
func withHandler(content []byte) ([]byte, error) {
	var host map[string]any
	if err := json.Unmarshal(content, &host); err != nil {
		return nil, fmt.Errorf("read host.json: %w", err)
	}
	handler, ok := host["customHandler"].(map[string]any)
	if !ok {
		return nil, errors.New("read host.json: it has no customHandler")
	}
	handler["description"] = map[string]any{"defaultExecutablePath": handlerPath, "arguments": []string{"handler"}}
	return json.MarshalIndent(host, "", "  ")
}
