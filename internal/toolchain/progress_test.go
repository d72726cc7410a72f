package toolchain

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTerminalRewritesOneLine(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, time.Hour)
	p.width = func() int { return 12 }
	p.show("building: 1")
	p.show("building: 2 of very many")
	p.say("built")
	p.show("building: 3")
	p.done()
	p.done()
	const erase = "\r\x1b[K"
	want := erase + "building: 1" + erase + "building: 2" + erase + "built\n" + erase + "building: 3" + erase
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func TestOtherWritersGetALinePerInterval(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 15*time.Second)
	now := time.Now()
	p.now = func() time.Time { return now }
	for range 46 { // seconds 0 to 45
		p.show("building on")
		now = now.Add(time.Second)
	}
	p.say("built")
	p.done()
	if want := strings.Repeat("building on\n", 4) + "built\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestFileIsNotATerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if width := terminalWidth(f); width != 0 {
		t.Errorf("a file has width %d, want 0", width)
	}
}

func TestPackagesDone(t *testing.T) {
	var g graph
	for _, line := range []string{"runtime", "fmt runtime", "net runtime", "example.com/main fmt net", ""} {
		g.readLine(line)
	}
	b := &builder{name: "x", graph: g, started: time.Now()}
	for _, step := range []struct {
		line     string
		progress bool
		want     string
	}{
		{"go: downloading example.com/a v1.0.0", true, "building x: 0 of 4 packages, 0s"},
		{"runtime", true, "building x: 1 of 4 packages, 0s"},
		{"# example.com/main", false, "building x: 1 of 4 packages, 0s"},
		{"net", true, "building x: 2 of 4 packages, 0s"},
		// fmt was in the build cache, so that go does not name it.
		{"example.com/main", true, "building x: linking 4 packages, 0s"},
	} {
		if progress := b.progressed(step.line); progress != step.progress || b.line() != step.want {
			t.Errorf("after %q (progress: %v): %q, want %q", step.line, progress, b.line(), step.want)
		}
	}
	downloading := &builder{name: "x", started: time.Now()}
	if want := "building x: reading its packages, 0s"; downloading.line() != want {
		t.Errorf("got %q, want %q", downloading.line(), want)
	}
	downloading.progressed("go: downloading example.com/a v1.0.0")
	if want := "building x: 1 modules downloaded, 0s"; downloading.line() != want {
		t.Errorf("got %q, want %q", downloading.line(), want)
	}
}

// TestPackagesOfARealBuild has go list and build a program: in the end, all its packages are done.
func TestPackagesOfARealBuild(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	p := f.preparer()
	p.environ, p.progressTick = f.environ, time.Hour
	dir := t.TempDir()
	if err := f.tofu.write(dir); err != nil {
		t.Fatal(err)
	}
	b := &builder{preparer: p, name: "x", dir: dir, goBinary: filepath.Join(f.bin, "go"), started: time.Now()}
	if err := b.run(t.Context(), b.graph.readLine, "list", "-deps", "-f", graphFormat, f.tofu.pkg); err != nil {
		t.Fatal(err)
	}
	all := b.graph.all()
	if all < 10 || b.graph.done() != 0 {
		t.Errorf("%d of %d packages are done before the build, want 0 of at least 10", b.graph.done(), all)
	}
	if err := b.run(t.Context(), nil, "build", "-v", "-o", filepath.Join(dir, "x"), f.tofu.pkg); err != nil {
		t.Fatal(err)
	}
	if b.graph.done() != all {
		t.Errorf("%d of %d packages are done after the build", b.graph.done(), all)
	}
}
