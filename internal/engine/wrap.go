package engine

import (
	"context"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/store"
)

// Wrapper derives images that run on Azure from those without a Functions host.
type Wrapper interface {
	// Needs reports whether an image must be wrapped. The error, for the client, says why it cannot be. shown is the image
	// in messages.
	Needs(shown string, image registry.Image) (bool, error)
	// Derive makes the derived image, if the registry has none yet, and returns it. It may take minutes. Before it asks
	// for the derived image, it calls claim with the reference and the bytes that the registry needs for the image
	// alone. An error of claim ends Derive.
	Derive(
		ctx context.Context, image reference.Named, claim func(ctx context.Context, ref string, bytes int64) error,
	) (api.Derived, error)
	// Remove removes a derived image from the registry, where it may be missing. The error is Forbidden only when the
	// registry has refused: then the image is there.
	Remove(ctx context.Context, ref string) error
}

// needsWrap reports whether an image is to be wrapped for a container.
func (e *Engine) needsWrap(shown string, img store.Image) (bool, error) {
	if e.cfg.Wrapper == nil {
		return false, nil
	}
	found := registry.Image{ID: img.ID, Spec: img.Spec, Size: img.Size}
	for _, size := range img.LayerSizes {
		found.Layers = append(found.Layers, registry.Layer{Size: size})
	}
	return e.cfg.Wrapper.Needs(shown, found)
}

// derive makes the image that Azure runs in place of the container's own, unless an earlier attempt has made it.
func (e *Engine) derive(ctx context.Context, c *store.Container) error {
	if c.Derived == nil || c.Derived.Reference != "" {
		return nil
	}
	if e.cfg.Wrapper == nil {
		return api.Errorf(api.InvalidParameter,
			"image %s has no Azure Functions host, and wrap is off since the container was requested", c.Config.Image)
	}
	named, err := api.ParseReference(c.Config.Image)
	if err != nil {
		return err
	}
	var claimErr error // of the database, which may only be down
	derived, err := e.cfg.Wrapper.Derive(ctx, named, func(ctx context.Context, ref string, bytes int64) error {
		claimErr = e.claimDerived(ctx, c.ID, store.DerivedImage{Reference: ref, Bytes: bytes})
		return claimErr
	})
	if claimErr != nil {
		return claimErr
	}
	if err != nil {
		return &finalError{err}
	}
	derived.At = e.cfg.Store.Now().UTC()
	c.Derived = &derived
	return e.cfg.Store.RecordDerived(ctx, c.ID, derived)
}

// sourceDigest returns the digest of the user's image in the image that Azure runs, "" if that is not a derived one.
func sourceDigest(c store.Container) string {
	if c.Derived == nil {
		return ""
	}
	return api.DigestIn(c.Derived.Source)
}

// imageRecord is what a workspace keeps of a derived image. It comes from the container's row alone, so that each
// attempt to create the container writes the same.
type imageRecord struct {
	Source        recordedImage `json:"source"`
	Base          recordedImage `json:"base"`
	HandlerDigest string        `json:"handler_digest"`
	Recipe        int           `json:"recipe"`
	Derived       recordedImage `json:"derived"`
	HostLayers    []string      `json:"host_layers"`
	PushedBytes   int64         `json:"pushed_bytes"`
	MountedBlobs  int64         `json:"mounted_blobs"`
	At            time.Time     `json:"at"`
}

type recordedImage struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
}

// derivedRecord returns what a container's workspace keeps of the derived image, nil if the container has none.
func derivedRecord(c store.Container) any {
	d := c.Derived
	if d == nil {
		return nil
	}
	return imageRecord{
		Source:        recordedImage{c.Config.Image, sourceDigest(c)},
		Base:          recordedImage{d.Base, api.DigestIn(d.Base)},
		HandlerDigest: d.Handler, Recipe: d.Recipe,
		Derived:    recordedImage{d.Reference, d.Digest},
		HostLayers: d.HostLayers, PushedBytes: d.PushedBytes, MountedBlobs: d.MountedBlobs, At: d.At,
	}
}

// imageReference returns the reference of the image that Azure pulls for a container.
func imageReference(c store.Container) string {
	if c.Derived != nil && c.Derived.Reference != "" {
		return c.Derived.Reference
	}
	return c.Config.Image
}
