package azuresim

import (
	"encoding/json"
	"regexp"
	"strings"
)

// casings are the parts of resource ids that Azure answers in another case than clients send. Names keep theirs where
// azurerm compares them.
var casings = []struct {
	form *regexp.Regexp
	text string
}{
	// github.com/hashicorp/terraform-provider-azurerm/issues/13348 and 19443
	{
		regexp.MustCompile(`(?i)/resourceGroups/([^/]+)/providers/Microsoft\.OperationalInsights/workspaces/`),
		"/resourcegroups/$1/providers/microsoft.operationalinsights/workspaces/",
	},
	// github.com/hashicorp/terraform-provider-azurerm/pull/13908
	{regexp.MustCompile(`(?i)/providers/Microsoft\.Insights/components/`), "/providers/microsoft.insights/components/"},
	// github.com/hashicorp/terraform-provider-azurerm/issues/24560
	{regexp.MustCompile(`(?i)/providers/Microsoft\.Web/serverFarms/`), "/providers/Microsoft.Web/serverfarms/"},
	// The keys of userAssignedIdentities. keyVaultReferenceIdentity is left alone: azurerm compares it as it is.
	{
		regexp.MustCompile(`(?i)/resourceGroups/([^/]+)/providers/Microsoft\.ManagedIdentity/`),
		"/resourcegroups/$1/providers/Microsoft.ManagedIdentity/",
	},
}

// recased returns an answer of Resource Manager with its ids in the case that Azure gives them. Ids in a list, and that
// of a Log Analytics workspace itself, are in lower case as a whole
// (github.com/Azure/azure-rest-api-specs/issues/9633; names may come in another case:
// learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules).
func recased(answer []byte) ([]byte, error) {
	var document map[string]any
	if err := json.Unmarshal(answer, &document); err != nil {
		return nil, err
	}
	list, _ := document["value"].([]any)
	for _, entry := range append(list, document) {
		entry := object(entry)
		if id := text(entry["id"]); id != "" && (list != nil || entry["type"] == typeWorkspace) {
			entry["id"] = strings.ToLower(id)
		}
	}
	recase(document)
	return json.Marshal(document)
}

// recase changes the ids in a document, but not in tags.
func recase(document map[string]any) {
	for _, at := range []struct {
		in  map[string]any
		key string
	}{
		{document, "id"}, {object(document["properties"]), "serverFarmId"},
		{object(document["properties"]), "WorkspaceResourceId"},
	} {
		if id, ok := at.in[at.key].(string); ok {
			at.in[at.key] = recasedID(id)
		}
	}
	if assigned := object(object(document["identity"])["userAssignedIdentities"]); assigned != nil {
		identities := map[string]any{}
		for id, identity := range assigned {
			identities[recasedID(id)] = identity
		}
		object(document["identity"])["userAssignedIdentities"] = identities
	}
}

func recasedID(id string) string {
	for _, c := range casings {
		id = c.form.ReplaceAllString(id, c.text)
	}
	return id
}
