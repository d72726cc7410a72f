package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/filters"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/registry"
	"github.com/sockerless/backend-azf/store"
)

// ImagePull implements api.Backend. It records nothing if ctx ends before the registry answers.
func (e *Engine) ImagePull(
	ctx context.Context, ref string, auth api.AuthConfig, platform string,
) (io.ReadCloser, error) {
	named, err := api.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	if _, err := e.askPolicies(ctx, gate.Pull, nil, named.String()); err != nil {
		return nil, err
	}
	var lines progress
	if written, err := reference.ParseNormalizedNamed(ref); err == nil && reference.IsNameOnly(written) {
		lines.add("", "Using default tag: latest")
	}
	lines.add(pullingFrom(named), "Pulling from %s", reference.Path(named))
	found, err := e.cfg.Registry.Resolve(ctx, named, auth, platform)
	switch {
	case api.KindOf(err) == api.Unavailable:
		// Azure pulls the image itself, so an image that the daemon cannot look up may still run.
		if recordErr := e.cfg.Store.RecordUnresolved(ctx, named, err.Error()); recordErr != nil {
			return nil, recordErr
		}
		lines.add("", "Status: Recorded %s without looking it up (%s)", reference.FamiliarString(named), err)
	case err != nil:
		return nil, err
	default:
		if err := e.cfg.Store.RecordImage(ctx, named, found.Digest, storeImage(found)); err != nil {
			return nil, err
		}
		lines.resolved(named, found)
		if needed, err := e.needsWrap(reference.FamiliarString(named), storeImage(found)); needed || err != nil {
			lines.add("", "Functions host: none; %s", wrapped(err))
		}
	}
	return lines.stream()
}

// wrapped says in a pull what happens to an image without a Functions host. err is why it cannot be wrapped.
func wrapped(err error) string {
	if err != nil {
		return err.Error()
	}
	return "wrapped on create"
}

func storeImage(found registry.Image) store.Image {
	img := store.Image{ID: found.ID, Spec: found.Spec, Size: found.Size}
	for _, layer := range found.Layers {
		img.LayerSizes = append(img.LayerSizes, layer.Size)
	}
	return img
}

// lookUpImage asks the registry for an image that nobody has pulled. Its configuration says how the environment reaches
// the command. When the registry does not show it, that is only logged, and the image is not resolved: Azure pulls it
// itself, and may see more than the daemon. What the registry shows and Azure cannot run is an error.
func (e *Engine) lookUpImage(ctx context.Context, named reference.Named) (store.Image, error) {
	found, err := e.cfg.Registry.Resolve(ctx, named, api.AuthConfig{}, "")
	if api.KindOf(err) == api.InvalidParameter || errors.Is(err, registry.ErrNoPlatform) {
		return store.Image{}, err
	}
	if err != nil {
		e.cfg.Log.Info().Err(err).Str("image", named.String()).Msg("cannot look the image up")
		return store.Image{}, ctx.Err()
	}
	img := storeImage(found)
	img.Resolved = true
	return img, e.cfg.Store.LookedUpImage(ctx, named, found.Digest, storeImage(found))
}

// pullingFrom returns the tag or digest in a pull's first line.
func pullingFrom(ref reference.Named) string {
	if digested, ok := ref.(reference.Digested); ok {
		return digested.Digest().String()
	}
	if tagged, ok := ref.(reference.Tagged); ok {
		return tagged.Tag()
	}
	return ""
}

// progress is the stream of a pull. It is complete before it begins, because the daemon fetches no layer.
type progress []api.ProgressMessage

// add appends a line.
func (p *progress) add(id, format string, args ...any) {
	*p = append(*p, api.ProgressMessage{ID: id, Status: fmt.Sprintf(format, args...)})
}

