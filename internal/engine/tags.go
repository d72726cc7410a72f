package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/sockerless/backend-azf/workspace"
)

// Tags of a function app. Labels do not override them.
const (
	idTag    = workspace.IDTag
	nameTag  = "sockerless-container-name"
	ownerTag = workspace.OwnerTag
)

// Azure's limits on tags.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// tags returns the labels that Azure accepts as tags, and a warning for each other label, which inspect still shows.
func tags(labels map[string]string) (map[string]string, []string) {
	out := map[string]string{}
	seen := map[string]bool{idTag: true, nameTag: true, ownerTag: true} // in lower case, because Azure ignores case
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value, folded := labels[name], strings.ToLower(name)
		if !validTag(name, value) || seen[folded] || len(seen) == maxTags {
			warnings = append(warnings, fmt.Sprintf("label %.64q is kept but is not an Azure tag: Azure takes %d tags, "+
				"names of %d characters without <>%%&\\?/ that do not begin with microsoft, azure or windows, values of %d, "+
				"and no control characters", name, maxTags, maxTagName, maxTagValue))
			continue
		}
		seen[folded] = true
		out[name] = value
	}
	return out, warnings
}

// reservedTags begin names that Azure keeps for itself.
var reservedTags = []string{"microsoft", "azure", "windows"}

func validTag(name, value string) bool {
	folded := strings.ToLower(name)
	reserved := func(prefix string) bool { return strings.HasPrefix(folded, prefix) }
	return name != "" && len(name) <= maxTagName && !strings.ContainsAny(name, `<>%&\?/`) && len(value) <= maxTagValue &&
		!strings.ContainsFunc(name+value, unicode.IsControl) && !slices.ContainsFunc(reservedTags, reserved)
}

// nameValue returns the value of the tag with a container's name, which may be longer than a tag.
func nameValue(name string) string { return name[:min(len(name), maxTagValue)] } // a name is ASCII
