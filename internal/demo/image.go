package demo

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/sockerless/backend-azf/examples"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// wwwroot is the folder in an image in which the Functions host looks for functions.
const wwwroot = "/home/site/wwwroot"

// HandlerCommand is the hidden command of the program in which it behaves as azf-handler. Arguments follow.
const HandlerCommand = "azf-handler"

// carried holds the scripts of the image.
//
//go:embed image
var carried embed.FS

// image returns an image that runs where nothing but the executable of this program is, and a shell: the
// image's azf-handler is a script that executes program.
func image(program string) (appimage.Image, error) {
	handler, err := carried.ReadFile("image/azf-handler")
	if err != nil {
		return nil, err
	}
	hello, err := carried.ReadFile("image/hello")
	if err != nil {
		return nil, err
	}
	handler = []byte(
		strings.NewReplacer("PROGRAM", shellQuote(program), "COMMAND", HandlerCommand).Replace(string(handler)),
	)
	base, err := appimage.Base(program)
	if err != nil {
		return nil, err
	}
	return functionImage(base, handler, hello)
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

// shellQuote returns text as one word of a shell command.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
