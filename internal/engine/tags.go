package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Tags of a function app that are the daemon's own. Neither Settings.Tags nor labels override them.
const (
	idTag    = workspace.IDTag
	nameTag  = "sockerless-container-name"
	ownerTag = workspace.OwnerTag
	// digestTag is the digest of the user's image, where it is certain which one that is.
	digestTag = "sockerless-image-digest"
)

// Azure's limits on tags (learn.microsoft.com/azure/azure-resource-manager/management/tag-resources). azurerm counts
// the bytes of names and values.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// ownTags are in lower case.
var ownTags = []string{idTag, nameTag, ownerTag, digestTag}

// reservedTags begin names that Azure keeps for itself.
var reservedTags = []string{"microsoft", "azure", "windows"}

// CheckTags returns an error of one line that names each tag that Azure refuses, and each that is one of the daemon's
// own, or that there are too many tags.
func CheckTags(tags map[string]string) error {
	var problems []string
	seen := map[string]string{} // names by their lower case, because Azure ignores case
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		folded := strings.ToLower(name)
		err := checkTag(name, tags[name])
		if slices.Contains(ownTags, folded) {
			err = errors.New("the daemon sets this tag itself")
		} else if first, twice := seen[folded]; twice {
			err = fmt.Errorf("it is the same tag as %q, because Azure ignores case", first)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("tag %.64q: %v", name, err))
		}
		seen[folded] = name
	}
	if most := maxTags - len(ownTags); len(tags) > most {
		problems = append(problems, fmt.Sprintf("%d tags are too many: use at most %d, because Azure takes %d and the "+
			"daemon sets %d itself", len(tags), most, maxTags, len(ownTags)))
	}
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "; "))
}

// checkTag returns why Azure refuses a tag.
func checkTag(name, value string) error {
	folded := strings.ToLower(name)
	reserved := slices.IndexFunc(reservedTags, func(prefix string) bool { return strings.HasPrefix(folded, prefix) })
	switch {
	case name == "":
		return errors.New("its name is empty")
	case len(name) > maxTagName:
		return fmt.Errorf("its name is longer than %d bytes", maxTagName)
	case len(value) > maxTagValue:
		return fmt.Errorf("its value is longer than %d bytes", maxTagValue)
	case strings.ContainsAny(name, `<>%&\?/`):
		return errors.New(`its name has one of the characters <>%&\?/`)
	case strings.ContainsFunc(name+value, unicode.IsControl):
		return errors.New("it has a line break or another control character")
	case reserved >= 0:
		return fmt.Errorf("its name begins with %s, which Azure keeps for itself", reservedTags[reserved])
	}
	return nil
}

// sharedTags returns the tags of what all containers share.
func (s Settings) sharedTags() map[string]string {
	tags := map[string]string{ownerTag: s.Owner}
	maps.Copy(tags, s.Tags)
	return tags
}

// tags returns the tags of a container's function app: the daemon's own, those of the settings, and the labels that
// Azure takes as tags. It returns a warning for each other label, which inspect still shows.
func (s Settings) tags(c store.Container) (map[string]string, []string) {
	tags := s.sharedTags()
	tags[idTag], tags[nameTag] = c.ID, nameValue(c.Name)
	if digest := imageDigest(c); digest != "" || c.Derived != nil { // it has one before Azure gets the tags
		tags[digestTag] = digest
	}
	values := map[string]string{} // by names in lower case, because Azure ignores case
	for name, value := range tags {
		values[strings.ToLower(name)] = value
	}
	values[digestTag] = imageDigest(c) // a label is never this tag
	var warnings []string
	if tags[nameTag] != c.Name {
		warnings = append(warnings, fmt.Sprintf("the name is longer than a tag in Azure: the tag %s has its first %d "+
			"characters", nameTag, maxTagValue))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Config.Labels)) {
		value, folded := c.Config.Labels[name], strings.ToLower(name)
		err := checkTag(name, value)
		if there, taken := values[folded]; err == nil && taken {
			if there == value {
				continue
			}
			err = s.taken(folded)
		} else if err == nil && len(tags) == maxTags {
			err = fmt.Errorf("Azure takes %d tags", maxTags)
		}
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("label %.64q is kept but is not a tag in Azure: %v", name, err))
			continue
		}
		tags[name], values[folded] = value, value
	}
	return tags, warnings
}

// taken returns why a label does not become a tag whose name, in lower case, is there already.
func (s Settings) taken(folded string) error {
	ofSettings := func(name string) bool { return strings.ToLower(name) == folded }
	switch {
	case slices.Contains(ownTags, folded):
		return errors.New("the daemon sets this tag itself")
	case slices.ContainsFunc(slices.Collect(maps.Keys(s.Tags)), ofSettings):
		return errors.New("the daemon's setting tags has another value for it")
	}
	return errors.New("another label has this name, because Azure ignores case")
}

// imageDigest returns the digest of the image that a container was created from: of a wrapped one, or of one that was
// given by it. Otherwise it is "": which image Azure pulls by a tag, nobody here knows.
func imageDigest(c store.Container) string {
	if c.Derived != nil {
		return sourceDigest(c)
	}
	return api.DigestIn(c.Config.Image)
}

// nameValue returns the value of the tag with a container's name, which may be longer than a tag.
func nameValue(name string) string { return name[:min(len(name), maxTagValue)] } // a name is ASCII
