package filters

import (
	"path"
	"slices"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
)

// Image has what the filters of images look at.
type Image struct {
	// Tags and Digests are the image's names, as people write them.
	Tags, Digests []string
	Labels        map[string]string
	Created       time.Time
}

// ImageFilter selects images, and names of images.
type ImageFilter struct {
	dangling   *bool // nil selects both
	labels     labels
	references []string
	// after and before are exclusive bounds; zero means that there is none.
	after, before time.Time
}

// Images reads the filters of a list of images. The values of reference are alternatives; labels, bounds of time and
// different filters must all match. Errors are InvalidParameter errors or created's.
func Images(given api.Filters, now time.Time, created Created) (ImageFilter, error) {
	f := ImageFilter{labels: labelsOf(given), references: given["reference"]}
	if err := check(given, "before", "dangling", "label", "label!", "reference", "since", "until"); err != nil {
		return f, err
	}
	var err error
	if f.dangling, err = truth(given, "dangling"); err != nil {
		return f, err
	}
	for _, pattern := range f.references {
		if _, err := path.Match(pattern, ""); err != nil {
			return f, api.Errorf(api.InvalidParameter, "invalid filter 'reference=%s': %w", pattern, err)
		}
	}
	for _, value := range given["until"] {
		t, err := untilTime(value, now)
		if err != nil {
			return f, err
		}
		f.boundBefore(t)
	}
	for _, ref := range given["before"] {
		t, err := created(ref)
		if err != nil {
			return f, err
		}
		f.boundBefore(t)
	}
	for _, ref := range given["since"] {
		t, err := created(ref)
		if err != nil {
			return f, err
		}
		if t.After(f.after) {
			f.after = t
		}
	}
	return f, nil
}

// PruneImages reads the filters of a prune of images and returns what selects one. Without dangling, or with
// dangling=true, tagged images stay.
func PruneImages(given api.Filters, now time.Time) (func(Image) bool, error) {
	if err := checkPrune(given, "dangling", "label", "label!", "until"); err != nil {
		return nil, err
	}
	untagged, err := truth(given, "dangling")
	if err != nil {
		return nil, err
	}
	f := ImageFilter{labels: labelsOf(given)}
	if f.before, err = until(given, now); err != nil {
		return nil, err
	}
	// dangling=false does not select tagged images here. It selects all.
	if untagged == nil || *untagged {
		f.dangling = new(true)
	}
	return f.Match, nil
}

func (f *ImageFilter) boundBefore(t time.Time) {
	if f.before.IsZero() || t.Before(f.before) {
		f.before = t
	}
}

// Match reports whether the filter selects an image.
func (f ImageFilter) Match(img Image) bool {
	switch {
	case f.dangling != nil && *f.dangling != (len(img.Tags) == 0),
		!f.before.IsZero() && !img.Created.Before(f.before),
		!f.after.IsZero() && !img.Created.After(f.after),
		f.references != nil && len(f.Names(img.Tags)) == 0 && len(f.Names(img.Digests)) == 0:
		return false
	}
	return f.labels.match(img.Labels)
}

// Names returns the names that the filter's references match, because Docker lists no others. It never returns nil for
// names that are not nil.
func (f ImageFilter) Names(names []string) []string {
	if f.references == nil {
		return names
	}
	out := []string{}
	for _, name := range names {
		matches := func(pattern string) bool { return matchesReference(pattern, name) }
		if slices.ContainsFunc(f.references, matches) {
			out = append(out, name)
		}
	}
	return out
}

func matchesReference(pattern, name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	ok, err := reference.FamiliarMatch(pattern, ref)
	return ok && err == nil
}
