// Package filters reads Docker's filters and the times in them. Each request that takes filters has one function here.
// It checks what was given and returns what selects a container, an image or an event. All of them share one parser of
// times and one of labels. The package must not know of HTTP, a database or Azure: the caller looks up what a filter
// refers to.
//
//	match, err := filters.Containers(given, created)
//	if match(filters.Container{ID: id, Name: "web"}) { ... }
package filters

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// Created returns when the container or image was created that ref names. Filters such as before and since use it.
type Created func(ref string) (time.Time, error)

// check returns an InvalidParameter error for a filter that is not among known.
func check(given api.Filters, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(known, name) {
			return api.Errorf(api.InvalidParameter, "invalid filter '%s': use one of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// checkPrune is check for a request that removes what its filters select. It also refuses a filter without a value:
// elsewhere it selects everything.
func checkPrune(given api.Filters, known ...string) error {
	if err := check(given, known...); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if len(given[name]) == 0 {
			return api.Errorf(api.InvalidParameter, "invalid filter '%s': it has no value", name)
		}
	}
	return nil
}

// truth reads a filter that is true or false; nil means that it is not given.
func truth(given api.Filters, name string) (value *bool, err error) {
	values, ok := given[name]
	if !ok {
		return nil, nil
	}
	yes := slices.Contains(values, "true") || slices.Contains(values, "1")
	no := slices.Contains(values, "false") || slices.Contains(values, "0")
	if yes == no {
		return nil, api.Errorf(api.InvalidParameter, "invalid filter '%s=%s': use true or false",
			name, strings.Join(values, ","))
	}
	return &yes, nil
}

// invalid returns an InvalidParameter error for the value of a filter.
func invalid(name, value string) error {
	return api.Errorf(api.InvalidParameter, "invalid filter '%s=%s'", name, value)
}

// all returns a test that is passed if each of tests is.
func all[T any](tests []func(T) bool) func(T) bool {
	return func(v T) bool {
		return !slices.ContainsFunc(tests, func(test func(T) bool) bool { return !test(v) })
	}
}

// matchesID reports whether ref is id or a prefix of it. Docker's ids are lower-case hexadecimal.
func matchesID(id, ref string) bool { return ref != "" && strings.HasPrefix(id, ref) }

// fullImage returns the whole reference of an image, so that alpine and docker.io/library/alpine:latest are equal. What
// is not a valid reference stays as it is.
func fullImage(image string) string {
	named, err := api.ParseReference(image)
	if err != nil {
		return image
	}
	return named.String()
}
