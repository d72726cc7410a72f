// Package wrap derives images that run on Azure Functions from images that have no Functions host. A derived image
// holds the layers of the user's image byte for byte, then those of Microsoft's base image below /.sockerless/host,
// then one small layer with azf-handler, the functions and the user's configuration. It lies in the user's own
// registry. Everything goes through the registry's API: nothing is executed, and no container engine is needed. The
// package must not know containers, the store or settings.
//
//	w, err := wrap.New(wrap.Config{Registry: client, Repository: "ci.azurecr.io/sockerless", Handler: handler})
//	needed, err := wrap.Plan("alpine:3.20", image, limits) // image comes from client.Resolve
//	derived, err := w.Derive(ctx, wrap.Source{Image: alpine, Base: base}) // references with digests
//	// derived.Reference is ci.azurecr.io/sockerless/wrapped@sha256:...
//
// Three repositories take part: the user's, REPOSITORY/host with the rewritten layers of each base image, and
// REPOSITORY/wrapped with the derived images. All results depend on digests and on Source.Owner only, so everyone who
// derives the same image for the same owner derives the same digest, and what exists is not uploaded again. A manifest
// is pushed after all that it names: a call that ends anywhere leaves nothing that a repeated call, by anyone, does not
// use or replace.
package wrap

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
)

// Recipe is the version of the layout of derived images. Every change of the layout raises it.
const Recipe = 1

// Labels of derived images, and of the images with host layers.
const (
	LabelImage         = "io.sockerless.azf.image"
	LabelImageDigest   = "io.sockerless.azf.image.digest"
	LabelBaseDigest    = "io.sockerless.azf.base.digest"
	LabelHandlerDigest = "io.sockerless.azf.handler.digest"
	LabelRecipe        = "io.sockerless.azf.recipe"
	LabelOwner         = "io.sockerless.azf.owner"
)

// Config configures New. Registry, Repository and Handler are required.
type Config struct {
	Registry *registry.Client
	// Repository is the host and the prefix of the repositories to push to, such as ci.azurecr.io/sockerless.
	Repository string
	// Handler is the executable azf-handler, for Linux and Architecture, without an interpreter.
	Handler []byte
	Limits  Limits
	// Parallel bounds the layers that are copied at once, over all calls; 0 means 2. One base image is rewritten at a
	// time, one layer after the other.
	Parallel int
	// TempDir is the folder of temporary files; empty means the system's. They lose their names at once, so that hardly
	// any outlives the process (see RemoveLeftovers), and take the space of one compressed base image.
	TempDir string
	// ClientID returns the client id of the daemon's identity for error messages. It may be nil or return "".
	ClientID func() string
}

// Wrapper derives images. Its methods are safe for concurrent use.
type Wrapper struct {
	cfg           Config
	host, wrapped repository
	handlerDigest string
	slots         chan struct{} // one for each layer that is copied
	rewriting     chan struct{} // for the one base image that is rewritten
}

// repository is a repository to push to, for both libraries.
type repository struct {
	named reference.Named
	name.Repository
}

// New returns a Wrapper, which needs no closing. It sends nothing.
func New(cfg Config) (*Wrapper, error) {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 2
	}
	cfg.Limits = cfg.Limits.withDefaults()
	w := &Wrapper{
		cfg: cfg, handlerDigest: digest.FromBytes(cfg.Handler).String(),
		slots: make(chan struct{}, cfg.Parallel), rewriting: make(chan struct{}, 1),
	}
	interpreter, err := readProgram(cfg.Handler, cfg.Limits.Architecture)
	if err == nil && interpreter != nil {
		err = errors.New("it needs an interpreter")
	}
	if err != nil {
		return nil, fmt.Errorf("use azf-handler: %w", err)
	}
	for suffix, into := range map[string]*repository{"/host": &w.host, "/wrapped": &w.wrapped} {
		if into.named, err = reference.ParseNormalizedNamed(cfg.Repository + suffix); err == nil {
			into.Repository, err = name.NewRepository(into.named.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("use repository %q: %w", cfg.Repository, err)
		}
	}
	return w, nil
}

// HandlerDigest returns the digest of the handler that derived images get.
func (w *Wrapper) HandlerDigest() string { return w.handlerDigest }

func (w *Wrapper) platform() string { return "linux/" + w.cfg.Limits.Architecture }

// call is one call of a method: a session with the registry to push to.
type call struct {
	*Wrapper
	session *registry.Session
	traffic *traffic
	puller  *remote.Puller
	pusher  *remote.Pusher
}

func (w *Wrapper) open(ctx context.Context) (*call, error) {
	session, err := w.cfg.Registry.Open(w.wrapped.named, api.AuthConfig{})
	if err != nil {
		return nil, err
	}
	c := &call{Wrapper: w, session: session, traffic: &traffic{next: session.Transport()}}
	options := append(session.Options(ctx), remote.WithTransport(c.traffic))
	if c.puller, err = remote.NewPuller(options...); err != nil {
		return nil, err
	}
	c.pusher, err = remote.NewPusher(options...)
	return c, err
}

// pushError returns the error of a call that reads or writes a repository of ours.
func (c *call) pushError(ctx context.Context, at repository, err error) error {
	if source, ok := errors.AsType[*sourceError](err); ok && ctx.Err() == nil {
		return source.user(ctx, source.err)
	}
	return c.session.WriteError(ctx, at.named, "push to", "AcrPush", c.clientID(), err)
}

func (w *Wrapper) clientID() string {
	if w.cfg.ClientID == nil {
		return ""
	}
	return w.cfg.ClientID()
}

// missing reports whether an error means that what was asked for does not exist.
func missing(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	return ok && te.StatusCode == http.StatusNotFound
}

// acquire takes a slot, unless the context ends before. The caller must receive from slots to release it.
func acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Delete deletes a derived image in its registry, with its tags. An image that does not exist is deleted. client is the
// client id of the daemon's identity for error messages, or "". The error is Forbidden when the identity may not
// delete, and Unavailable when the registry gives no usable answer.
func Delete(ctx context.Context, images *registry.Client, image reference.Canonical, client string) error {
	session, err := images.Open(image, api.AuthConfig{})
	if err != nil {
		return err
	}
	ref, err := name.NewDigest(withDigest(image))
	if err != nil {
		return api.Errorf(api.InvalidParameter, "invalid reference format: %w", err)
	}
	err = remote.Delete(ref, session.Options(ctx)...)
	if err == nil || missing(err) {
		return nil
	}
	return session.WriteError(ctx, reference.TrimNamed(image), "delete from", "AcrDelete", client, err)
}
