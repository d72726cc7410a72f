package azuresim_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

const (
	storagePath   = groupPath + "/providers/Microsoft.Storage/storageAccounts/" + azuresim.DefaultStorageAccount
	identityPath  = groupPath + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + azuresim.DefaultIdentity
	workspacePath = groupPath + "/providers/Microsoft.OperationalInsights/workspaces/w"
	componentPath = groupPath + "/providers/Microsoft.Insights/components/c"
	storageAPI    = "?api-version=2025-08-01"
	workspaceAPI  = "?api-version=2025-07-01"
	componentAPI  = "?api-version=2020-02-02"
)

func workspaceBody() m {
	return m{"location": "westeurope", "properties": m{"sku": m{"name": "PerGB2018"}, "retentionInDays": 30}}
}

func componentBody(workspace string) m {
	return m{"location": "westeurope", "kind": "other", "properties": m{"WorkspaceResourceId": workspace}}
}

// check fails the test if a preparation failed.
func (a *azure) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func TestResourceGroupIsDeletedWithAllInIt(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.AddResourceGroup("other-rg")
	other := strings.Replace(planPath("p"), azuresim.DefaultResourceGroup, "other-rg", 1)
	for _, path := range []string{planPath("p"), other} {
		a.must("PUT", path+webAPI, planBody("B1"))
	}
	body := a.siteBody("p", a.Registry()+"/app:1", nil)
	a.must("PUT", sitePath("app")+webAPI, body)
	first := a.must("PUT", workspacePath+workspaceAPI, workspaceBody())["properties"].(m)["customerId"]

	a.DeleteResourceGroup(strings.ToUpper(azuresim.DefaultResourceGroup))
	list := groupPath + "/resources?api-version=2021-04-01&$filter=resourceType%20eq%20'Microsoft.Web/sites'"
	for _, call := range []struct {
		method, path string
		body         any
	}{
		{"GET", sitePath("app") + webAPI, nil},
		{"GET", planPath("p") + webAPI, nil},
		{"PUT", sitePath("app") + webAPI, body},
		{"DELETE", sitePath("app") + webAPI, nil},
		{"POST", storagePath + "/listKeys" + storageAPI, nil},
		{"GET", list, nil},
	} {
		result := a.arm(call.method, call.path, call.body)
		if result.status != http.StatusNotFound || result.code != "ResourceGroupNotFound" {
			t.Errorf("%s %s: %d %s, want 404 ResourceGroupNotFound", call.method, call.path, result.status, result.code)
		}
	}
	if left := a.Resources(); len(left) != 1 || left[0].ID != other {
		t.Errorf("left are %+v, want the other group's", left)
	}
	if result, err := a.do("GET", "https://app.azurewebsites.net/", "", nil); err == nil {
		t.Errorf("the function app answers %d", result.status)
	}

	a.AddResourceGroup(azuresim.DefaultResourceGroup)
	if result := a.arm("GET", sitePath("app")+webAPI, nil); result.code != "ResourceNotFound" {
		t.Errorf("%d %s in the new resource group, want ResourceNotFound", result.status, result.code)
	}
	again := a.must("PUT", workspacePath+workspaceAPI, workspaceBody())["properties"].(m)["customerId"]
	if again != first {
		t.Error("a Log Analytics workspace of a deleted group was not soft-deleted")
	}
}

func TestDeleteByHand(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", a.Registry()+"/app:1", nil))
	a.must("PUT", workspacePath+workspaceAPI, workspaceBody())
	a.must("PUT", componentPath+componentAPI, componentBody(workspacePath))
	for _, row := range []struct{ id, api string }{
		{storagePath, storageAPI},
		{strings.ToUpper(planPath("p")), webAPI}, // its app stays
		{componentPath, componentAPI},
		{workspacePath, workspaceAPI},
		{sitePath("app"), webAPI},
	} {
		a.check(a.Delete(row.id))
		if result := a.arm("GET", row.id+row.api, nil); result.status != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", row.id, result.status)
		}
		if strings.EqualFold(row.id, planPath("p")) {
			a.must("GET", sitePath("app")+webAPI, nil)
			a.must("PATCH", sitePath("app")+"/config/web"+webAPI, m{"properties": m{"alwaysOn": true}})
		}
		if row.id != workspacePath && row.id != componentPath {
			continue
		}
		if result := a.arm("DELETE", row.id+row.api, nil); result.status != http.StatusNoContent {
			t.Errorf("%s: DELETE of what is gone is %d, want 204", row.id, result.status)
		}
	}
	if result := a.arm("POST", storagePath+"/listKeys"+storageAPI, nil); result.status != http.StatusNotFound {
		t.Errorf("listKeys of a deleted storage account: %d", result.status)
	}
	a.check(a.Delete(identityPath))
	if err := a.Delete(identityPath); err == nil {
		t.Error("a second Delete succeeded")
	}
}

func TestHostNeedsItsStorageAccount(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("team/app:1")
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", image, customHandler(map[string]string{})))
	key := a.keyWhenUp("app")
	a.invoke("app", key)
	a.check(a.Delete(storagePath))
	result, err := a.do("GET", "https://app.azurewebsites.net/api/run?code="+key, "", nil)
	if err != nil || result.status != http.StatusServiceUnavailable {
		t.Errorf("without its storage account the host answers %d, %v", result.status, err)
	}
}

