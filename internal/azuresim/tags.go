package azuresim

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Resource Manager's limits on tags, and the beginnings of names that it keeps for itself
// (learn.microsoft.com/azure/azure-resource-manager/management/tag-resources).
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

var reservedTags = []string{"microsoft", "azure", "windows"}

// checkTags refuses tags as Resource Manager does.
func checkTags(given any) error {
	tags := object(given)
	if len(tags) > maxTags {
		return refusal(http.StatusBadRequest, "InvalidTagsCount", "The resource has %d tags; at most %d are allowed.",
			len(tags), maxTags)
	}
	seen := map[string]bool{}
	for name, content := range tags {
		value, ok := content.(string)
		folded := strings.ToLower(name)
		switch {
		case !ok:
			return refusal(http.StatusBadRequest, "InvalidRequestContent", "The value of the tag '%s' is no string.", name)
		case name == "" || length(name) > maxTagName || length(value) > maxTagValue:
			return refusal(http.StatusBadRequest, "InvalidTagLength",
				"The tag '%s' is too long: names have at most %d characters, values %d.", name, maxTagName, maxTagValue)
		case strings.ContainsAny(name, `<>%&\?/`) || strings.ContainsFunc(name+value, unicode.IsControl):
			return refusal(http.StatusBadRequest, "InvalidTagNameCharacters", "The tag names '%s' have reserved characters "+
				`'<,>,%%,&,\,?,/' or control characters.`, name)
		}
		// The documentation says that case does not count, and not what happens to two such names: the stricter reading.
		if seen[folded] {
			return refusal(http.StatusBadRequest, "DuplicateTagName", "The tag name '%s' is given in several cases.", name)
		}
		seen[folded] = true
		for _, prefix := range reservedTags {
			if strings.HasPrefix(folded, prefix) {
				return refusal(http.StatusBadRequest, "ReservedTagName", "The tag name '%s' begins with the reserved prefix '%s'.",
					name, prefix)
			}
		}
	}
	return nil
}

// length counts characters as .NET does.
func length(text string) int { return len(utf16.Encode([]rune(text))) }
