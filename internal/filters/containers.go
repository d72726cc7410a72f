package filters

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
)

// Container has what the filters of containers look at.
type Container struct {
	ID, Name string
	// Image is the reference that the container was created with, ImageID the image's id, with or without "sha256:".
	Image, ImageID string
	Labels         map[string]string
	Created        time.Time
	State          api.ContainerState
	ExitCode       int
}

// Containers reads the filters of a list of containers and returns what selects one. The values of a filter are
// alternatives; labels, and different filters, must all match. Errors are InvalidParameter errors or created's.
func Containers(given api.Filters, created Created) (func(Container) bool, error) {
	if err := check(given, "ancestor", "before", "exited", "id", "label", "name", "since", "status"); err != nil {
		return nil, err
	}
	tests, err := alternatives(given)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"before", "since"} {
		for _, ref := range given[name] {
			bound, err := created(ref)
			if err != nil {
				return nil, err
			}
			tests = append(tests, func(c Container) bool {
				if name == "before" {
					return c.Created.Before(bound)
				}
				return c.Created.After(bound)
			})
		}
	}
	wanted := labelsOf(given)
	tests = append(tests, func(c Container) bool { return wanted.match(c.Labels) })
	return all(tests), nil
}

// alternatives returns a test for each filter of which one value must match.
func alternatives(given api.Filters) (tests []func(Container) bool, err error) {
	for name, parse := range map[string]func(value string) (func(Container) bool, error){
		"id":       byPattern("id", func(c Container) []string { return []string{c.ID} }),
		"name":     byPattern("name", func(c Container) []string { return []string{c.Name, "/" + c.Name} }),
		"status":   byStatus,
		"exited":   byExitCode,
		"ancestor": byAncestor,
	} {
		var parsed []func(Container) bool
		for _, value := range given[name] {
			test, err := parse(value)
			if err != nil {
				return nil, err
			}
			parsed = append(parsed, test)
		}
		if len(parsed) > 0 {
			tests = append(tests, func(c Container) bool {
				return slices.ContainsFunc(parsed, func(test func(Container) bool) bool { return test(c) })
			})
		}
	}
	return tests, nil
}

// byPattern matches a regular expression anywhere in a name, as Docker does.
func byPattern(name string, of func(Container) []string) func(string) (func(Container) bool, error) {
	return func(value string) (func(Container) bool, error) {
		pattern, err := regexp.Compile(value)
		if err != nil {
			return nil, invalid(name, value)
		}
		return func(c Container) bool { return slices.ContainsFunc(of(c), pattern.MatchString) }, nil
	}
}

var states = []string{"created", "restarting", "running", "removing", "paused", "exited", "dead"}

func byStatus(value string) (func(Container) bool, error) {
	if !slices.Contains(states, value) {
		return nil, invalid("status", value)
	}
	return func(c Container) bool { return string(c.State) == value }, nil
}

func byExitCode(value string) (func(Container) bool, error) {
	code, err := strconv.Atoi(value)
	if err != nil {
		return nil, invalid("exited", value)
	}
	return func(c Container) bool { return c.State == "exited" && c.ExitCode == code }, nil
}

// byAncestor compares images by id and by reference.
func byAncestor(value string) (func(Container) bool, error) {
	want, id := fullImage(value), strings.TrimPrefix(value, "sha256:")
	return func(c Container) bool {
		return fullImage(c.Image) == want || matchesID(strings.TrimPrefix(c.ImageID, "sha256:"), id)
	}, nil
}

// PruneContainers reads the filters of a prune of containers and returns what selects one by its time of creation and
// its labels.
func PruneContainers(given api.Filters, now time.Time) (func(Container) bool, error) {
	if err := check(given, "label", "label!", "until"); err != nil {
		return nil, err
	}
	before, err := until(given, now)
	if err != nil {
		return nil, err
	}
	wanted := labelsOf(given)
	return func(c Container) bool {
		return (before.IsZero() || c.Created.Before(before)) && wanted.match(c.Labels)
	}, nil
}
