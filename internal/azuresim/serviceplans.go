package azuresim

import (
	"net/http"
	"slices"
	"strings"
)

// maxServicePlans is the number of service plans that a resource group can have
// (learn.microsoft.com/azure/azure-functions/functions-scale#service-limits).
const maxServicePlans = 100

func (s *Sim) putServicePlan(rq *armRequest) (any, error) {
	r, existed, err := s.upsert(rq, typeServicePlan)
	if err != nil {
		return nil, err
	}
	name := text(object(rq.body["sku"])["name"])
	sku, ok := skuOf(name)
	switch {
	case !ok:
		return nil, refusal(http.StatusBadRequest, "BadRequest", "The parameter SKU name has an invalid value %q.", name)
	case strings.HasPrefix(sku.tier, "Isolated") && !rq.seed:
		return nil, refusal(http.StatusNotImplemented, "NotImplemented", "azuresim has no App Service Environments.")
	case !existed && s.servicePlansIn(r.group) >= maxServicePlans:
		// No report has these words. Those of the limits of a subscription are alike.
		return nil, refusal(http.StatusConflict, "Conflict",
			"The maximum number of ServerFarms allowed in a Resource Group is %d.", maxServicePlans)
	}
	sent := object(rq.body["properties"])
	linux := truth(sent["reserved"])
	if existed {
		old := s.state.resources[strings.ToLower(rq.id)]
		if truth(object(old.body["properties"])["reserved"]) != linux {
			return nil, refusal(http.StatusConflict, "Conflict",
				"The operating system of an App Service plan cannot be changed.")
		}
	}
	capacity, err := capacityOf(sku, number(object(rq.body["sku"])["capacity"]), truth(sent["zoneRedundant"]))
	if err != nil {
		return nil, err
	}
	r.body["sku"] = map[string]any{
		"name": name, "tier": sku.tier, "size": name, "family": familyOf(name), "capacity": capacity,
	}
	switch {
	case sku.consumption():
		r.body["kind"] = "functionapp"
	case sku.elastic():
		r.body["kind"] = "elastic"
	case linux:
		r.body["kind"] = "linux"
	default:
		r.body["kind"] = "app"
	}
	r.body["properties"] = merged(merged(map[string]any{
		"perSiteScaling": false, "elasticScaleEnabled": false, "zoneRedundant": false, "hyperV": false, "isXenon": false,
		"isSpot":   false,
		"reserved": false, "maximumElasticWorkerCount": 1,
	}, sent), map[string]any{
		"name": r.name, "status": "Ready", "provisioningState": "Succeeded", "subscription": s.cfg.SubscriptionID,
		"resourceGroup": r.group, "geoRegion": r.body["location"], "numberOfWorkers": capacity,
		"currentNumberOfWorkers": capacity, "maximumNumberOfWorkers": sku.workers,
	})
	s.keep(r)
	for _, app := range s.sitesOf(r.id) {
		s.syncHost(app)
	}
	return s.servicePlanBody(r), nil
}

// capacityOf returns the number of instances that a service plan gets when n are asked for, 0 for none in particular.
func capacityOf(sku sku, n int, zones bool) (int, error) {
	least := min(1, sku.workers)
	if zones && least == 1 {
		least = 2 // learn.microsoft.com/azure/reliability/reliability-app-service
	}
	if n == 0 {
		n = least
	}
	if n < least || n > sku.workers {
		return 0, refusal(http.StatusBadRequest, "BadRequest", "The parameter NumberOfWorkers has an invalid value.")
	}
	if zones && !sku.zones {
		return 0, refusal(http.StatusBadRequest, "BadRequest", "The parameter ZoneRedundant has an invalid value.")
	}
	return n, nil
}

// servicePlansIn counts the service plans in a resource group.
func (s *Sim) servicePlansIn(group string) (n int) {
	for _, r := range s.state.resources {
		if r.kind == typeServicePlan && strings.EqualFold(r.group, group) {
			n++
		}
	}
	return n
}

func (s *Sim) getServicePlan(rq *armRequest) (any, error) {
	r, err := s.find(rq)
	if err != nil {
		return nil, err
	}
	return s.servicePlanBody(r), nil
}

func (s *Sim) servicePlanBody(r *resource) map[string]any {
	return merged(r.body, map[string]any{
		"properties": merged(object(r.body["properties"]), map[string]any{"numberOfSites": len(s.sitesOf(r.id))}),
	})
}

func (s *Sim) deleteServicePlan(rq *armRequest) (any, error) {
	if r, ok := s.state.resources[strings.ToLower(rq.id)]; ok {
		if apps := s.sitesOf(r.id); len(apps) > 0 {
			names := make([]string, len(apps))
			for i, app := range apps {
				names[i] = app.name
			}
			return nil, refusal(http.StatusConflict, "Conflict", "Server farm '%s' cannot be deleted because it has web app(s) "+
				"%s assigned to it.", r.name, strings.Join(names, ", "))
		}
	}
	return s.deleteResource(rq)
}

// servicePlanOf returns a site's service plan, nil if it is gone.
func (s *Sim) servicePlanOf(app *resource) *resource {
	return s.state.resources[strings.ToLower(app.site.servicePlanID)]
}

// sitesOf returns the sites on a service plan, by name.
func (s *Sim) sitesOf(servicePlanID string) []*resource {
	var apps []*resource
	for _, r := range s.state.resources {
		if r.site != nil && strings.EqualFold(r.site.servicePlanID, servicePlanID) {
			apps = append(apps, r)
		}
	}
	slices.SortFunc(apps, func(a, b *resource) int { return strings.Compare(a.name, b.name) })
	return apps
}
