package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
)

// BuildExample builds the image of examples/hello as its Dockerfile does, from a checkout of this project and with
// the Go toolchain, in the folder work. Benchmark and tests use it, since they measure and test the real azf-handler;
// a demo does not.
func BuildExample(ctx context.Context, source, work string, environ []string) (appimage.Image, error) {
	handler, err := goBuild(ctx, source, "./cmd/azf-handler", filepath.Join(work, "azf-handler"), environ)
	if err != nil {
		return nil, err
	}
	hello, err := goBuild(ctx, source, "./examples/hello", filepath.Join(work, "hello"), environ)
	if err != nil {
		return nil, err
	}
	host := filepath.Join(work, "webhost")
	if _, err := goBuild(ctx, source, "./internal/azuresim/funchost/webhost", host, environ); err != nil {
		return nil, err
	}
	base, err := appimage.Base(host)
	if err != nil {
		return nil, err
	}
	return functionImage(base, handler, hello)
}

// PushExample builds the image of examples/hello and puts it into the simulator's registry.
func PushExample(ctx context.Context, sim *azuresim.Sim, ref, source, work string, environ []string) error {
	img, err := BuildExample(ctx, source, work, environ)
	if err != nil {
		return err
	}
	return push(ctx, sim, ref, img)
}

// goBuild builds a static binary and returns its content.
func goBuild(ctx context.Context, source, pkg, output string, environ []string) ([]byte, error) {
	output, err := filepath.Abs(output)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(source, pkg)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a checkout of this project, which the example image is built from", source)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, pkg)
	cmd.Dir = source
	cmd.Env = append(environ[:len(environ):len(environ)], "CGO_ENABLED=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, out.Bytes())
	}
	return os.ReadFile(output)
}
