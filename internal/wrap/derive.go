package wrap

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// Source is an image to derive another from.
type Source struct {
	// Image is the user's image: a manifest, or an index of several platforms.
	Image reference.Canonical
	// Auth authenticates at Image's registry, as for registry.Client.Resolve.
	Auth api.AuthConfig
	// Base is the image with the Functions host.
	Base reference.Canonical
	// Owner is whose derived image it is: those of two owners have different digests, so that each owner can delete its
	// own. It may be empty.
	Owner string
	// Claim, if not nil, is called with the derived image before the registry is asked for it. Its error ends Derive.
	Claim func(ctx context.Context, d Derived) error
}

// Derived is a derived image and what it consists of. References have digests.
type Derived struct {
	Reference, Digest         string
	Tag                       string
	SourceReference           string
	SourceDigest              string
	BaseReference, BaseDigest string
	HostLayers                []string // digests
	HandlerDigest             string
	Recipe                    int
	// Bytes is what the registry needs for the image alone: not the host layers, and not layers of an image in the same
	// registry.
	Bytes        int64
	PushedBytes  int64 // of this call
	MountedBlobs int64 // of this call: blobs that the registry took over from another repository
}

// Derive ensures that the registry has the image derived from a source, and returns it. It may take minutes; only ctx
// bounds it. When the derived image exists, Derive uploads nothing. Layers from the same registry do not pass this
// process, if the registry can mount them.
//
// The error is one of registry.Client.Resolve when the source or the base cannot be read, and one of Plan when the
// source cannot be wrapped. It is Forbidden when the identity may not push, and Unavailable when a registry gives no
// usable answer. A repeated call continues what a failed one has left.
func (w *Wrapper) Derive(ctx context.Context, source Source) (Derived, error) {
	c, err := w.open(ctx)
	if err != nil {
		return Derived{}, err
	}
	user, err := c.openUser(ctx, source)
	if err != nil {
		return Derived{}, err
	}
	host, err := c.ensureHost(ctx, source.Base)
	if err != nil {
		return Derived{}, err
	}
	img, err := c.derive(user, host, source)
	if err != nil {
		return Derived{}, err
	}
	hosts, err := digests(host.layers)
	if err != nil {
		return Derived{}, err
	}
	d := Derived{
		Reference: c.wrapped.named.Name() + "@" + img.digest.String(), Digest: img.digest.String(),
		Tag:             "w-" + img.digest.Hex[:24],
		SourceReference: withDigest(source.Image), SourceDigest: source.Image.Digest().String(),
		BaseReference: withDigest(source.Base), BaseDigest: source.Base.Digest().String(),
		HostLayers: hosts, HandlerDigest: w.handlerDigest, Recipe: Recipe, Bytes: user.copied + img.added(),
	}
	if source.Claim != nil {
		if err := source.Claim(ctx, d); err != nil {
			return Derived{}, err
		}
	}
	there, err := c.exists(ctx, c.wrapped, c.wrapped.Digest(d.Digest), img.digest)
	if err == nil && there {
		there, err = c.exists(ctx, c.wrapped, c.wrapped.Tag(d.Tag), img.digest)
	}
	if err == nil && !there {
		err = c.push(ctx, c.wrapped, d.Tag, img)
	}
	if err != nil {
		return Derived{}, err
	}
	d.PushedBytes, d.MountedBlobs = c.traffic.pushed.Load(), c.traffic.mounted.Load()
	return d, nil
}

// withDigest returns a reference without a tag.
func withDigest(ref reference.Canonical) string { return ref.Name() + "@" + ref.Digest().String() }

// userImage is the user's image in its registry.
type userImage struct {
	manifest *v1.Manifest
	config   *v1.ConfigFile
	layers   []v1.Layer
	copied   int64 // bytes of its layers, if they come from another registry
}

