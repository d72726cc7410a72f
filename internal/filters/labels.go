package filters

import (
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
)

// labels selects by labels. Each entry is NAME or NAME=VALUE.
type labels struct{ with, without []string }

func labelsOf(given api.Filters) labels {
	return labels{with: given["label"], without: given["label!"]}
}

// match reports whether the labels in have pass: all that are wanted are there, and none of the unwanted ones is.
func (l labels) match(have map[string]string) bool {
	has := func(entry string) bool {
		name, want, valued := strings.Cut(entry, "=")
		value, ok := have[name]
		return ok && (!valued || value == want)
	}
	lacks := func(entry string) bool { return !has(entry) }
	return !slices.ContainsFunc(l.with, lacks) && !slices.ContainsFunc(l.without, has)
}