// resolved adds the lines of an image that was looked up. Scripts read the line that begins with "Digest: ".
func (p *progress) resolved(ref reference.Named, found registry.Image) {
	for _, layer := range found.Layers {
		_, hex, _ := strings.Cut(layer.Digest, ":")
		p.add(hex[:min(12, len(hex))], "Left for Azure to pull")
	}
	p.add("", "Digest: %s", found.Digest)
	if found.Spec.OS != "linux" || found.Spec.Architecture != "amd64" {
		p.add("", "WARNING: the image is for %s/%s; Azure Functions runs linux/amd64", found.Spec.OS, found.Spec.Architecture)
	}
	p.add("", "Status: Looked up %s; Azure pulls it for each container", reference.FamiliarString(ref))
}

// stream returns the lines as JSON.
func (p progress) stream() (io.ReadCloser, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, line := range p {
		if err := enc.Encode(line); err != nil {
			return nil, fmt.Errorf("write progress: %w", err)
		}
	}
	return io.NopCloser(&buf), nil
}

// ImageInspect implements api.Backend.
func (e *Engine) ImageInspect(ctx context.Context, name string) (api.ImageInspectResponse, error) {
	img, err := e.cfg.Store.Image(ctx, name)
	if err != nil {
		return api.ImageInspectResponse{}, err
	}
	var out api.ImageInspectResponse
	out.ID, out.RepoTags, out.RepoDigests = img.ID, img.RepoTags(), img.RepoDigests()
	if img.Spec.Created != nil {
		out.Created = img.Spec.Created.Format(time.RFC3339Nano)
	}
	out.Author, out.Config = img.Spec.Author, &img.Spec.Config
	out.Os, out.OsVersion = img.Spec.OS, img.Spec.OSVersion
	out.Architecture, out.Variant = img.Spec.Architecture, img.Spec.Variant
	out.Size, out.RootFS.Type, out.RootFS.Layers = img.Size, or(img.Spec.RootFS.Type, "layers"), []string{}
	for _, layer := range img.Spec.RootFS.DiffIDs {
		out.RootFS.Layers = append(out.RootFS.Layers, layer.String())
	}
	out.AZF = api.ImageDetails{Resolved: img.Resolved, Error: img.Error}
	return out, nil
}

// ImageTag implements api.Backend.
func (e *Engine) ImageTag(ctx context.Context, source, repo, tag string) error {
	target, err := tagReference(repo, tag)
	if err != nil {
		return err
	}
	return e.cfg.Store.TagImage(ctx, source, target)
}

// tagReference returns repo with tag. A tag in repo counts if tag is empty; without any tag it is latest.
func tagReference(repo, tag string) (reference.NamedTagged, error) {
	named, err := reference.ParseNormalizedNamed(repo)
	if err == nil {
		if _, digested := named.(reference.Digested); digested {
			return nil, api.Errorf(api.InvalidParameter, "refusing to create a tag with a digest reference")
		}
		switch reference.FamiliarName(named) {
		case "sha256":
			return nil, api.Errorf(api.InvalidParameter, "refusing to create an ambiguous tag using digest algorithm as name")
		case "scratch":
			return nil, api.Errorf(api.Forbidden, "'scratch' is a reserved name")
		}
		if tag != "" {
			named, err = reference.WithTag(reference.TrimNamed(named), tag)
		}
	}
	if err != nil {
		return nil, api.Errorf(api.InvalidParameter,
			"invalid reference format: %q with tag %q cannot be the target of a tag: %w", repo, tag, err)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return nil, fmt.Errorf("tag %s: no tag was added", named)
	}
	return tagged, nil
}

