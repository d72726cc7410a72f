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
	for name, content := range tags {
		value, ok := content.(string)
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
		for _, prefix := range reservedTags {
			if strings.HasPrefix(strings.ToLower(name), prefix) {
				return refusal(http.StatusBadRequest, "ReservedTagName", "The tag name '%s' begins with the reserved prefix '%s'.",
					name, prefix)
			}
		}
	}
	return nil
}

// RequireTag assigns a policy to the subscription that denies every resource that is written without a tag from now on,
// as the built-in policy "Require a tag on resources" does. The answer has the form of Azure's
// (learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy).
func (s *Sim) RequireTag(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.requiredTags = append(s.state.requiredTags, name)
}

// checkPolicies refuses a resource that lacks a required tag. The caller holds Sim.mu.
func (s *Sim) checkPolicies(resource string, given any) error {
	for _, required := range s.state.requiredTags {
		found := false
		for name := range object(given) {
			found = found || strings.EqualFold(name, required)
		}
		if !found {
			assignment := "/subscriptions/" + s.cfg.SubscriptionID +
				"/providers/Microsoft.Authorization/policyAssignments/require-tag-" + required
			return refusal(http.StatusForbidden, "RequestDisallowedByPolicy", "Resource '%s' was disallowed by policy. Policy "+
				`identifiers: '[{"policyAssignment":{"name":"Require the tag %s","id":"%s"},"policyDefinition":{"name":`+
				`"Require a tag on resources","id":"/providers/Microsoft.Authorization/policyDefinitions/`+
				`871b6d14-10aa-478d-b590-94f262ecfa99"}}]'.`, resource, required, assignment)
		}
	}
	return nil
}

// length counts characters as .NET does.
func length(text string) int { return len(utf16.Encode([]rune(text))) }
