package azuretest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs holds the build of each package in the test binary, as func() ([]byte, error).
var programs sync.Map

// BuildProgram returns the static binary of a main package, such as ./testdata/handler. It is built once in a test
// binary. The test fails if the package does not compile.
func BuildProgram(t testing.TB, pkg string) []byte {
	t.Helper()
	once, _ := programs.LoadOrStore(pkg, sync.OnceValues(func() ([]byte, error) { return buildProgram(pkg) }))
	binary, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func buildProgram(pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "azuretest-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing depends on it
	path := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w: %s", pkg, err, output)
	}
	return os.ReadFile(path)
}
