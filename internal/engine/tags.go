package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Tags of a function app. Labels do not override them.
const (
	idTag    = workspace.IDTag
	nameTag  = "sockerless-container-name"
	ownerTag = workspace.OwnerTag
)

var ownTags = []string{idTag, nameTag, ownerTag}

// Azure's limits on tags.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// tags returns the daemon's tags of a container, with the settings' tags and the labels that Azure accepts as tags, and
// a warning for each other label, which inspect still shows. A label does not override a tag.
func (s Settings) tags(c store.Container) (map[string]string, []string) {
	out := map[string]string{}
	seen := map[string]bool{} // in lower case, because Azure ignores case
	for name, value := range s.Tags {
		out[name], seen[strings.ToLower(name)] = value, true
	}
	out[idTag], out[nameTag], out[ownerTag] = c.ID, nameValue(c.Name), s.Owner
	for _, name := range ownTags {
		seen[name] = true
	}
	var warnings []string
	labels := c.Config.Labels
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		value, folded := labels[name], strings.ToLower(name)
		if !validTag(name, value) || seen[folded] || len(seen) == maxTags {
			warnings = append(warnings, fmt.Sprintf("label %.64q is kept but is not an Azure tag: Azure takes %d tags, "+
				"names of %d characters without <>%%&\\?/ that do not begin with microsoft, azure or windows, values of %d, "+
				"no control characters, and one tag of a name in any case, where the settings' tags win",
				name, maxTags, maxTagName, maxTagValue))
			continue
		}
		seen[folded] = true
		out[name] = value
	}
	return out, warnings
}

// CheckTags reports which of the settings' tags Azure would refuse, or the daemon needs itself.
func CheckTags(tags map[string]string) error {
	if len(tags) > maxTags-len(ownTags) {
		return fmt.Errorf("%d tags are given, and Azure takes %d beside the daemon's own", len(tags), maxTags-len(ownTags))
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		folded := strings.ToLower(name)
		switch other, twice := seen[folded]; {
		case twice:
			return fmt.Errorf("tags %s and %s differ in case only, and Azure takes one", other, name)
		case slices.Contains(ownTags, folded):
			return fmt.Errorf("tag %s is the daemon's own, by which it finds what it has created", name)
		case !validTag(name, tags[name]):
			return fmt.Errorf("tag %.64q: Azure takes names of 1 to %d characters without <>%%&\\?/ that do not begin with "+
				"microsoft, azure or windows, values of %d characters, and no control characters", name, maxTagName, maxTagValue)
		}
		seen[folded] = name
	}
	return nil
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