// openUser reads the user's image, except for its layers, and checks it.
func (c *call) openUser(ctx context.Context, source Source) (*userImage, error) {
	session, err := c.cfg.Registry.Open(source.Image, source.Auth)
	if err != nil {
		return nil, err
	}
	img, err := session.Image(ctx, source.Image, c.platform())
	if err != nil {
		return nil, err
	}
	u := &userImage{}
	if u.manifest, err = img.Manifest(); err == nil {
		if u.config, err = img.ConfigFile(); err == nil {
			u.layers, err = img.Layers()
		}
	}
	if err != nil {
		return nil, session.PullError(ctx, source.Image, err)
	}
	size := u.manifest.Config.Size
	for _, l := range u.manifest.Layers {
		size += l.Size
	}
	shown := reference.FamiliarString(source.Image)
	err = c.cfg.Limits.check(shown, u.config.OS, u.config.Architecture, len(u.layers), size)
	if err == nil && len(u.config.RootFS.DiffIDs) != len(u.layers) {
		err = api.Errorf(api.InvalidParameter, "%s is not a valid image: it has %s, and its configuration names %d",
			shown, count(len(u.layers), "layer"), len(u.config.RootFS.DiffIDs))
	}
	if err != nil {
		return nil, err
	}
	from, err := name.NewRepository(source.Image.Name())
	if err != nil {
		return nil, err
	}
	for i, l := range u.layers {
		u.layers[i] = c.sourceLayer(l, from, session, source.Image)
	}
	if from.RegistryStr() != c.wrapped.RegistryStr() {
		u.copied = size - u.manifest.Config.Size
	}
	return u, nil
}

// sourceLayer returns a layer that marks its errors, and that can be mounted only within a registry.
func (c *call) sourceLayer(l v1.Layer, from name.Repository, s *registry.Session, ref reference.Named) v1.Layer {
	mountable, ok := l.(*remote.MountableLayer)
	if ok {
		l = mountable.Layer
	}
	l = markedLayer{l, func(ctx context.Context, err error) error { return s.PullError(ctx, ref, err) }}
	if ok && from.RegistryStr() == c.wrapped.RegistryStr() {
		return &remote.MountableLayer{Layer: l, Reference: mountable.Reference}
	}
	return l
}

// markedLayer marks the errors of reading a layer, which would otherwise look like those of writing it.
type markedLayer struct {
	v1.Layer
	user func(context.Context, error) error
}

// Compressed implements v1.Layer.
func (l markedLayer) Compressed() (io.ReadCloser, error) {
	content, err := l.Layer.Compressed()
	if err != nil {
		return nil, &sourceError{err, l.user}
	}
	return &sourceReader{content, l.user}, nil
}

// derive composes the derived image.
func (w *Wrapper) derive(user *userImage, host *hostLayers, source Source) (composed, error) {
	if most := min(maxLayers, maxDerived-1-len(host.layers)); len(user.layers) > most {
		return composed{}, tooManyLayers(reference.FamiliarString(source.Image), len(user.layers), most)
	}
	theirs := user.config.Config
	last, err := w.lastLayer(host, protocol.Image{
		Version: protocol.ImageVersion, Reference: withDigest(source.Image), Digest: source.Image.Digest().String(),
		Base: withDigest(source.Base), Config: protocol.ImageConfig{
			Env: theirs.Env, User: theirs.User, WorkingDir: theirs.WorkingDir,
			Entrypoint: theirs.Entrypoint, Cmd: theirs.Cmd, StopSignal: theirs.StopSignal,
		},
	})
	if err != nil {
		return composed{}, fmt.Errorf("derive image: %w", err)
	}
	config := &v1.ConfigFile{
		OS: user.config.OS, Architecture: user.config.Architecture, Variant: user.config.Variant,
		OSVersion: user.config.OSVersion, OSFeatures: user.config.OSFeatures,
		Author: user.config.Author, Created: user.config.Created, History: user.config.History,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: user.config.RootFS.DiffIDs},
		Config: v1.Config{
			Entrypoint: []string{handlerPath, "host"}, WorkingDir: "/",
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			Env: []string{
				protocol.ScriptRootEnv + "=" + rootPath, "HOME=" + homePath, "FUNCTIONS_WORKER_RUNTIME=custom",
				"AzureFunctionsJobHost__Logging__Console__IsEnabled=true",
			},
			Labels: map[string]string{
				LabelImage: withDigest(source.Image), LabelImageDigest: source.Image.Digest().String(),
				LabelBaseDigest: source.Base.Digest().String(), LabelHandlerDigest: w.handlerDigest,
				LabelRecipe: strconv.Itoa(Recipe), protocol.Label: protocol.Version,
			},
		},
	}
	if source.Owner != "" {
		config.Config.Labels[LabelOwner] = source.Owner
	}
	img := composed{
		mediaType: user.manifest.MediaType, configFile: config, kept: user.manifest.Layers, layers: user.layers,
	}
	if img.mediaType == "" {
		img.mediaType = types.OCIManifestSchema1 // the field is optional there
	}
	img.add(host.layers, host.diffs, "Azure Functions host of "+withDigest(source.Base))
	img.add([]v1.Layer{last}, []v1.Hash{last.diffID}, "azf-handler "+w.handlerDigest)
	return img, img.compose()
}

