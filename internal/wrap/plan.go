package wrap

import (
	"fmt"

	"github.com/docker/go-units"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// maxLayers is the largest number of layers of an image that can be wrapped. maxDerived is the largest number of layers
// of a derived image: container engines stack no more.
const (
	maxLayers  = 120
	maxDerived = 125
)

// Limits are what Plan and Derive refuse.
type Limits struct {
	// Architecture is the architecture of the images, in Go's words; empty means amd64, which Azure Functions runs.
	Architecture string
	// MaxSize is the largest compressed size of an image in bytes; 0 means that there is none.
	MaxSize int64
}

func (l Limits) withDefaults() Limits {
	if l.Architecture == "" {
		l.Architecture = "amd64"
	}
	return l
}

// Plan reports whether an image must be wrapped to run: it has no Azure Functions host, and is not a derived image. For
// an image that cannot be wrapped it returns an error, InvalidParameter or NotFound. shown is the image in messages. It
// asks no registry.
func Plan(shown string, image registry.Image, limits Limits) (bool, error) {
	if _, derived := image.Spec.Config.Labels[LabelRecipe]; derived || protocol.HasHost(image.Spec.Config.Env) {
		return false, nil
	}
	return true, limits.withDefaults().check(
		shown, image.Spec.OS, image.Spec.Architecture, len(image.Layers), image.Size)
}

// NoRegistry returns the error for an image that must be wrapped, when no registry is configured to push to.
func NoRegistry(shown string) error {
	return api.Errorf(api.InvalidParameter, "%s has no Azure Functions host, and no registry is set to put a wrapped "+
		"image into. Set registry and give this daemon AcrPush there, or build the image FROM "+
		"mcr.microsoft.com/azure-functions/base:4 (docs/images.md)", shown)
}

func (l Limits) check(shown, system, architecture string, layers int, size int64) error {
	switch {
	case system == "windows":
		return api.Errorf(api.InvalidParameter, "%s is a Windows image", shown)
	case system != "linux" || architecture != l.Architecture:
		return api.Errorf(api.NotFound, "%s is for %s/%s only; Azure Functions runs linux/%s",
			shown, system, architecture, l.Architecture)
	case layers > maxLayers:
		return tooManyLayers(shown, layers, maxLayers)
	case l.MaxSize > 0 && size > l.MaxSize:
		return api.Errorf(api.InvalidParameter, "%s is %s compressed; wrap_max_size is %s",
			shown, human(size), human(l.MaxSize))
	}
	return nil
}

func tooManyLayers(shown string, layers, most int) error {
	return api.Errorf(api.InvalidParameter, "%s has %d layers; at most %d can be wrapped", shown, layers, most)
}

// human returns a size such as "9.1 GiB".
func human(size int64) string {
	return units.CustomSize("%.3g %s", float64(size), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"})
}

// count returns "1 layer" or "2 layers".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
