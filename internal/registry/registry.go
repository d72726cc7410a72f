// Package registry resolves image references at an OCI registry: digest, configuration, size. It fetches no layers
// and keeps neither answers nor credentials; a Session lets others fetch and push with its credentials. It must not
// know containers, the store or Terraform. Of Azure it knows only how to exchange an identity's token for a token of
// Azure Container Registry. No error of this package shows a credential, not even one that the registry has sent back.
//
//	c := registry.New(registry.Config{Credential: cred})
//	image, err := c.Resolve(ctx, ref, api.AuthConfig{}, "linux/amd64")
//	if api.KindOf(err) == api.Unavailable { ... } // it is unknown whether the image exists
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sockerless/backend-azf/internal/api"
)

// Config configures New. All fields may be empty.
type Config struct {
	// Host is the registry that accepts Username and Password, or Credential when Username is empty.
	Host, Username, Password string
	// AzureSuffix is the domain below which the Azure Container Registries are; empty means that there are none.
	AzureSuffix string
	// Credential authenticates at Azure Container Registries. When it is nil or refused, the client asks anonymously.
	Credential azcore.TokenCredential
	// Transport carries all calls; nil means go-containerregistry's default.
	Transport http.RoundTripper
	// Timeout bounds each call of a method, with all its HTTP requests; 0 means 15 seconds.
	Timeout time.Duration
}

// Client queries registries. Its methods are safe for concurrent use.
type Client struct{ cfg Config }

// New returns a Client, which needs no closing.
func New(cfg Config) *Client {
	if cfg.Transport == nil {
		cfg.Transport = remote.DefaultTransport
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Second
	}
	return &Client{cfg: cfg}
}

// Image describes an image in a registry.
type Image struct {
	// ID is the digest of the configuration. Digest is the digest of the manifest, or of the index of several platforms,
	// that the reference names.
	ID     string
	Digest string
	Spec   api.ImageSpec
	Layers []Layer
	// Size is the sum of the compressed layers and the configuration, in bytes.
	Size int64
}

// Layer is one layer, with its compressed size in bytes.
type Layer struct {
	Digest string
	Size   int64
}

// backoff is the delay between the three attempts of a request that failed for a temporary reason. It covers short
// failures; the caller can retry later.
var backoff = remote.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}

// Resolve asks ref's registry for the image that ref names on a platform (os/arch or os/arch/variant; empty means
// linux/amd64). ref has a tag or a digest. Resolve uses auth, otherwise the configured user, otherwise the identity.
//
// The error is NotFound when the registry answers that the image does not exist, that access is denied, or that the
// image lacks the platform. It is InvalidParameter for a malformed platform or auth, and for a reference to
// anything but an image. It is Unavailable, with the reason, when the registry cannot be reached or gives no usable
// answer.
func (c *Client) Resolve(
	ctx context.Context, ref reference.Named, auth api.AuthConfig, platform string,
) (Image, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return Image{}, err
	}
	parsed, err := name.ParseReference(ref.String())
	if err != nil {
		return Image{}, api.Errorf(api.InvalidParameter, "invalid reference format: %w", err)
	}
	s, err := c.open(reference.Domain(ref), parsed.Context().Registry, auth)
	if err != nil {
		return Image{}, err
	}
	timed, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	image, err := s.resolve(timed, parsed, reference.FamiliarString(ref), want, platform != "")
	if err != nil {
		if ctx.Err() != nil {
			return Image{}, context.Cause(ctx)
		}
		return Image{}, s.pullError(ref, err)
	}
	return image, nil
}

// Login checks credentials against auth.ServerAddress, by default Docker Hub. The error is Unauthorized when the
// registry refuses the credentials, and Unavailable when it cannot be reached or gives no usable answer.
func (c *Client) Login(ctx context.Context, auth api.AuthConfig) error {
	host := auth.ServerAddress
	for _, scheme := range []string{"https://", "http://"} {
		host = strings.TrimPrefix(host, scheme)
	}
	host, _, _ = strings.Cut(host, "/")
	if host == "" {
		host = name.DefaultRegistry
	}
	registry, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		return api.Errorf(api.InvalidParameter,
			"server address %q is not a registry: give a host such as registry.example.com", auth.ServerAddress)
	}
	if !given(auth) {
		return api.Errorf(api.InvalidParameter, "no credentials for %s: give a user name and a password, or a token", host)
	}
	s, err := c.open(host, registry, auth)
	if err != nil {
		return err
	}
	timed, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := s.login(timed); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return s.loginError(err)
	}
	return nil
}

