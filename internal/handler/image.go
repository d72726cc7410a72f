package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// A wrapped image is a user's image with one folder added, that of azf-handler: the Functions host in hostFolder, its
// home with the functions, and imageFile, which describes the user's image. In an image it is installFolder. Everything
// is found from the running program, so that the folder may also lie elsewhere.
const (
	installFolder = "/.sockerless"
	imageFile     = "image.json"
	librariesFile = "libs"
	hostFolder    = "host"
)

// imageVersion is the version of imageFile that this release reads.
const imageVersion = 1

// dockerPath is the PATH that Docker gives to a container whose image has none.
const dockerPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// image describes the user's image in a wrapped one.
type image struct {
	Version   int    `json:"version"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	Config    struct {
		Env        []string `json:"Env"`
		User       string   `json:"User"`
		WorkingDir string   `json:"WorkingDir"`
		Entrypoint []string `json:"Entrypoint"`
		Cmd        []string `json:"Cmd"`
	} `json:"config"`
}

// folder returns the folder of the running program.
func folder() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program's folder: %w", err)
	}
	return filepath.Dir(path), nil
}

// readImage reads the imageFile in a folder.
func readImage(dir string) (*image, error) {
	path := filepath.Join(dir, imageFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var img image
	if err := json.Unmarshal(content, &img); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if img.Version != imageVersion {
		return nil, fmt.Errorf("%s has version %d and this azf-handler reads version %d: wrap the image again",
			path, img.Version, imageVersion)
	}
	return &img, nil
}

// findImage returns the wrapped image that a handler with these arguments and settings belongs to, and the arguments
// that are left. There is one if imageFile lies beside the program and the first argument is handlerCommand, or if Host
// has started the Functions host. Otherwise the image is nil, and the arguments are the command of a user's own image,
// which may be called handlerCommand too.
func findImage(args, environ []string) (*image, []string, error) {
	isCommand := len(args) > 0 && args[0] == handlerCommand
	hosted := lookup(environ, originalEnv) != ""
	if !isCommand && !hosted {
		return nil, args, nil
	}
	dir, err := folder()
	if err != nil {
		return nil, args, err
	}
	img, err := readImage(dir)
	if errors.Is(err, fs.ErrNotExist) && !hosted {
		return nil, args, nil
	}
	if isCommand {
		args = args[1:]
	}
	return img, args, err
}

// wrap fills in what the spec leaves to the user's image.
func (img *image) wrap(spec *protocol.Spec) {
	if len(spec.Command) == 0 {
		spec.Command = slices.Concat(img.Config.Entrypoint, img.Config.Cmd)
	}
	spec.User = firstOf(spec.User, img.Config.User)
	spec.WorkingDir = firstOf(spec.WorkingDir, img.Config.WorkingDir, "/")
}

// env returns the variables of the user's image that a spec lacks: PATH, or all for a partial spec.
func (img *image) env(partial bool) []string {
	return slices.DeleteFunc(slices.Clone(img.Config.Env), func(entry string) bool {
		return !partial && !strings.HasPrefix(entry, "PATH=")
	})
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// lookup returns the last value of a variable, or "" when it is absent.
func lookup(environ []string, name string) string {
	for _, entry := range slices.Backward(environ) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}
