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
	// Image is the reference that the container was created with, ImageID the image's id, "" if it is unknown.
	Image, ImageID string
	Labels         map[string]string
	Created        time.Time
	State          api.ContainerState
	ExitCode       int
	Ended          bool     // whether a run has ended
	Networks       []string // names
	Exposed        []string // the ports of a running container, such as 80/tcp; none is published
}

// Lookup finds what filters refer to.
type Lookup struct {
	Created Created
	// ImageID returns the whole id of the image that ref names now, "" for none.
	ImageID func(ref string) (string, error)
}

// Containers reads the filters of a list of containers and returns what selects one. The values of a filter are
// alternatives; labels, and different filters, must all match. Errors are InvalidParameter errors or lookup's.
func Containers(given api.Filters, lookup Lookup) (func(Container) bool, error) {
	err := check(given, "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name",
		"network", "publish", "since", "status", "volume")
	if err != nil {
		return nil, err
	}
	tests, err := alternatives(given, lookup)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"before", "since"} {
		for _, ref := range given[name] {
			bound, err := lookup.Created(ref)
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
	task, err := truth(given, "is-task")
	if err != nil {
		return nil, err
	}
	if task != nil && *task {
		tests = append(tests, func(Container) bool { return false }) // tasks are Swarm's
	}
	wanted := labelsOf(given)
	tests = append(tests, func(c Container) bool { return wanted.match(c.Labels) })
	return all(tests), nil
}

// alternatives returns a test for each filter of which one value must match.
func alternatives(given api.Filters, lookup Lookup) (tests []func(Container) bool, err error) {
	for name, parse := range map[string]func(value string) (func(Container) bool, error){
		"id":        byPattern("id", func(c Container) []string { return []string{c.ID} }),
		"name":      byPattern("name", func(c Container) []string { return []string{c.Name, "/" + c.Name} }),
		"status":    byStatus,
		"exited":    byExitCode,
		"ancestor":  lookup.byAncestor,
		"health":    byHealth,
		"network":   byNetwork,
		"expose":    byPort("expose", func(c Container) []string { return c.Exposed }),
		"publish":   byPort("publish", func(Container) []string { return nil }),
		"volume":    always(false),
		"isolation": always(true), // Windows'
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

// always accepts any value and selects all containers or none.
func always(matches bool) func(string) (func(Container) bool, error) {
	return func(string) (func(Container) bool, error) { return func(Container) bool { return matches }, nil }
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
	return func(c Container) bool { return c.Ended && c.State != "running" && c.ExitCode == code }, nil
}

// byHealth knows that no container has a health check.
func byHealth(value string) (func(Container) bool, error) {
	switch value {
	case "none", "starting", "healthy", "unhealthy":
		return func(Container) bool { return value == string(api.NoHealthcheck) }, nil
	}
	return nil, invalid("health", value)
}

func byNetwork(value string) (func(Container) bool, error) {
	return func(c Container) bool { return slices.Contains(c.Networks, value) }, nil
}

// byPort reads a port or a range of ports, with or without a protocol.
func byPort(name string, of func(Container) []string) func(string) (func(Container) bool, error) {
	return func(value string) (func(Container) bool, error) {
		ports, err := api.ParsePorts(value)
		if err != nil || strings.Contains(value, ":") {
			return nil, invalid(name, value)
		}
		return func(c Container) bool {
			has := of(c)
			return slices.ContainsFunc(ports, func(p api.Port) bool { return slices.Contains(has, p.String()) })
		}, nil
	}
}

// byAncestor compares the ids of images, so that each name of an image selects its containers, and a name that has
// moved on selects those of its new image. A container whose image has no id is compared by reference.
func (l Lookup) byAncestor(value string) (func(Container) bool, error) {
	id, err := l.ImageID(value)
	if err != nil {
		return nil, err
	}
	want := fullImage(value)
	return func(c Container) bool {
		if c.ImageID == "" {
			return fullImage(c.Image) == want
		}
		return c.ImageID == id
	}, nil
}

// PruneContainers reads the filters of a prune of containers and returns what selects one by its time of creation and
// its labels.
func PruneContainers(given api.Filters, now time.Time) (func(Container) bool, error) {
	if err := checkPrune(given, "label", "label!", "until"); err != nil {
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
