package filters

import (
	"slices"

	"github.com/sockerless/backend-azf/internal/api"
)

// Events reads the filters of a stream of events and returns what selects one. The values of a filter are alternatives;
// labels, and different filters, must all match. Errors are InvalidParameter errors.
func Events(given api.Filters) (func(api.Event) bool, error) {
	if err := check(given, "container", "event", "image", "label", "type"); err != nil {
		return nil, err
	}
	byValue := map[string]func(event api.Event, value string) bool{
		"type":      func(event api.Event, value string) bool { return string(event.Type) == value },
		"event":     func(event api.Event, value string) bool { return string(event.Action) == value },
		"container": isOfContainer,
		"image":     isOfImage,
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

// isOfContainer reports whether an event is of the container with this id, prefix of an id, or name.
func isOfContainer(event api.Event, ref string) bool {
	name := event.Actor.Attributes["name"]
	return event.Type == api.ContainerEvent && (matchesID(event.Actor.ID, ref) || ref == name || ref == "/"+name)
}

// isOfImage reports whether an event is of the image with this id or reference, or of a container of it.
func isOfImage(event api.Event, ref string) bool {
	image := event.Actor.Attributes["image"]
	if event.Type == api.ImageEvent {
		image = event.Actor.Attributes["name"]
	}
	return event.Actor.ID == ref || fullImage(image) == fullImage(ref)
}
