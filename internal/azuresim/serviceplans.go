package azuresim

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// sku holds the properties of a service plan's SKU that azuresim needs.
type sku struct {
	tier     string
	alwaysOn bool // the plan can keep apps loaded
	images   bool // the plan runs apps that are images
	// memory is that of an instance, in GB; in the table below that of the smallest size. Each instance of a Dedicated
	// plan runs all apps (azure.microsoft.com/pricing/details/app-service/linux,
	// learn.microsoft.com/azure/azure-functions/functions-premium-plan).
	memory float64
}

// skuOf reads a SKU's name; ok is false for a name that App Service does not have.
func skuOf(name string) (result sku, ok bool) {
	for _, s := range []struct {
		names string
		sku
	}{
		{`F1`, sku{"Free", false, false, 1}},
		{`D1`, sku{"Shared", false, false, 1}},
		{`B[1-3]`, sku{"Basic", true, true, 1.75}},
		{`S[1-3]`, sku{"Standard", true, true, 1.75}},
		{`P[1-3]v2`, sku{"PremiumV2", true, true, 3.5}},
		{`P[0-3]v3`, sku{"PremiumV3", true, true, 4}},
		{`P[1-5]mv3`, sku{"PremiumMV3", true, true, 16}},
		{`P[0-3]v4`, sku{"PremiumV4", true, true, 4}},
		{`P[1-5]mv4`, sku{"PremiumMV4", true, true, 16}},
		{`Y1`, sku{"Dynamic", false, false, 1.5}},
		{`FC1`, sku{"FlexConsumption", false, false, 2}},
		{`EP[1-3]`, sku{"ElasticPremium", false, true, 3.5}},
	} {
		if regexp.MustCompile(`(?i)^(` + s.names + `)$`).MatchString(name) {
			if _, sizes, ok := strings.Cut(s.names, "["); ok {
				size := strings.IndexAny(name, "012345")
				s.memory *= float64(int(1) << (name[size] - sizes[0])) // each size has twice that of the one before
			}
			return s.sku, true
		}
	}
	return sku{}, false
}

func (r *resource) sku() sku {
	result, _ := skuOf(text(object(r.body["sku"])["name"]))
	return result
}

func (s *Sim) putServicePlan(rq *armRequest) (any, error) {
	r, existed, err := s.upsert(rq, typeServicePlan)
	if err != nil {
		return nil, err
	}
	name := text(object(rq.body["sku"])["name"])
	sku, ok := skuOf(name)
	if !ok {
		return nil, refusal(http.StatusBadRequest, "BadRequest", "The parameter SKU name has an invalid value %q.", name)
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
	capacity := object(rq.body["sku"])["capacity"]
	if n, ok := capacity.(float64); !ok || n == 0 {
		capacity = 1
		if sku.tier == "Dynamic" || sku.tier == "FlexConsumption" {
			capacity = 0
		}
	}
	family := strings.TrimRight(name, "0123456789")
	r.body["sku"] = map[string]any{"name": name, "tier": sku.tier, "size": name, "family": family, "capacity": capacity}
	switch {
	case sku.tier == "Dynamic", sku.tier == "FlexConsumption":
		r.body["kind"] = "functionapp"
	case sku.tier == "ElasticPremium":
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
	})
	s.keep(r)
	for _, app := range s.sitesOf(r) {
		s.syncHost(app)
	}
	return s.servicePlanBody(r), nil
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
		"properties": merged(object(r.body["properties"]), map[string]any{"numberOfSites": len(s.sitesOf(r))}),
	})
}

func (s *Sim) deleteServicePlan(rq *armRequest) (any, error) {
	if r, ok := s.state.resources[strings.ToLower(rq.id)]; ok {
		if apps := s.sitesOf(r); len(apps) > 0 {
			return nil, refusal(http.StatusConflict, "Conflict",
				"Server farm '%s' cannot be deleted because it has web app(s) %s assigned to it.", r.name, apps[0].name)
		}
	}
	return s.deleteResource(rq)
}

// sitesOf returns the sites on a service plan, by name.
func (s *Sim) sitesOf(servicePlan *resource) []*resource {
	var apps []*resource
	for _, r := range s.state.resources {
		if r.site != nil && strings.EqualFold(r.site.servicePlanID, servicePlan.id) {
			apps = append(apps, r)
		}
	}
	slices.SortFunc(apps, func(a, b *resource) int { return strings.Compare(a.name, b.name) })
	return apps
}

// hostMemory is what the Functions host of an idle app takes, in GB. Reports have 0.15 to 0.3.
const hostMemory = 0.3

// fits reports whether a service plan's memory suffices for a site's host, beside the hosts of the sites that were
// created before it. On Azure the kernel kills any of the hosts; here it is the youngest, so that tests know which.
func (s *Sim) fits(r, servicePlan *resource) bool {
	needed := hostMemory
	for _, app := range s.sitesOf(servicePlan) {
		runs := truth(object(app.body["properties"])["enabled"]) && text(app.site.config["linuxFxVersion"]) != ""
		if runs && app.site.number < r.site.number {
			needed += hostMemory
		}
	}
	return needed <= servicePlan.sku().memory
}
