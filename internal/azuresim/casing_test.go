package azuresim_test

import (
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// TestIDsInAnotherCase wants ids in the case in which Azure answers them, and values of users as they are.
func TestIDsInAnotherCase(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	workspace := groupPath + "/providers/Microsoft.OperationalInsights/workspaces/W"
	component := groupPath + "/providers/Microsoft.Insights/components/C"
	answered := a.must("PUT", workspace+"?api-version=2025-07-01",
		m{"location": "westeurope", "properties": m{"sku": m{"name": "PerGB2018"}}})
	if answered["id"] != strings.ToLower(workspace) || answered["name"] != "W" {
		t.Errorf("workspace %v", answered)
	}
	answered = a.must("PUT", component+"?api-version=2020-02-02", m{
		"location": "westeurope", "kind": "other", "tags": m{"id": component},
		"properties": m{"WorkspaceResourceId": workspace},
	})
	lower := strings.NewReplacer("resourceGroups", "resourcegroups", "Microsoft.O", "microsoft.o", "lI", "li")
	if answered["id"] != strings.Replace(component, "Microsoft.I", "microsoft.i", 1) ||
		answered["properties"].(m)["WorkspaceResourceId"] != lower.Replace(workspace) ||
		answered["tags"].(m)["id"] != component {
		t.Errorf("component %v", answered)
	}
	plan := strings.Replace(planPath("p"), "serverfarms", "serverFarms", 1)
	lowerPlan := strings.Replace(plan, "serverFarms", "serverfarms", 1)
	if got := a.must("PUT", plan+webAPI, planBody("B1"))["id"]; got != lowerPlan {
		t.Errorf("service plan %v", got)
	}
	site := a.siteBody("p", a.Registry()+"/app:1", map[string]string{"id": workspace})
	site["properties"].(m)["serverFarmId"] = plan
	if got := a.must("PUT", sitePath("App")+webAPI, site)["properties"].(m)["serverFarmId"]; got != lowerPlan {
		t.Errorf("service plan of the site %v", got)
	}
	settings := a.must("POST", sitePath("App")+"/config/appsettings/list"+webAPI, nil)["properties"].(m)
	if settings["id"] != workspace {
		t.Errorf("settings %v", settings)
	}
	listed := a.must("GET", listSites, nil)["value"].([]any)[0].(m)
	if listed["id"] != strings.ToLower(sitePath("App")) || listed["name"] != "App" {
		t.Errorf("listed is %v", listed)
	}
}
