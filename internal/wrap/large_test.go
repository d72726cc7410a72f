package wrap_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sockerless/backend-azf/internal/wrap"
)

// maxGrowth is how much memory a call may take, in bytes, however large the layers are.
const maxGrowth = 64 << 20

// random returns a string that does not compress.
func random(t *testing.T, size int) string {
	t.Helper()
	content := make([]byte, size)
	if _, err := rand.NewChaCha8([32]byte{}).Read(content); err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// moved returns a reference to the same repository and digest in another registry.
func moved(t *testing.T, ref reference.Canonical, host string) reference.Canonical {
	t.Helper()
	return canonical(t, host+"/"+reference.Path(ref)+"@"+ref.Digest().String())
}

// meter measures the memory of the process.
type meter struct {
	mu          sync.Mutex
	start, peak uint64
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func newMeter() *meter {
	runtime.GC()
	now := inUse()
	return &meter{start: now, peak: now}
}

func (m *meter) sample() {
	now := inUse()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peak = max(m.peak, now)
}

func (m *meter) growth() uint64 { return m.peak - m.start }

// metered samples the memory as it is read.
type metered struct {
	io.Reader
	*meter
	since int
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if m.since += n; m.since > 4<<20 {
		m.since = 0
		m.sample()
	}
	return n, err
}

// zeros reads as zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// madeLayer is a layer that is made when it is read.
type madeLayer struct {
	v1.Layer
	hash v1.Hash
	made
}

func (l madeLayer) Digest() (v1.Hash, error) { return l.hash, nil }
func (l madeLayer) DiffID() (v1.Hash, error) { return l.hash, nil } // nobody unpacks it
func (l madeLayer) Size() (int64, error)     { return l.size, nil }
func (l madeLayer) MediaType() (types.MediaType, error) {
	return types.OCILayer, nil
}

// makeLayer puts a made layer into a repository of a shelf.
func (s *shelf) makeLayer(t *testing.T, repository string, open func() io.Reader) v1.Layer {
	t.Helper()
	h := sha256.New()
	size, err := io.Copy(h, open())
	if err != nil {
		t.Fatal(err)
	}
	l := madeLayer{hash: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, made: made{size, open}}
	s.made[l.hash.String()] = l.made
	s.show(repository, l.hash.String())
	return l
}

func TestDeriveAcrossRegistries(t *testing.T) { deriveAcross(t, 256<<20) }

func TestLongDeriveAcrossRegistries(t *testing.T) { deriveAcross(t, 1<<30) }

// deriveAcross derives from an image of another registry, whose layer does not compress.
func deriveAcross(t *testing.T, size int64) {
	theirs, ours := newShelf(t), newShelf(t)
	m := newMeter()
	large := theirs.makeLayer(t, "team/app", func() io.Reader {
		return &metered{Reader: io.LimitReader(rand.NewChaCha8([32]byte{}), size), meter: m}
	})
	user := imageOf(t, userConfig, large, gzipLayer(t, file("etc/app", "x=1")))
	source := wrap.Source{
		Image: theirs.put(t, "team/app", user), Base: theirs.put(t, "functions/base", staticBase(t)),
	}
	w := newWrapper(t, ours)
	derived, err := w.Derive(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("memory grew by %.1f MiB, %d MiB were pushed", float64(m.growth())/(1<<20), derived.PushedBytes>>20)
	if m.growth() > maxGrowth {
		t.Errorf("memory grew by %d bytes", m.growth())
	}
	if derived.PushedBytes < size || derived.MountedBlobs != 2 {
		t.Errorf("%d bytes pushed, %d blobs mounted", derived.PushedBytes, derived.MountedBlobs)
	}
	if got := matching(theirs.requests(), writes); len(got) != 0 {
		t.Errorf("the user's registry was changed: %v", got)
	}
	if got := matching(ours.requests(), `from=team`); len(got) != 0 {
		t.Errorf("mounted from another registry: %v", got)
	}
	checkDerived(t, user, derived, source)
	again, err := w.Derive(t.Context(), source)
	if err != nil || again.Digest != derived.Digest || again.PushedBytes != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// A layer of the base image is rewritten as it is read.
func TestRewriteLargeLayer(t *testing.T) {
	const size = 256 << 20
	s := newShelf(t)
	m := newMeter()
	var head bytes.Buffer
	header := tar.Header{Typeflag: tar.TypeReg, Name: "usr/lib/large.so", Mode: 0o644, Size: size}
	if err := tar.NewWriter(&head).WriteHeader(&header); err != nil {
		t.Fatal(err)
	}
	large := s.makeLayer(t, "functions/base", func() io.Reader {
		return &metered{meter: m, Reader: io.MultiReader(
			bytes.NewReader(head.Bytes()), io.LimitReader(zeros{}, size), io.LimitReader(zeros{}, 1024))}
	})
	base := imageOf(t, v1.Config{}, large, gzipLayer(t, executable(hostProgram, program(t, ""))))
	layers, err := newWrapper(t, s).Host(t.Context(), s.put(t, "functions/base", base))
	if err != nil {
		t.Fatal(err)
	}
	m.sample()
	t.Logf("memory grew by %.1f MiB", float64(m.growth())/(1<<20))
	if m.growth() > maxGrowth || len(layers) != 2 {
		t.Errorf("memory grew by %d bytes, layers %v", m.growth(), layers)
	}
}
