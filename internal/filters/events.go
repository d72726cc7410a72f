package filters

import (
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
)

// Events reads the filters of a stream of events and returns what selects one. The values of a filter are alternatives;
// labels, and different filters, must all match. A filter of objects that do not exist here, such as network, selects
// nothing. Errors are InvalidParameter errors.
func Events(given api.Filters) (func(api.Event) bool, error) {
	byValue := map[string]func(event api.Event, value string) bool{
		"type":      func(event api.Event, value string) bool { return string(event.Type) == value },
		"event":     func(event api.Event, value string) bool { return string(event.Action) == value },
		"scope":     func(event api.Event, value string) bool { return event.Scope == value },
		"container": isOfContainer,
		"image":     isOfImage,
	}
	for _, kind := range []string{"config", "daemon", "network", "node", "plugin", "secret", "service", "volume"} {
		byValue[kind] = func(api.Event, string) bool { return false }
	}
	known := []string{"label"}
	for name := range byValue {
		known = append(known, name)
	}
	slices.Sort(known)
	if err := check(given, known...); err != nil {
		return nil, err
	}
	wanted := labelsOf(given)
	tests := []func(api.Event) bool{func(event api.Event) bool { return wanted.match(event.Actor.Attributes) }}
	for name, is := range byValue {
		if values := given[name]; len(values) > 0 {
			tests = append(tests, func(event api.Event) bool {
				return slices.ContainsFunc(values, func(value string) bool { return is(event, value) })
			})
		}
	}
	return all(tests), nil
}

// isOfContainer reports whether an event is of a container whose id or name begins with ref, as in Docker.
func isOfContainer(event api.Event, ref string) bool {
	name := event.Actor.Attributes["name"]
	return event.Type == api.ContainerEvent && event.Action != api.EventPrune &&
		(matchesID(event.Actor.ID, ref) || matchesID(name, strings.TrimPrefix(ref, "/")))
}

// isOfImage reports whether an event is of the image with this id or reference, or of a container of it. A reference
// without a tag stands for all tags.
func isOfImage(event api.Event, ref string) bool {
	image := event.Actor.Attributes["image"]
	if event.Type == api.ImageEvent {
		image = event.Actor.Attributes["name"]
	}
	if event.Actor.ID == ref || fullImage(image) == fullImage(ref) {
		return true
	}
	given, err := reference.ParseNormalizedNamed(ref)
	if err != nil || !reference.IsNameOnly(given) {
		return false
	}
	named, err := reference.ParseNormalizedNamed(image)
	return err == nil && named.Name() == given.Name()
}
