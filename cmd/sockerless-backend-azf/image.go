package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
)

// wwwroot is where the Functions host looks for functions in an image.
const wwwroot = "/home/site/wwwroot"

// exampleImage builds the image of examples/hello from a checkout of this project, with the Go toolchain.
func exampleImage(ctx context.Context, source, work string, environ []string) (appimage.Image, error) {
	example := filepath.Join(source, "examples", "hello")
	files := map[string]appimage.File{}
	for pkg, target := range map[string]string{"./cmd/azf-handler": wwwroot + "/azf-handler", "./examples/hello": "/usr/local/bin/hello"} {
		binary, err := goBuild(ctx, source, pkg, filepath.Join(work, filepath.Base(target)), environ)
		if err != nil {
			return nil, err
		}
		files[target] = appimage.File{Content: binary, Mode: 0o755}
	}
	root := os.DirFS(filepath.Join(example, "wwwroot"))
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		files[wwwroot+"/"+path] = appimage.File{Content: content, Mode: 0o644}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read example: %w", err)
	}
	return appimage.Build(files, []string{"AzureWebJobsScriptRoot=" + wwwroot, "AzureFunctionsJobHost__Logging__Console__IsEnabled=true"})
}

// pushExample builds the example image and puts it into the simulator's registry.
func pushExample(ctx context.Context, sim *azuresim.Sim, ref, source, work string, environ []string) error {
	img, err := exampleImage(ctx, source, work, environ)
	if err != nil {
		return err
	}
	transport := sim.Transport()
	defer transport.CloseIdleConnections()
	return appimage.Push(ctx, ref, img, transport)
}

// goBuild builds a static binary and returns its content.
func goBuild(ctx context.Context, source, pkg, output string, environ []string) ([]byte, error) {
	output, err := filepath.Abs(output)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(source, pkg)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a checkout of this project, which the example image is built from: run the demo in one, or name it with --source", source)
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

// httpTransporter lets the Azure SDK use a transport.
type httpTransporter struct{ http.RoundTripper }

// Do makes one request.
func (t httpTransporter) Do(req *http.Request) (*http.Response, error) { return t.RoundTrip(req) }
