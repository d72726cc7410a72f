package azuresim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func TestPutSiteChecks(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	for _, sku := range []string{"B1", "Y1", "EP1"} {
		a.must("PUT", planPath(sku)+webAPI, planBody(sku))
	}
	windows := planBody("B1")
	windows["properties"] = m{"reserved": false}
	a.must("PUT", planPath("windows")+webAPI, windows)
	image := a.Registry() + "/app:1"
	a.AddResourceGroup("other-rg")
	otherGroup := strings.Replace(sitePath("TAKEN"), azuresim.DefaultResourceGroup, "other-rg", 1)
	a.must("PUT", sitePath("taken")+webAPI, a.siteBody("B1", image, nil))

	with := func(plan string, change func(body, config m)) m {
		body := a.siteBody(plan, image, nil)
		change(body, body["properties"].(m)["siteConfig"].(m))
		return body
	}
	withStack := func(plan, stack string) m {
		return with(plan, func(_, config m) { config["linuxFxVersion"] = stack })
	}
	tagged := func(name, value string) m {
		return with("B1", func(body, _ m) { body["tags"] = m{name: value} })
	}
	elsewhere := with("B1", func(body, _ m) { body["location"] = "northeurope" })
	for _, row := range []struct {
		name, path string
		body       m
		status     int
		message    string
	}{
		{"not an image", sitePath("x"), withStack("B1", "DOCKER|"), 400, "LinuxFxVersion"},
		{"a bad reference", sitePath("x"), withStack("B1", "DOCKER|a:b:c"), 400, "LinuxFxVersion"},
		{"an unknown stack", sitePath("x"), withStack("B1", "COBOL|85"), 400, "LinuxFxVersion"},
		{"an image on a Windows service plan", sitePath("x"), with("windows", func(m, m) {}), 400, "LinuxFxVersion"},
		{"an unknown service plan", sitePath("x"), with("none", func(m, m) {}), 404, "Cannot find ServerFarm with name none"},
		{"another location than the service plan", sitePath("x"), elsewhere, 409, "northeurope"},
		{"another location than before", sitePath("taken"), elsewhere, 409, "already exists in location"},
		{"always on on Consumption", sitePath("x"), with("Y1", func(_, c m) { c["alwaysOn"] = true }), 409, "AlwaysOn"},
		{"always on on Elastic Premium", sitePath("x"), with("EP1", func(_, c m) { c["alwaysOn"] = true }), 409, "AlwaysOn"},
		{"a name that another group has", otherGroup, with("B1", func(m, m) {}), 409, "TAKEN already exists"},
		{"a bad name", sitePath("-x"), with("B1", func(m, m) {}), 400, "SiteName"},
		{"an unknown identity", sitePath("x"), with("B1", func(b, _ m) {
			b["identity"] = m{"type": "UserAssigned", "userAssignedIdentities": m{planPath("B1"): m{}}}
		}), 400, "was not found"},
		{"a reserved tag", sitePath("x"), tagged("Azure-team", "x"), 400, "reserved prefix"},
		{"a tag with a line feed", sitePath("x"), tagged("a", "x\n"), 400, "control"},
		{"a tag with a slash", sitePath("x"), tagged("a/b", "x"), 400, "reserved char"},
		{"a long tag", sitePath("x"), tagged("a", strings.Repeat("x", 257)), 400, "too long"},
		{"a tag in two cases", sitePath("x"), with("B1", func(body, _ m) { body["tags"] = m{"Team": "a", "team": "a"} }), 400,
			"several cases"},
		{"many tags", sitePath("x"), with("B1", func(body, _ m) { body["tags"] = manyTags(51) }), 400, "at most 50"},
		{"a web app", sitePath("x"), with("B1", func(b, _ m) { b["kind"] = "app,linux" }), 501, "app,linux"},
	} {
		t.Run(row.name, func(t *testing.T) {
			result := a.arm("PUT", row.path+webAPI, row.body)
			if result.status != row.status || !strings.Contains(result.message, row.message) {
				t.Errorf("%d %s: %s; want %d with %q", result.status, result.code, result.message, row.status, row.message)
			}
		})
	}
	if sites := a.Sites(); len(sites) != 1 || sites[0] != "taken" {
		t.Errorf("sites %q: a refused PUT left something", sites)
	}
}

func TestCheckNameAvailability(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("taken")+webAPI, a.siteBody("p", a.Registry()+"/app:1", nil))
	const path = "/subscriptions/" + azuresim.DefaultSubscriptionID +
		"/providers/Microsoft.Web/checknameavailability?api-version=2023-01-01"
	for name, free := range map[string]bool{"taken": false, "TaKeN": false, "free": true, "no_underscore": false} {
		body := a.must("POST", path, m{"name": name, "type": "Microsoft.Web/sites"})
		if body["nameAvailable"] != free {
			t.Errorf("%s: %v, want available: %v", name, body, free)
		}
	}
}

