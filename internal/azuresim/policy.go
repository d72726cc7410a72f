package azuresim

import (
	"encoding/json"
	"net/http"
	"strings"
)

// requireTagPolicy is the id of Azure's built-in policy "Require a tag on resources", which denies.
const (
	requireTagPolicy = "/providers/Microsoft.Authorization/policyDefinitions/871b6d14-10aa-478d-b590-94f262ecfa99"
	requireTagName   = "Require a tag on resources"
)

// RequireTag assigns the built-in policy "Require a tag on resources" to the subscription, from now on: a PUT of a
// resource without the tag is answered 403 RequestDisallowedByPolicy. The name may be in any case. The policy ignores
// what cannot have tags: below a function app its configuration, below a component its billing.
func (s *Sim) RequireTag(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.requiredTags = append(s.state.requiredTags, name)
}

// checkPolicy refuses a resource that lacks a required tag. Azure's message names the assignments and definitions, by
// their display names, and not the tag, which is in the additional information
// (learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy,
// github.com/Azure/azure-policy/issues/700).
func (s *Sim) checkPolicy(resource string, given any) error {
	assignment := "/subscriptions/" + s.cfg.SubscriptionID +
		"/providers/Microsoft.Authorization/policyAssignments/5d2c8d1f0a4b4e6f9a3c7b21"
	var violated []violation
	var details []any
	for _, name := range s.state.requiredTags {
		if hasTag(object(given), name) {
			continue
		}
		violated = append(violated, violation{
			policyPart{requireTagName, assignment}, policyPart{requireTagName, requireTagPolicy},
		})
		tag := "tags[" + name + "]"
		details = append(details, map[string]any{"type": "PolicyViolation", "info": map[string]any{
			"policyDefinitionDisplayName": requireTagName, "policyDefinitionId": requireTagPolicy,
			"policyDefinitionEffect": "deny", "policyAssignmentDisplayName": requireTagName, "policyAssignmentId": assignment,
			"evaluationDetails": map[string]any{"evaluatedExpressions": []any{map[string]any{
				"result": "True", "expressionKind": "Field", "expression": tag, "path": tag, "targetValue": "false",
				"operator": "Exists",
			}}},
		}})
	}
	if len(violated) == 0 {
		return nil
	}
	identifiers, err := json.Marshal(violated)
	if err != nil {
		return err
	}
	refused := refusal(http.StatusForbidden, "RequestDisallowedByPolicy",
		"Resource '%s' was disallowed by policy. Policy identifiers: '%s'.", resource, identifiers)
	refused.additionalInfo = details
	return refused
}

// violation is one policy in Azure's message, with its names in Azure's order.
type violation struct {
	Assignment policyPart `json:"policyAssignment"`
	Definition policyPart `json:"policyDefinition"`
}

type policyPart struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

func hasTag(tags map[string]any, name string) bool {
	for there := range tags {
		if strings.EqualFold(there, name) {
			return true
		}
	}
	return false
}
