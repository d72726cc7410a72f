package azuresim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func TestDeniedActions(t *testing.T) {
	t.Parallel()
	const sub = "/subscriptions/" + azuresim.DefaultSubscriptionID
	const config = "/config/appsettings/list"
	list := "/resources?api-version=2021-04-01&$filter=resourceType%20eq%20'Microsoft.Web/sites'"
	for _, row := range []struct{ action, method, path, scope string }{
		{"Microsoft.Web/serverfarms/read", "GET", planPath("p") + webAPI, planPath("p")},
		{"Microsoft.Web/serverfarms/write", "PUT", planPath("p") + webAPI, planPath("p")},
		{"Microsoft.Web/serverfarms/delete", "DELETE", planPath("p") + webAPI, planPath("p")},
		{"Microsoft.Storage/storageAccounts/listKeys/action", "POST", storagePath + "/listKeys" + storageAPI, storagePath},
		{"Microsoft.Web/sites/config/read", "GET", sitePath("app") + "/config/web" + webAPI, sitePath("app") + "/config/web"},
		{"Microsoft.Web/sites/config/write", "PATCH", sitePath("app") + "/config/web" + webAPI,
			sitePath("app") + "/config/web"},
		{"Microsoft.Web/sites/config/list/action", "POST", sitePath("app") + config + webAPI,
			sitePath("app") + "/config/appsettings"},
		{"Microsoft.Web/sites/host/listkeys/action", "POST", sitePath("app") + "/host/default/listkeys" + webAPI,
			sitePath("app") + "/host/default"},
		{"Microsoft.Web/checknameavailability/action", "POST",
			sub + "/providers/Microsoft.Web/checknameavailability?api-version=2023-01-01", sub + "/providers/Microsoft.Web"},
		{"Microsoft.OperationalInsights/deletedWorkspaces/read", "GET",
			sub + "/providers/Microsoft.OperationalInsights/deletedWorkspaces" + workspaceAPI,
			sub + "/providers/Microsoft.OperationalInsights/deletedWorkspaces"},
		{"Microsoft.Resources/subscriptions/resourceGroups/resources/read", "GET", groupPath + list,
			groupPath + "/resources"},
		// No role for it comes before the question whether it exists.
		{"Microsoft.Web/serverfarms/read", "GET", strings.Replace(planPath("p"), "sockerless-rg", "none", 1) + webAPI,
			strings.Replace(planPath("p"), "sockerless-rg", "none", 1)},
	} {
		t.Run(row.action, func(t *testing.T) {
			t.Parallel()
			a := start(t, azuresim.Config{})
			a.Deny(row.action)
			result := a.arm(row.method, row.path, m{})
			want := "perform action '" + row.action + "' over scope '" + row.scope + "'"
			if result.status != http.StatusForbidden || result.code != "AuthorizationFailed" ||
				!strings.Contains(result.message, want) {
				t.Errorf("%d %s: %s; want 403 with %s", result.status, result.code, result.message, want)
			}
		})
	}
}

func TestDenyAndAllow(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	statuses := func() (read, write, keys int) {
		return a.arm("GET", planPath("p")+webAPI, nil).status, a.arm("PUT", planPath("p")+webAPI, planBody("B1")).status,
			a.arm("POST", storagePath+"/listKeys"+storageAPI, nil).status
	}
	a.Deny("microsoft.web/serverfarms/READ")
	if read, write, keys := statuses(); read != 403 || write != 200 || keys != 200 {
		t.Errorf("without the right to read service plans: %d, %d, %d", read, write, keys)
	}
	a.Deny("Microsoft.Web/*")
	if read, write, keys := statuses(); read != 403 || write != 403 || keys != 200 {
		t.Errorf("without rights to App Service: %d, %d, %d", read, write, keys)
	}
	a.Allow()
	if read, write, keys := statuses(); read != 200 || write != 200 || keys != 200 {
		t.Errorf("with all rights: %d, %d, %d", read, write, keys)
	}
}
