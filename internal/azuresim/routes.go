package azuresim

import (
	"net/http"
	"slices"
	"strings"
)

// A route is one operation: a method on a path pattern in certain API versions. Pattern segments in braces are
// parameters, all others match in any case, as in Azure.
type route struct {
	method   string
	pattern  []string
	versions []string
	handle   func(*Sim, *armRequest) (any, error)
}

// armRoutes lists all operations, which are those that the two Terraform modules need through azurerm 5.2, the key
// lookup of armappservice/v5, and the list of armresources.
func armRoutes() []route {
	const (
		sub   = "/subscriptions/{subscription}"
		group = sub + "/resourceGroups/{group}/providers/"
		plan  = group + "Microsoft.Web/serverfarms/{name}"
		app   = group + "Microsoft.Web/sites/{name}"
		ai    = group + "Microsoft.Insights/components/{name}"
		rule  = group + "Microsoft.AlertsManagement/smartDetectorAlertRules/{name}"
		logs  = group + "Microsoft.OperationalInsights/workspaces/{name}"
		store = group + "Microsoft.Storage/storageAccounts/{name}"
	)
	var routes []route
	add := func(versions, method, pattern string, handle func(*Sim, *armRequest) (any, error)) {
		routes = append(routes, route{method, segments(pattern), strings.Fields(versions), handle})
	}
	const web = "2023-12-01 2024-11-01" // azurerm 5.2, armappservice/v5

	add("2021-04-01", "GET", sub+"/resourceGroups/{group}/resources", (*Sim).listResources)
	add("2023-01-01", "POST", sub+"/providers/Microsoft.Web/checknameavailability", (*Sim).checkNameAvailability)
	add(web, "GET", plan, (*Sim).getServicePlan)
	add(web, "PUT", plan, (*Sim).putServicePlan)
	add(web, "DELETE", plan, (*Sim).deleteServicePlan)

	add(web, "GET", app, (*Sim).getSite)
	add(web, "PUT", app, (*Sim).putSite)
	add(web, "GET", app+"/operationresults/{operation}", (*Sim).getOperationResult)
	add(web, "GET", sub+"/providers/Microsoft.Web/locations/{location}/operations/{operation}", (*Sim).getOperation)
	add(web, "DELETE", app, (*Sim).deleteSite)
	add(web, "POST", app+"/host/default/listkeys", (*Sim).listHostKeys)
	add(web, "GET", app+"/config/web", (*Sim).getSiteConfig)
	add(web, "PATCH", app+"/config/web", (*Sim).patchSiteConfig)
	add(web, "POST", app+"/config/appsettings/list", (*Sim).listSettings)
	add(web, "POST", app+"/config/publishingcredentials/list", (*Sim).listPublishingCredentials)
	add(web, "GET", app+"/config/publishingcredentials", (*Sim).noSiteDocument)
	add(web, "POST", app+"/config/backup/list", (*Sim).noSiteDocument)
	add(web, "POST", app+"/config/connectionstrings/list", siteDocument("connectionstrings"))
	add(web, "PUT", app+"/config/connectionstrings", emptySiteDocument("connectionstrings"))
	add(web, "POST", app+"/config/azurestorageaccounts/list", siteDocument("azurestorageaccounts"))
	add(web, "PUT", app+"/config/azurestorageaccounts", emptySiteDocument("azurestorageaccounts"))
	add(web, "POST", app+"/config/authsettings/list", siteDocument("authsettings"))
	add(web, "GET", app+"/config/slotConfigNames", siteDocument("slotConfigNames"))
	add(web, "GET", app+"/config/logs", siteDocument("logs"))
	add(web, "GET", app+"/basicPublishingCredentialsPolicies/{policy}", (*Sim).getPublishingPolicy)
	add(web, "PUT", app+"/basicPublishingCredentialsPolicies/{policy}", (*Sim).putPublishingPolicy)

	add("2020-02-02", "GET", ai, (*Sim).getResource)
	add("2020-02-02", "PUT", ai, (*Sim).putComponent)
	add("2020-02-02", "DELETE", ai, (*Sim).deleteResource)
	add("2015-05-01", "GET", ai+"/currentbillingfeatures", (*Sim).getBilling)
	add("2015-05-01", "PUT", ai+"/currentbillingfeatures", (*Sim).putBilling)
	add("2019-06-01", "GET", rule, (*Sim).getResource)
	add("2019-06-01", "PUT", rule, (*Sim).putAlertRule)
	add("2019-06-01", "DELETE", rule, (*Sim).deleteResource)

	const workspaces = "2020-08-01 2025-07-01" // azurerm uses both
	add(workspaces, "GET", logs, (*Sim).getResource)
	add(workspaces, "PUT", logs, (*Sim).putWorkspace)
	add(workspaces, "DELETE", logs, (*Sim).deleteWorkspace)
	add(workspaces, "POST", logs+"/sharedKeys", (*Sim).listSharedKeys)
	add(workspaces, "GET", sub+"/providers/Microsoft.OperationalInsights/deletedWorkspaces", (*Sim).listDeletedWorkspaces)

	add("2025-08-01", "GET", store, (*Sim).getResource)
	add("2025-08-01", "POST", store+"/listKeys", (*Sim).listStorageKeys)
	return routes
}

func (s *Sim) findRoute(r *http.Request) (*route, map[string]string) {
	path, version := segments(r.URL.Path), r.URL.Query().Get("api-version")
	for i := range s.routes {
		route := &s.routes[i]
		known := version == "" || slices.Contains(route.versions, version)
		if route.method != r.Method || !known {
			continue
		}
		if params, ok := matchPath(route.pattern, path); ok {
			return route, params
		}
	}
	return nil, nil
}

func matchPath(pattern, path []string) (map[string]string, bool) {
	if len(pattern) != len(path) {
		return nil, false
	}
	params := make(map[string]string)
	for i, p := range pattern {
		if strings.HasPrefix(p, "{") {
			params[strings.Trim(p, "{}")] = path[i]
		} else if !strings.EqualFold(p, path[i]) {
			return nil, false
		}
	}
	return params, true
}

func segments(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }
