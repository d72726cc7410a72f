package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/internal/wrap"
)

// wraps is the number of images that are wrapped at once.
const wraps = 2

// wrapping derives images by the settings.
type wrapping struct {
	images  *registry.Client
	limits  wrap.Limits
	base    reference.Named
	refresh time.Duration
	now     func() time.Time
	log     zerolog.Logger
	slots   chan struct{}
	// owner names the daemon's database: derived images belong to it.
	owner    string
	clientID string // of the daemon's identity, for error messages
	// wrapper is nil where images cannot be wrapped: without a registry, or without azf-handler, for the reason in
	// problem.
	wrapper *wrap.Wrapper
	problem error

	mu         sync.Mutex
	resolved   reference.Canonical // the base, as found at resolvedAt
	resolvedAt time.Time
}

// WrappedReference reads the reference of a derived image, which has a digest.
func WrappedReference(text string) (reference.Canonical, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if image, ok := named.(reference.Canonical); err == nil && ok {
		return image, nil
	}
	return nil, fmt.Errorf("%q is not a reference with a digest, such as "+
		"team.azurecr.io/sockerless/wrapped@sha256:DIGEST", text)
}

// VerifyWrapped returns how a derived image differs from what a daemon with these settings derives from the images that
// it names: see wrap.Verify.
func VerifyWrapped(ctx context.Context, cfg Config, image reference.Canonical) ([]string, error) {
	cfg.StateDir = "" // a daemon may use it, or nobody has made it
	w, err := newWrapping(cfg, newRegistryClient(cfg))
	switch {
	case err != nil:
		return nil, err
	case w.problem != nil:
		return nil, fmt.Errorf("azf-handler cannot be used: %w: set wrap_handler to its path", w.problem)
	case w.wrapper == nil:
		return nil, errors.New("registry is not set: it is where wrapped images are")
	}
	return w.wrapper.Verify(ctx, image, w.base, api.AuthConfig{})
}

func newRegistryClient(cfg Config) *registry.Client {
	return registry.New(registry.Config{
		Host: cfg.Azure.Registry, Username: cfg.Azure.RegistryUsername, Password: cfg.Azure.RegistryPassword,
		AzureSuffix: cfg.Cloud.RegistrySuffix, Credential: cfg.Credential.Token, Transport: cfg.AppTransport,
	})
}

func newWrapping(cfg Config, images *registry.Client) (*wrapping, error) {
	base, err := api.ParseReference(cfg.Wrap.Base)
	if err != nil {
		return nil, fmt.Errorf("wrap_base: %w", err)
	}
	size, err := units.RAMInBytes(cfg.Wrap.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("wrap_max_size: %w", err)
	}
	w := &wrapping{
		images: images, base: base, refresh: cfg.Wrap.Refresh, now: time.Now, log: cfg.Log, slots: make(chan struct{}, wraps),
		limits: wrap.Limits{Architecture: cfg.Architecture, MaxSize: size},
	}
	if id := cfg.Azure.Identity; id != nil {
		w.clientID = id.ClientID
	}
	if cfg.Azure.Registry == "" {
		return w, nil
	}
	handler, err := readHandler(cfg.Wrap.Handler)
	if err != nil {
		w.problem = err
		return w, nil
	}
	wrapper, err := wrap.New(wrap.Config{
		Registry: images, Repository: cfg.Azure.Registry + "/" + cfg.Wrap.Repository, Handler: handler, Limits: w.limits,
		TempDir: cfg.StateDir, ClientID: func() string { return w.clientID },
	})
	if err != nil {
		w.problem = err // such as the handler of another architecture: all other images run without it
		return w, nil
	}
	w.wrapper = wrapper
	return w, nil
}

// readHandler reads azf-handler from a path, or from where FindHandler finds it.
func readHandler(path string) (_ []byte, err error) {
	if path == "" {
		if path, err = FindHandler(); err != nil {
			return nil, err
		}
	}
	return os.ReadFile(path)
}

// FindHandler returns the path of azf-handler where releases have it: beside this program, and in packages in a folder
// of the program's own (packaging/nfpm.yaml).
func FindHandler() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(program), "azf-handler")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		path = filepath.Join(filepath.Dir(program), "../lib/sockerless-backend-azf/azf-handler")
	}
	_, err = os.Stat(path)
	return path, err
}

