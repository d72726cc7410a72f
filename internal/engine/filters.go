package engine

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// checkFilters is an InvalidParameter error for a filter that is not among known.
func checkFilters(filters api.Filters, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		if !slices.Contains(known, name) {
			return api.Errorf(api.InvalidParameter, "invalid filter '%s': use one of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// badValue is an InvalidParameter error for a filter's value.
func badValue(name, value string) error {
	return api.Errorf(api.InvalidParameter, "invalid filter '%s=%s'", name, value)
}

// matchLabels tells whether labels has all of wanted, each a name or name=value.
func matchLabels(labels map[string]string, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(want string) bool { return !hasLabel(labels, want) })
}

func hasLabel(labels map[string]string, want string) bool {
	name, value, exact := strings.Cut(want, "=")
	have, ok := labels[name]
	return ok && (!exact || have == value)
}

// listFilter tells which containers a list shows. Values of one filter are alternatives, but all labels must be there; filters add up.
func (e *Engine) listFilter(ctx context.Context, filters api.Filters) (func(store.Container) bool, error) {
	if err := checkFilters(filters, "ancestor", "before", "exited", "id", "label", "name", "since", "status"); err != nil {
		return nil, err
	}
	var tests []func(store.Container) bool
	for name, parse := range map[string]func(value string) (func(store.Container) bool, error){
		"id":       byPattern("id", func(c store.Container) []string { return []string{c.ID} }),
		"name":     byPattern("name", func(c store.Container) []string { return []string{c.Name, "/" + c.Name} }),
		"status":   byStatus,
		"exited":   byExitCode,
		"ancestor": byAncestor,
	} {
		values := filters[name]
		if len(values) == 0 {
			continue
		}
		alternatives := make([]func(store.Container) bool, len(values))
		for i, value := range values {
			var err error
			if alternatives[i], err = parse(value); err != nil {
				return nil, err
			}
		}
		tests = append(tests, func(c store.Container) bool {
			return slices.ContainsFunc(alternatives, func(f func(store.Container) bool) bool { return f(c) })
		})
	}
	for _, bound := range []string{"before", "since"} {
		for _, ref := range filters[bound] {
			other, err := e.cfg.Store.Container(ctx, ref)
			if err != nil {
				return nil, err
			}
			tests = append(tests, func(c store.Container) bool {
				if bound == "before" {
					return c.Created.Before(other.Created)
				}
				return c.Created.After(other.Created)
			})
		}
	}
	return func(c store.Container) bool {
		return matchLabels(c.Config.Labels, filters["label"]) && !slices.ContainsFunc(tests, func(f func(store.Container) bool) bool { return !f(c) })
	}, nil
}

// byPattern matches regular expressions anywhere in a name, as Docker does.
func byPattern(name string, of func(store.Container) []string) func(string) (func(store.Container) bool, error) {
	return func(value string) (func(store.Container) bool, error) {
		pattern, err := regexp.Compile(value)
		if err != nil {
			return nil, badValue(name, value)
		}
		return func(c store.Container) bool { return slices.ContainsFunc(of(c), pattern.MatchString) }, nil
	}
}

func byStatus(value string) (func(store.Container) bool, error) {
	if !slices.Contains([]string{"created", "restarting", "running", "removing", "paused", "exited", "dead"}, value) {
		return nil, badValue("status", value)
	}
	return func(c store.Container) bool { return string(dockerState(c.State)) == value }, nil
}

func byExitCode(value string) (func(store.Container) bool, error) {
	code, err := strconv.Atoi(value)
	if err != nil {
		return nil, badValue("exited", value)
	}
	return func(c store.Container) bool { return c.State == store.Exited && c.ExitCode == code }, nil
}

// byAncestor compares images by id and by reference: alpine, alpine:latest and docker.io/library/alpine are one.
func byAncestor(value string) (func(store.Container) bool, error) {
	want, id := normalImage(value), strings.TrimPrefix(value, "sha256:")
	return func(c store.Container) bool {
		return normalImage(c.Config.Image) == want || store.MatchesID(strings.TrimPrefix(c.ImageID, "sha256:"), id)
	}, nil
}

func normalImage(image string) string {
	named, err := api.ParseReference(image)
	if err != nil {
		return image
	}
	return named.String()
}

// pruneFilter tells what a prune takes, by time of creation and labels.
func pruneFilter(filters api.Filters, now time.Time) (func(created time.Time, labels map[string]string) bool, error) {
	if err := checkFilters(filters, "label", "label!", "until"); err != nil {
		return nil, err
	}
	var until time.Time
	switch values := filters["until"]; len(values) {
	case 0:
	case 1:
		var err error
		if until, err = untilTime(values[0], now); err != nil {
			return nil, err
		}
	default:
		return nil, api.Errorf(api.InvalidParameter, "more than one until filter specified")
	}
	return func(created time.Time, labels map[string]string) bool {
		return (until.IsZero() || created.Before(until)) && matchLabels(labels, filters["label"]) &&
			!slices.ContainsFunc(filters["label!"], func(l string) bool { return hasLabel(labels, l) })
	}, nil
}

// untilTime reads a duration before now, seconds since 1970 with decimals, or RFC 3339.
func untilTime(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	t, err := api.ParseTime(value)
	if err != nil {
		return time.Time{}, fmt.Errorf("filter until: %w", err)
	}
	return t, nil
}
