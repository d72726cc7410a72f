// Package registry asks an OCI registry what an image reference names: digest, configuration, size. It fetches no layers and keeps
// neither answers nor credentials. It must not know of containers, the store or Terraform; of Azure it knows how an identity is
// exchanged for a token of Azure Container Registry. No error of it shows a credential, not even one that the registry sent back.
//
//	c := registry.New(registry.Config{Credential: cred})
//	image, err := c.Resolve(ctx, ref, api.AuthConfig{}, "linux/amd64")
//	if api.KindOf(err) == api.Unavailable { ... } // nobody knows whether there is such an image
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
	// Host is the registry that Username and Password open, or Credential when there is no Username.
	Host, Username, Password string
	// Credential opens Azure Container Registries. Without it, and where it is refused, the client asks anonymously.
	Credential azcore.TokenCredential
	// Transport carries all calls; nil means the default.
	Transport http.RoundTripper
	// Timeout bounds each question with all its calls; 0 means 15 s.
	Timeout time.Duration
}

// Client asks registries. Its methods are safe for concurrent use.
type Client struct{ cfg Config }

// New returns a client. Nothing needs to be closed.
func New(cfg Config) *Client {
	if cfg.Transport == nil {
		cfg.Transport = remote.DefaultTransport
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 15 * time.Second
	}
	return &Client{cfg: cfg}
}

// Image is what a registry tells of an image.
type Image struct {
	// ID is the digest of the configuration, Digest that of what the reference names: a manifest, or an index of several platforms.
	ID     string
	Digest string
	Spec   api.ImageSpec
	Layers []Layer
	// Size is the sum of the layers, compressed, and the configuration, in bytes.
	Size int64
}

// Layer is one layer, with its compressed size in bytes.
type Layer struct {
	Digest string
	Size   int64
}

// Backoff between the three attempts of a call that failed for a reason that may pass. It covers blips; the caller can ask again later.
var backoff = remote.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}

// Resolve asks ref's registry what ref names on a platform (os/arch or os/arch/variant; empty means linux/amd64). ref has a tag or a
// digest. auth comes first, then the configured user, then the identity. An answer that there is no such image, that access is denied,
// or that there is none for the platform is a NotFound error. A platform or auth that is malformed, and a reference to something that is no image,
// are InvalidParameter errors. When the registry could not be asked or gives no usable answer, the error is Unavailable and says why.
func (c *Client) Resolve(ctx context.Context, ref reference.Named, auth api.AuthConfig, platform string) (Image, error) {
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

// Login checks credentials against auth.ServerAddress, by default Docker Hub. Refused ones are an Unauthorized error; a registry that
// cannot be asked is an Unavailable one.
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
		return api.Errorf(api.InvalidParameter, "server address %q is not a registry: give a host such as registry.example.com", auth.ServerAddress)
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

func (s *session) resolve(ctx context.Context, ref name.Reference, shown string, want v1.Platform, strict bool) (Image, error) {
	desc, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuth(s.auth), remote.WithTransport(s.guard), remote.WithRetryBackoff(backoff))
	if err != nil {
		return Image{}, err
	}
	var img v1.Image
	switch {
	case desc.MediaType.IsIndex():
		img, err = childOf(desc, want)
	case desc.MediaType.IsImage():
		img, err = desc.Image()
	case strings.HasPrefix(string(desc.MediaType), "application/vnd."):
		err = api.Errorf(api.InvalidParameter, "%s is not a container image: its media type is %.100q", shown, desc.MediaType)
	default:
		err = fmt.Errorf("it answers with %.100q in place of a manifest", desc.MediaType)
	}
	if err != nil {
		return Image{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return Image{}, err
	}
	if !manifest.Config.MediaType.IsConfig() {
		return Image{}, api.Errorf(api.InvalidParameter, "%s is not a container image: the media type of its configuration is %.100q", shown, manifest.Config.MediaType)
	}
	if manifest.Config.Size > maxConfig {
		return Image{}, api.Errorf(api.InvalidParameter, "the configuration of %s is %d bytes long; at most %d are taken", shown, manifest.Config.Size, maxConfig)
	}
	content, err := img.RawConfigFile()
	if err != nil {
		return Image{}, err
	}
	out := Image{ID: manifest.Config.Digest.String(), Digest: desc.Digest.String(), Size: manifest.Config.Size}
	if err := json.Unmarshal(content, &out.Spec); err != nil {
		return Image{}, api.Errorf(api.InvalidParameter, "%s is not a container image: its configuration is not valid: %w", shown, err)
	}
	for _, layer := range manifest.Layers {
		out.Layers = append(out.Layers, Layer{Digest: layer.Digest.String(), Size: layer.Size})
		out.Size += layer.Size
	}
	// An image without an index has one platform, which counts only for those who asked for one, as in Docker.
	has := v1.Platform{OS: out.Spec.OS, Architecture: out.Spec.Architecture, Variant: out.Spec.Variant}
	if strict && desc.MediaType.IsImage() && !normal(has).Satisfies(want) {
		return Image{}, api.Errorf(api.NotFound, "image with reference %s was found but does not match the specified platform: wanted %s, actual: %s", shown, want, has)
	}
	return out, nil
}

// maxConfig bounds a configuration file, which is kept in memory and in the database. Real ones have a few kilobytes.
const maxConfig = 4 << 20

// childOf is the image that an index has for a platform.
func childOf(desc *remote.Descriptor, want v1.Platform) (v1.Image, error) {
	index, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var there []string
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
		there = append(there, has.String())
	}
	if there == nil {
		there = []string{"none"}
	}
	return nil, api.Errorf(api.NotFound, "no matching manifest for %s in the manifest list entries: the platforms there are %s", want, strings.Join(there, ", "))
}

// defaultPlatform is what Azure Functions runs.
var defaultPlatform = v1.Platform{OS: "linux", Architecture: "amd64"}

var platformPattern = regexp.MustCompile(`^([a-z0-9]+)/([a-z0-9_]+)(?:/([a-z0-9.]+))?$`)

func parsePlatform(text string) (v1.Platform, error) {
	if text == "" {
		return defaultPlatform, nil
	}
	match := platformPattern.FindStringSubmatch(strings.ToLower(text))
	if match == nil {
		return v1.Platform{}, api.Errorf(api.InvalidParameter, "invalid platform %q: use os/arch or os/arch/variant, such as linux/amd64", text)
	}
	return normal(v1.Platform{OS: match[1], Architecture: match[2], Variant: match[3]}), nil
}

// normal drops the variant that says nothing: arm64 is v8.
func normal(p v1.Platform) v1.Platform {
	if p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	return p
}

func (s *session) login(ctx context.Context) (err error) {
	authorized, err := transport.NewWithContext(ctx, s.registry, s.auth, transport.NewRetry(s.guard, transport.WithRetryBackoff(backoff)), nil)
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
