package api

import (
	"errors"
	"strings"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

type (
	// ImageSpec is an image's configuration file in a registry.
	ImageSpec = dockerspec.DockerOCIImage
	// ImageConfig is the part of an ImageSpec that holds the defaults of containers.
	ImageConfig = dockerspec.DockerOCIImageConfig
)

// ParseReference reads an image reference as Docker does. The default domain is docker.io, and the default tag is
// latest. A tag beside a digest is dropped, so that the result has either a tag or a digest. An invalid reference
// is an InvalidParameter error. So is an id such as sha256:1f2d..., which would be read as a tag of an image that is
// named sha256. The reserved name scratch is a Forbidden error.
func ParseReference(text string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(text)
	switch {
	case err == nil && reference.FamiliarName(named) == "sha256":
		return nil, Errorf(InvalidParameter, "invalid reference format: %q is not a name: sha256 is a digest algorithm", text)
	case err == nil && reference.FamiliarName(named) == "scratch":
		return nil, Errorf(Forbidden, "'scratch' is a reserved name")
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

// DigestIn returns the digest in a reference, "" if it has none.
func DigestIn(reference string) string {
	_, digest, _ := strings.Cut(reference, "@")
	return digest
}
