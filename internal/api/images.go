package api

import (
	"errors"
	"strings"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

type (
	// ImageSpec is an image's configuration file, as registries keep it.
	ImageSpec = dockerspec.DockerOCIImage
	// ImageConfig is the part of it that containers start from.
	ImageConfig = dockerspec.DockerOCIImageConfig
)

// ParseReference reads an image reference as Docker does: without a domain it is docker.io's, without a tag or digest it is latest,
// and beside a digest a tag says nothing. The result has either a tag or a digest. An invalid one is an InvalidParameter error.
func ParseReference(text string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(text)
	switch {
	case err == nil:
		return named, nil
	case errors.Is(err, reference.ErrReferenceInvalidFormat):
		return nil, Errorf(InvalidParameter, "%w: %q is not of the form [HOST/]NAME[:TAG|@DIGEST]", err, text)
	case strings.HasPrefix(err.Error(), "invalid reference format"):
		return nil, Errorf(InvalidParameter, "%w", err)
	default:
		return nil, Errorf(InvalidParameter, "invalid reference format: %w", err)
	}
}