// composed is an image that is not in a registry yet.
type composed struct {
	mediaType  types.MediaType
	configFile *v1.ConfigFile
	layers     []v1.Layer
	kept       []v1.Descriptor // of the first layers, as another manifest has them
	// What compose computes.
	config, manifest []byte
	digest           v1.Hash
	configType       types.MediaType
	descriptors      []v1.Descriptor
}

// add adds layers.
func (i *composed) add(layers []v1.Layer, diffs []v1.Hash, by string) {
	i.layers = append(i.layers[:len(i.layers):len(i.layers)], layers...)
	root, history := &i.configFile.RootFS, &i.configFile.History
	root.DiffIDs = append(root.DiffIDs[:len(root.DiffIDs):len(root.DiffIDs)], diffs...)
	if len(*history) == 0 {
		return // history is of all layers or of none
	}
	for range layers {
		*history = append((*history)[:len(*history):len(*history)], v1.History{Created: i.configFile.Created, CreatedBy: by})
	}
}

// compose computes the configuration and the manifest.
func (i *composed) compose() (err error) {
	if i.config, err = json.Marshal(i.configFile); err != nil {
		return err
	}
	layerType := types.OCILayer
	i.configType = types.OCIConfigJSON
	if i.mediaType == types.DockerManifestSchema2 {
		i.configType, layerType = types.DockerConfigJSON, types.DockerLayer
	}
	i.descriptors = i.kept[:len(i.kept):len(i.kept)]
	for _, l := range i.layers[len(i.kept):] {
		d := v1.Descriptor{MediaType: layerType}
		if d.Digest, err = l.Digest(); err != nil {
			return err
		}
		if d.Size, err = l.Size(); err != nil {
			return err
		}
		i.descriptors = append(i.descriptors, d)
	}
	i.manifest, err = json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: i.mediaType, Layers: i.descriptors,
		Config: v1.Descriptor{
			MediaType: i.configType, Size: int64(len(i.config)), Digest: hashOf(i.config),
		},
	})
	i.digest = hashOf(i.manifest)
	return err
}

// added returns the bytes of what only a derived image has: manifest, configuration and last layer.
func (i *composed) added() int64 {
	return int64(len(i.manifest)+len(i.config)) + i.descriptors[len(i.descriptors)-1].Size
}

func hashOf(content []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: digest.FromBytes(content).Encoded()}
}

// RawManifest and MediaType implement remote.Taggable.
func (i composed) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i composed) MediaType() (types.MediaType, error) { return i.mediaType, nil }

// push uploads an image: what it names first, then the manifest under a tag.
func (c *call) push(ctx context.Context, into repository, tag string, img composed) error {
	jobs, jobCtx := errgroup.WithContext(ctx)
	jobs.SetLimit(cap(c.slots))
	for _, l := range append([]v1.Layer{static.NewLayer(img.config, img.configType)}, img.layers...) {
		jobs.Go(func() error {
			if err := acquire(jobCtx, c.slots); err != nil {
				return err
			}
			defer func() { <-c.slots }()
			return c.pusher.Upload(jobCtx, into.Repository, l)
		})
	}
	if err := jobs.Wait(); err != nil {
		return c.pushError(ctx, into, err)
	}
	ref := into.Tag(tag)
	if err := c.pusher.Put(ctx, ref, img); err != nil {
		return c.pushError(ctx, into, err)
	}
	there, err := c.exists(ctx, into, ref, img.digest)
	if err == nil && !there {
		err = api.Errorf(api.Unavailable, "registry %s has not kept %s@%s", into.RegistryStr(), into.named, img.digest)
	}
	return err
}

// exists reports whether a repository has a manifest under a reference.
func (c *call) exists(ctx context.Context, at repository, ref name.Reference, manifest v1.Hash) (bool, error) {
	desc, err := c.puller.Head(ctx, ref)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, c.pushError(ctx, at, err)
	}
	return desc.Digest == manifest, nil
}
