package handler

import (
	"cmp"
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

// dockerPath is the PATH that Docker gives to a container whose image has none.
const dockerPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// image is the user's image in a wrapped one.
type image struct{ protocol.Image }

// folder returns the folder of the running program.
func folder() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program's folder: %w", err)
	}
	return filepath.Dir(path), nil
}

// readImage reads the protocol.ImageFile in a folder.
func readImage(dir string) (*image, error) {
	path := filepath.Join(dir, protocol.ImageFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var img image
	if err := json.Unmarshal(content, &img.Image); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if img.Version != protocol.ImageVersion {
		return nil, fmt.Errorf("%s has version %d and this azf-handler reads version %d: wrap the image again",
			path, img.Version, protocol.ImageVersion)
	}
	return &img, nil
}

// findImage returns the wrapped image that a handler with these arguments and settings belongs to, and the arguments
// that are left. There is one if protocol.ImageFile lies beside the program and the first argument is handlerCommand,
// or if Host has started the Functions host. Otherwise the image is nil, and the arguments are the command of a user's
// own image, which may be called handlerCommand too.
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
	spec.User = cmp.Or(spec.User, img.Config.User)
	spec.WorkingDir = cmp.Or(spec.WorkingDir, img.Config.WorkingDir, "/")
}

// env returns the variables of the user's image that a spec lacks: PATH, or all for a partial spec.
func (img *image) env(partial bool) []string {
	return slices.DeleteFunc(slices.Clone(img.Config.Env), func(entry string) bool {
		return !partial && !strings.HasPrefix(entry, "PATH=")
	})
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