func TestSiteIsCompleteAtOnce(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	put := a.must("PUT", sitePath("App")+webAPI, a.siteBody("p", a.Registry()+"/app:1", map[string]string{"A": "1"}))
	properties := put["properties"].(m)
	if properties["defaultHostName"] != "app.azurewebsites.net" || properties["serverFarmId"] != planPath("p") ||
		properties["state"] != "Running" {
		t.Errorf("properties %v", properties)
	}
	config := properties["siteConfig"].(m)
	if config["linuxFxVersion"] != "DOCKER|"+a.Registry()+"/app:1" || config["appSettings"] != nil {
		t.Errorf("siteConfig %v", config)
	}
	settings := a.must("POST", sitePath("app")+"/config/appsettings/list"+webAPI, nil)["properties"].(m)
	if settings["A"] != "1" || settings["AzureWebJobsStorage"] == "" {
		t.Errorf("settings %v", settings)
	}
	if plan := a.must("GET", planPath("p")+webAPI, nil); plan["properties"].(m)["numberOfSites"] != 1.0 {
		t.Errorf("plan %v", plan)
	}

	policy := sitePath("app") + "/basicPublishingCredentialsPolicies/scm" + webAPI
	a.must("PUT", policy, m{"properties": m{"allow": false}})
	if allow := a.must("GET", policy, nil)["properties"].(m)["allow"]; allow != false {
		t.Errorf("policy allows: %v", allow)
	}
	a.must("PATCH", sitePath("app")+"/config/web"+webAPI, m{"properties": m{"alwaysOn": true}})
	config = a.must("GET", sitePath("app")+"/config/web"+webAPI, nil)["properties"].(m)
	if config["alwaysOn"] != true || config["ftpsState"] != "FtpsOnly" {
		t.Errorf("config %v", config)
	}
	share := m{"properties": m{"share": m{}}}
	result := a.arm("PUT", sitePath("app")+"/config/azurestorageaccounts"+webAPI, share)
	if result.status != http.StatusNotImplemented {
		t.Errorf("mounting a share: %d, want 501", result.status)
	}
}

func TestWorkspaceAndComponent(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	workspace := groupPath + "/providers/Microsoft.OperationalInsights/workspaces/w"
	component := groupPath + "/providers/Microsoft.Insights/components/c"
	rule := groupPath + "/providers/Microsoft.AlertsManagement/smartDetectorAlertRules/Failure%20Anomalies%20-%20c"
	const workspaceAPI, componentAPI = "?api-version=2025-07-01", "?api-version=2020-02-02"
	const ruleAPI = "?api-version=2019-06-01"
	newWorkspace := m{"location": "westeurope", "properties": m{"sku": m{"name": "PerGB2018"}, "retentionInDays": 0}}
	newComponent := m{
		"location": "westeurope", "kind": "other",
		"properties": m{"Application_Type": "other", "WorkspaceResourceId": workspace},
	}

	if result := a.arm("PUT", component+componentAPI, newComponent); result.status != http.StatusBadRequest {
		t.Errorf("component without its Log Analytics workspace: %d, want 400", result.status)
	}
	customer := func() string {
		return a.must("PUT", workspace+workspaceAPI, newWorkspace)["properties"].(m)["customerId"].(string)
	}
	first := customer()
	if again := customer(); again != first {
		t.Error("a second PUT changed the id of the Log Analytics workspace")
	}
	if keys := a.must("POST", workspace+"/sharedKeys?api-version=2020-08-01", nil); keys["primarySharedKey"] == "" {
		t.Errorf("shared keys %v", keys)
	}

	connection := func() string {
		s, _ := a.must("PUT", component+componentAPI, newComponent)["properties"].(m)["ConnectionString"].(string)
		return s
	}
	created := connection()
	if again := connection(); again != created {
		t.Error("a second PUT changed the connection string")
	}
	if !strings.Contains(created, "InstrumentationKey=") || !strings.Contains(created, "IngestionEndpoint="+a.URL()) {
		t.Errorf("connection string %q", created)
	}
	// Azure creates the rule unasked and leaves it behind.
	a.must("GET", rule+ruleAPI, nil)
	a.must("DELETE", component+componentAPI, nil)
	a.must("GET", rule+ruleAPI, nil)
	a.must("DELETE", rule+ruleAPI, nil)

	a.must("DELETE", workspace+workspaceAPI, nil)
	deleted := a.must("GET", "/subscriptions/"+azuresim.DefaultSubscriptionID+
		"/providers/Microsoft.OperationalInsights/deletedWorkspaces"+workspaceAPI, nil)
	if list := deleted["value"].([]any); len(list) != 1 {
		t.Errorf("deleted workspaces %v", list)
	}
	if recovered := customer(); recovered != first {
		t.Error("a Log Analytics workspace created again within 14 days is not the deleted one")
	}
	a.must("DELETE", workspace+workspaceAPI+"&force=true", nil)
	if fresh := customer(); fresh == first {
		t.Error("a purged Log Analytics workspace came back")
	}
}