// resolve returns the image of ref for a platform. shown is ref in errors. strict also refuses a single image of
// another platform.
func (s *session) resolve(
	ctx context.Context, ref name.Reference, shown string, want v1.Platform, strict bool,
) (Image, error) {
	desc, img, err := s.image(ctx, ref, shown, want)
	if err != nil {
		return Image{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return Image{}, err
	}
	content, err := img.RawConfigFile()
	if err != nil {
		return Image{}, err
	}
	out := Image{ID: manifest.Config.Digest.String(), Digest: desc.Digest.String(), Size: manifest.Config.Size}
	if err := json.Unmarshal(content, &out.Spec); err != nil {
		return Image{}, api.Errorf(api.InvalidParameter,
			"%s is not a container image: its configuration is not valid: %w", shown, err)
	}
	for _, layer := range manifest.Layers {
		out.Layers = append(out.Layers, Layer{Digest: layer.Digest.String(), Size: layer.Size})
		out.Size += layer.Size
	}
	// An image without an index has one platform. As in Docker, it is compared only when the caller asked for a
	// platform.
	has := v1.Platform{OS: out.Spec.OS, Architecture: out.Spec.Architecture, Variant: out.Spec.Variant}
	if strict && desc.MediaType.IsImage() && !normal(has).Satisfies(want) {
		return Image{}, api.Errorf(api.NotFound, "image with reference %s was found but does not match the specified "+
			"platform: wanted %s, actual: %s", shown, want, has)
	}
	return out, nil
}

// image returns what ref names, and the image of a platform there. shown is ref in errors.
func (s *session) image(
	ctx context.Context, ref name.Reference, shown string, want v1.Platform, options ...remote.Option,
) (*remote.Descriptor, v1.Image, error) {
	desc, err := remote.Get(ref, append(s.options(ctx), options...)...)
	if err != nil {
		return nil, nil, err
	}
	var img v1.Image
	switch {
	case desc.MediaType.IsIndex():
		img, err = childOf(desc, want)
	case desc.MediaType.IsImage():
		img, err = desc.Image()
	case strings.HasPrefix(string(desc.MediaType), "application/vnd."):
		err = api.Errorf(api.InvalidParameter,
			"%s is not a container image: its media type is %.100q", shown, desc.MediaType)
	default:
		err = fmt.Errorf("it answers with %.100q in place of a manifest", desc.MediaType)
	}
	if err != nil {
		return nil, nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, nil, err
	}
	if !manifest.Config.MediaType.IsConfig() {
		return nil, nil, api.Errorf(api.InvalidParameter,
			"%s is not a container image: the media type of its configuration is %.100q", shown, manifest.Config.MediaType)
	}
	if manifest.Config.Size > maxConfig {
		return nil, nil, api.Errorf(api.InvalidParameter,
			"the configuration of %s is %d bytes long; the limit is %d", shown, manifest.Config.Size, maxConfig)
	}
	return desc, img, nil
}

func (s *session) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuth(s.auth), remote.WithTransport(s.guard), remote.WithRetryBackoff(backoff),
	}
}

// maxConfig bounds a configuration file in bytes, since memory and database hold it. Real ones have a few kilobytes.
const maxConfig = 4 << 20

// childOf returns the image of a platform from an index.
func childOf(desc *remote.Descriptor, want v1.Platform) (v1.Image, error) {
	index, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var platforms []string
	for _, child := range manifest.Manifests {
		has := defaultPlatform
		if child.Platform != nil {
			has = *child.Platform
		}
		if has.OS == "unknown" {
			continue // an attestation
		}
		if normal(has).Satisfies(want) {
			return index.Image(child.Digest)
		}
		platforms = append(platforms, has.String())
	}
	if platforms == nil {
		platforms = []string{"none"}
	}
	return nil, api.Errorf(api.NotFound, "%w for %s in the manifest list entries: the platforms there are %s",
		ErrNoPlatform, want, strings.Join(platforms, ", "))
}

// ErrNoPlatform is in the error for an index without an image of the platform.
var ErrNoPlatform = errors.New("no matching manifest")

// defaultPlatform is the platform of Azure Functions.
var defaultPlatform = v1.Platform{OS: "linux", Architecture: "amd64"}

var platformPattern = regexp.MustCompile(`^([a-z0-9]+)/([a-z0-9_]+)(?:/([a-z0-9.]+))?$`)

func parsePlatform(text string) (v1.Platform, error) {
	if text == "" {
		return defaultPlatform, nil
	}
	match := platformPattern.FindStringSubmatch(strings.ToLower(text))
	if match == nil {
		return v1.Platform{}, api.Errorf(api.InvalidParameter,
			"invalid platform %q: use os/arch or os/arch/variant, such as linux/amd64", text)
	}
	return normal(v1.Platform{OS: match[1], Architecture: match[2], Variant: match[3]}), nil
}

// normal drops the variant v8 of arm64, which is the default.
func normal(p v1.Platform) v1.Platform {
	if p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	return p
}

func (s *session) login(ctx context.Context) (err error) {
	retrying := transport.NewRetry(s.guard, transport.WithRetryBackoff(backoff))
	authorized, err := transport.NewWithContext(ctx, s.registry, s.auth, retrying, nil)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.registry.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: authorized}).Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	return transport.CheckError(resp, http.StatusOK)
}