// Needs implements engine.Wrapper.
func (w *wrapping) Needs(shown string, image registry.Image) (bool, error) {
	needed, err := wrap.Plan(shown, image, w.limits)
	switch {
	case err != nil || !needed:
		return needed, err
	case w.problem != nil:
		return true, api.Errorf(api.InvalidParameter, "%s has no Azure Functions host, and the azf-handler to wrap it with "+
			"cannot be used: %w: set wrap_handler to its path", shown, w.problem)
	case w.wrapper == nil:
		return true, wrap.NoRegistry(shown)
	}
	return true, nil
}

// Derive implements engine.Wrapper.
func (w *wrapping) Derive(
	ctx context.Context, image reference.Named, claim func(ctx context.Context, ref string, bytes int64) error,
) (api.Derived, error) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return api.Derived{}, ctx.Err()
	}
	if w.wrapper == nil {
		return api.Derived{}, wrap.NoRegistry(reference.FamiliarString(image))
	}
	source, err := w.canonical(ctx, image)
	if err != nil {
		return api.Derived{}, err
	}
	base, err := w.baseImage(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return api.Derived{}, err
		}
		return api.Derived{}, api.Errorf(api.KindOf(err), "look up wrap_base: %w", err)
	}
	d, err := w.wrapper.Derive(ctx, wrap.Source{
		Image: source, Base: base, Owner: w.owner,
		Claim: func(ctx context.Context, d wrap.Derived) error { return claim(ctx, d.Reference, d.Bytes) },
	})
	if err != nil {
		return api.Derived{}, err
	}
	return api.Derived{
		Reference: d.Reference, Digest: d.Digest, Source: d.SourceReference, Base: d.BaseReference,
		Handler: d.HandlerDigest, Recipe: d.Recipe,
		HostLayers: d.HostLayers, PushedBytes: d.PushedBytes, MountedBlobs: d.MountedBlobs,
	}, nil
}

// Remove implements engine.Wrapper.
func (w *wrapping) Remove(ctx context.Context, ref string) error {
	image, err := WrappedReference(ref)
	if err != nil {
		return err
	}
	return wrap.Delete(ctx, w.images, image, w.clientID)
}

// lookUpBase looks up the base before the first image needs it. Without a registry to push to, nothing ever does.
func (w *wrapping) lookUpBase(ctx context.Context) {
	if w.wrapper == nil {
		return
	}
	base, err := w.baseImage(ctx)
	switch {
	case err == nil:
		w.log.Info().Stringer("base", base).Msg("wraps images without a Functions host")
	case ctx.Err() == nil:
		w.log.Warn().Err(err).Stringer("base", w.base).
			Msg("wrap_base cannot be looked up: images without a Functions host are refused until it can")
	}
}

// baseImage returns the base with its digest, which is looked up again after a while.
func (w *wrapping) baseImage(ctx context.Context) (reference.Canonical, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resolved == nil || w.now().Sub(w.resolvedAt) >= w.refresh {
		base, err := w.canonical(ctx, w.base)
		switch {
		case err == nil:
			w.resolved, w.resolvedAt = base, w.now()
		case w.resolved == nil || ctx.Err() != nil:
			return nil, err
		default: // its layers are in our registry already
			w.log.Warn().Err(err).Str("base", w.resolved.String()).Msg("wrap_base cannot be looked up: the last one is used")
		}
	}
	return w.resolved, nil
}

// canonical returns a reference with the digest that the registry has for it now.
func (w *wrapping) canonical(ctx context.Context, image reference.Named) (reference.Canonical, error) {
	if named, ok := image.(reference.Canonical); ok {
		return named, nil
	}
	architecture := w.limits.Architecture
	if architecture == "" {
		architecture = "amd64"
	}
	found, err := w.images.Resolve(ctx, image, api.AuthConfig{}, "linux/"+architecture)
	if err != nil {
		return nil, err
	}
	return reference.WithDigest(image, digest.Digest(found.Digest))
}
