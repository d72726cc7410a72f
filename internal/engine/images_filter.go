package engine

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// imageFilter selects images.
type imageFilter struct {
	dangling             *bool // nil selects both
	labels, withoutLabel []string
	references           []string
	after, before        time.Time // exclusive, zero for no bound
}

// imageFilter reads filters, of which those in known are allowed.
func (e *Engine) imageFilter(ctx context.Context, filters api.Filters, known ...string) (imageFilter, error) {
	var f imageFilter
	for name, values := range filters {
		if !slices.Contains(known, name) {
			return f, api.Errorf(api.InvalidParameter, "invalid filter '%s'", name)
		}
		for _, value := range values {
			if err := e.addImageFilter(ctx, &f, name, value); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

func (e *Engine) addImageFilter(ctx context.Context, f *imageFilter, name, value string) error {
	switch name {
	case "dangling":
		switch value {
		case "true", "1":
			f.dangling = new(true)
		case "false", "0":
			f.dangling = new(false)
		default:
			return api.Errorf(api.InvalidParameter, "invalid filter 'dangling=%s': use true or false", value)
		}
	case "label":
		f.labels = append(f.labels, value)
	case "label!":
		f.withoutLabel = append(f.withoutLabel, value)
	case "reference":
		if _, err := path.Match(value, ""); err != nil {
			return api.Errorf(api.InvalidParameter, "invalid filter 'reference=%s': %w", value, err)
		}
		f.references = append(f.references, value)
	case "until":
		until, err := pastTime(value, e.cfg.Store.Now())
		if err != nil {
			return err
		}
		f.beforeTime(until)
	case "before", "since":
		img, err := e.cfg.Store.Image(ctx, value)
		if err != nil {
			return err
		}
		if name == "before" {
			f.beforeTime(img.Created())
		} else if img.Created().After(f.after) {
			f.after = img.Created()
		}
	}
	return nil
}

func (f *imageFilter) beforeTime(t time.Time) {
	if f.before.IsZero() || t.Before(f.before) {
		f.before = t
	}
}

func (f imageFilter) match(img store.Image) bool {
	created := img.Created()
	switch {
	case f.dangling != nil && *f.dangling != (len(img.RepoTags()) == 0),
		!f.before.IsZero() && !created.Before(f.before),
		!f.after.IsZero() && !created.After(f.after):
		return false
	case f.references != nil && len(f.names(img.RepoTags())) == 0 && len(f.names(img.RepoDigests())) == 0:
		return false
	}
	has := func(label string) bool {
		name, want, valued := strings.Cut(label, "=")
		value, ok := img.Spec.Config.Labels[name]
		return ok && (!valued || value == want)
	}
	return !slices.ContainsFunc(f.labels, func(label string) bool { return !has(label) }) && !slices.ContainsFunc(f.withoutLabel, has)
}

// names are those that the filter's patterns match, as Docker lists no others; never nil.
func (f imageFilter) names(all []string) []string {
	if f.references == nil {
		return all
	}
	out := []string{}
	for _, name := range all {
		if slices.ContainsFunc(f.references, func(pattern string) bool { return matchesName(pattern, name) }) {
			out = append(out, name)
		}
	}
	return out
}

func matchesName(pattern, name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	ok, err := reference.FamiliarMatch(pattern, ref)
	return ok && err == nil
}

// pastTime reads a time as Docker's filters do: how long ago, RFC 3339 or its date alone, or seconds since 1970.
func pastTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, api.Errorf(api.InvalidParameter, "invalid filter 'until=%s': give a duration such as 24h, RFC 3339, or seconds since 1970", text)
}