func TestEditByHand(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", a.Registry()+"/app:1", map[string]string{"A": "1"}))
	a.must("PUT", workspacePath+workspaceAPI, workspaceBody())

	a.check(a.Edit(planPath("p"), func(body map[string]any) {
		body["tags"] = map[string]string{"team": "payments"}
		body["sku"] = m{"name": "P1v3", "capacity": 3}
	}))
	plan := a.must("GET", planPath("p")+webAPI, nil)
	if plan["tags"].(m)["team"] != "payments" || plan["sku"].(m)["tier"] != "PremiumV3" ||
		plan["properties"].(m)["numberOfWorkers"] != 3.0 || plan["properties"].(m)["numberOfSites"] != 1.0 {
		t.Errorf("service plan %v", plan)
	}
	a.check(a.Edit(workspacePath, func(body map[string]any) { body["properties"].(m)["retentionInDays"] = 365 }))
	workspace := a.must("GET", workspacePath+workspaceAPI, nil)
	if workspace["properties"].(m)["retentionInDays"] != 365.0 {
		t.Errorf("Log Analytics workspace %v", workspace)
	}
	a.check(a.Edit(sitePath("app"), func(body map[string]any) {
		properties := body["properties"].(m)
		config := properties["siteConfig"].(m)
		config["appSettings"] = append(config["appSettings"].([]any), m{"name": "B", "value": "2"})
		config["alwaysOn"], properties["enabled"] = true, false
	}))
	app := a.must("GET", sitePath("app")+webAPI, nil)["properties"].(m)
	settings := a.must("POST", sitePath("app")+"/config/appsettings/list"+webAPI, nil)["properties"].(m)
	if app["state"] != "Stopped" || app["siteConfig"].(m)["alwaysOn"] != true ||
		settings["A"] != "1" || settings["B"] != "2" {
		t.Errorf("site %v, settings %v", app, settings)
	}
	for name, err := range map[string]error{
		"nothing": a.Edit(planPath("none"), func(map[string]any) {}),
		"SKU":     a.Edit(planPath("p"), func(body map[string]any) { body["sku"] = m{"name": "B9"} }),
		"site": a.Edit(sitePath("app"), func(body map[string]any) {
			body["properties"].(m)["siteConfig"].(m)["linuxFxVersion"] = "COBOL"
		}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.AddResourceGroup("shared-rg")
	shared := func(path string) string {
		return strings.Replace(path, azuresim.DefaultResourceGroup, "shared-rg", 1)
	}
	windows := m{"sku": m{"name": "P1v3"}, "properties": m{"reserved": false}}
	a.check(a.Seed(shared(planPath("windows")), windows))
	a.check(a.Seed(shared(workspacePath), m{"properties": m{"sku": m{"name": "PerGB2018"}}, "tags": m{"team": "ops"}}))
	a.check(a.Seed(componentPath, m{"kind": "web", "properties": m{"WorkspaceResourceId": shared(workspacePath)}}))
	a.check(a.Seed(componentPath+"-classic", m{"kind": "web"}))
	a.check(a.Seed(shared(storagePath)+"2", m{"tags": m{"team": "ops"}}))
	a.check(a.Seed(shared(identityPath)+"2", nil))

	component := a.must("GET", componentPath+componentAPI, nil)["properties"].(m)
	classic := a.must("GET", componentPath+"-classic"+componentAPI, nil)["properties"].(m)
	if id, _ := component["WorkspaceResourceId"].(string); !strings.EqualFold(id, shared(workspacePath)) ||
		component["IngestionMode"] != "LogAnalytics" ||
		classic["WorkspaceResourceId"] != nil || classic["IngestionMode"] != "ApplicationInsights" {
		t.Errorf("components %v and %v", component, classic)
	}
	plan := a.must("GET", shared(planPath("windows"))+webAPI, nil)
	if plan["kind"] != "app" || plan["location"] != azuresim.DefaultLocation {
		t.Errorf("service plan %v", plan)
	}
	account := a.must("GET", shared(storagePath)+"2"+storageAPI, nil)
	if account["tags"].(m)["team"] != "ops" || account["properties"].(m)["primaryEndpoints"] == nil {
		t.Errorf("storage account %v", account)
	}
	if !slices.ContainsFunc(a.Resources(), func(r azuresim.Resource) bool { return r.ID == shared(identityPath)+"2" }) {
		t.Error("the managed identity is missing")
	}
	result := a.arm("PUT", componentPath+"2"+componentAPI, componentBody(""))
	if result.status != http.StatusBadRequest {
		t.Errorf("a client creates a classic component: %d", result.status)
	}
	for name, err := range map[string]error{
		"no id":             a.Seed("/subscriptions/x", nil),
		"no resource group": a.Seed(strings.Replace(planPath("p"), azuresim.DefaultResourceGroup, "none", 1), planBody("B1")),
		"unknown type":      a.Seed(groupPath+"/providers/Microsoft.Sql/servers/s", nil),
		"refused":           a.Seed(planPath("p"), planBody("B9")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestHostWithoutStorage has a host that ends with its storage account, and comes up with a new one.
func TestHostWithoutStorage(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", a.pushImage("app:1"), customHandler(map[string]string{})))
	key := a.keyWhenUp("app")
	a.check(a.Delete(storagePath))
	result, err := a.do("GET", "https://app.azurewebsites.net/api/run?code="+key, "", nil)
	if err != nil || result.status != http.StatusServiceUnavailable {
		t.Errorf("without its storage account: %d, %v", result.status, err)
	}
	if _, err := a.hostKeys("app"); err == nil {
		t.Error("there are keys without a storage account")
	}
	a.check(a.Seed(storagePath, nil))
	if again := a.keyWhenUp("app"); again == key {
		t.Error("a new storage account has the old one's keys")
	}
}