// ImageList implements api.Backend. opts.All has no effect, because there are no intermediate images.
func (e *Engine) ImageList(ctx context.Context, opts api.ImageListOptions) ([]api.ImageSummary, error) {
	filter, err := filters.Images(opts.Filters, e.cfg.Store.Now().Local(), func(ref string) (time.Time, error) {
		img, err := e.cfg.Store.Image(ctx, ref)
		return img.Created(), err
	})
	if err != nil {
		return nil, err
	}
	list, err := e.cfg.Store.Images(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b store.Image) int { return b.Created().Compare(a.Created()) })
	out := []api.ImageSummary{}
	for _, img := range list {
		tags, digests := img.RepoTags(), img.RepoDigests()
		if !filter.Match(filteredImage(img)) {
			continue
		}
		labels := img.Spec.Config.Labels
		if labels == nil {
			labels = map[string]string{}
		}
		out = append(out, api.ImageSummary{
			ID: img.ID, RepoTags: filter.Names(tags), RepoDigests: filter.Names(digests), Created: img.Created().Unix(),
			Size: img.Size, SharedSize: -1, Labels: labels, Containers: int64(len(img.Users)),
		})
	}
	return out, nil
}

// filteredImage returns what filters look at of an image.
func filteredImage(img store.Image) filters.Image {
	return filters.Image{
		Tags: img.RepoTags(), Digests: img.RepoDigests(), Labels: img.Spec.Config.Labels, Created: img.Created(),
	}
}

// ImageRemove implements api.Backend. prune has no effect, because images have no parents here.
func (e *Engine) ImageRemove(ctx context.Context, name string, force, _ bool) ([]api.ImageDeleted, error) {
	return e.cfg.Store.RemoveImage(ctx, name, force)
}

// ImageHistory implements api.Backend. It is empty for an image that is not resolved.
func (e *Engine) ImageHistory(ctx context.Context, name string) ([]api.ImageHistoryItem, error) {
	img, err := e.cfg.Store.Image(ctx, name)
	if err != nil {
		return nil, err
	}
	out := []api.ImageHistoryItem{}
	sizes := img.LayerSizes
	for _, entry := range img.Spec.History {
		item := api.ImageHistoryItem{ID: "<missing>", CreatedBy: entry.CreatedBy, Comment: entry.Comment}
		if entry.Created != nil {
			item.Created = entry.Created.Unix()
		}
		if !entry.EmptyLayer && len(sizes) > 0 {
			item.Size, sizes = sizes[0], sizes[1:]
		}
		out = append(out, item)
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = img.ID, img.RepoTags()
	}
	for i := range out {
		api.NoNulls(&out[i])
	}
	return out, nil
}

// ImagePrune implements api.Backend. A prune that selects images with names, and none by labels, removes derived images
// too.
func (e *Engine) ImagePrune(ctx context.Context, given api.Filters) (api.ImagePruneReport, error) {
	match, err := filters.PruneImages(given, e.cfg.Store.Now().Local())
	if err != nil {
		return api.ImagePruneReport{}, err
	}
	report := api.ImagePruneReport{ImagesDeleted: []api.ImageDeleted{}}
	deleted, err := e.cfg.Store.PruneImages(ctx, func(img store.Image) bool { return match(filteredImage(img)) })
	if err != nil {
		return report, err
	}
	report.ImagesDeleted = append(report.ImagesDeleted, deleted...)
	if e.cfg.Wrapper != nil && len(given["label"])+len(given["label!"]) == 0 {
		removed, err := e.removeDerived(ctx, func(img store.DerivedImage) bool {
			return match(filters.Image{Tags: []string{img.Reference}, Created: img.Created})
		})
		for _, img := range removed {
			report.ImagesDeleted = append(report.ImagesDeleted,
				api.ImageDeleted{Untagged: img.Reference}, api.ImageDeleted{Deleted: img.Digest()})
			report.SpaceReclaimed += uint64(img.Bytes)
		}
		if err != nil {
			return report, err
		}
	}
	return report, e.cfg.Store.Pruned(ctx, api.ImageEvent, int64(report.SpaceReclaimed))
}

// AuthLogin implements api.Backend.
func (e *Engine) AuthLogin(ctx context.Context, auth api.AuthConfig) (api.AuthResponse, error) {
	if err := e.cfg.Registry.Login(ctx, auth); err != nil {
		return api.AuthResponse{}, err
	}
	return api.AuthResponse{Status: "Login Succeeded"}, nil
}
