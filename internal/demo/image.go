package demo

import (
	"context"
	_ "embed" // for hello
	"fmt"
	"io/fs"

	"github.com/sockerless/backend-azf/examples"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
	"github.com/sockerless/backend-azf/internal/handler"
	"github.com/sockerless/backend-azf/internal/wrap"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// wwwroot is the folder in an image in which the Functions host looks for functions.
const wwwroot = "/home/site/wwwroot"

// Under the name of azf-handler in a wrapped image, the program is azf-handler.
func init() { reexec.Register(wrap.HandlerName, handler.Main) }

// hello does what examples/hello does.
//
//go:embed hello.sh
var hello []byte

// helloImage returns an image that knows nothing of Azure Functions: a script for the shell that all containers of a
// demo share. It has no PATH, so that a command is found even where the image gets no root of its own.
func helloImage() (appimage.Image, error) {
	files := map[string]appimage.File{"/usr/local/bin/hello": {Content: hello, Mode: 0o755}}
	return appimage.Build(files, nil, nil, "hello", "world")
}

// functionImage returns an image on base with the functions of examples/hello.
func functionImage(base appimage.Image, handler, hello []byte) (appimage.Image, error) {
	files := map[string]appimage.File{
		wwwroot + "/azf-handler": {Content: handler, Mode: 0o755},
		"/usr/local/bin/hello":   {Content: hello, Mode: 0o755},
	}
	root, err := fs.Sub(examples.Hello, "hello/wwwroot")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, path)
		files[wwwroot+"/"+path] = appimage.File{Content: content, Mode: 0o644}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the example image's functions: %w", err)
	}
	env := []string{"AzureWebJobsScriptRoot=" + wwwroot, "AzureFunctionsJobHost__Logging__Console__IsEnabled=true"}
	return appimage.BuildFrom(base, files, env, map[string]string{protocol.Label: protocol.Version})
}

// push puts an image into the simulator's registry.
func push(ctx context.Context, sim *azuresim.Sim, ref string, img appimage.Image) error {
	transport := sim.Transport()
	defer transport.CloseIdleConnections()
	return appimage.Push(ctx, ref, img, transport)
}
