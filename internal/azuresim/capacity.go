package azuresim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// DefaultHostMemory is the value of Config.HostMemory if it is 0. Reports have 150 to 300 MB.
const DefaultHostMemory = 300

// Overfill is a service plan that had more Functions hosts than its memory suffices for. An app has a host on each
// instance that it runs on: on a plan with one instance, hosts are apps.
type Overfill struct {
	ServicePlan string // resource id
	Hosts       int    // the highest number there was
	Fit         int    // the number that the plan had memory for then
}

// Overfilled lists the service plans that were overfilled at any time, sorted by id, deleted ones among them. While a
// plan is overfilled, none of its apps answers.
func (s *Sim) Overfilled() []Overfill {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Collect(maps.Values(s.state.overfilled))
	slices.SortFunc(list, func(a, b Overfill) int { return cmp.Compare(a.ServicePlan, b.ServicePlan) })
	return list
}

// ScaledOut lists the names of the apps that App Service could have run on more than one instance at any time, sorted,
// deleted ones among them. Requests for such an app reach any of its instances.
func (s *Sim) ScaledOut() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.state.scaledOut))
}

// observe keeps what Overfilled and ScaledOut list of a site's service plan. The caller holds Sim.mu.
func (s *Sim) observe(app *resource) {
	plan := s.servicePlanOf(app)
	if plan == nil || !app.runs() {
		return
	}
	if mostInstances(app, plan) > 1 {
		s.state.scaledOut[app.name] = true
	}
	hosts, fit, id := s.hostsOn(plan, nil), s.fit(plan), strings.ToLower(plan.id)
	if before := s.state.overfilled[id]; hosts > fit && hosts > before.Hosts {
		s.state.overfilled[id] = Overfill{ServicePlan: plan.id, Hosts: hosts, Fit: fit}
		s.log.Warn().Str("service_plan", plan.id).Int("hosts", hosts).Int("fit", fit).
			Msg("service plan is overfilled: none of its apps answers")
	}
}

// starves reports whether a site does not answer because its service plan is overfilled. On Azure the kernel kills any
// of the hosts, again and again. Here all are silent, so that tests know what happens. The caller holds Sim.mu.
func (s *Sim) starves(app *resource) bool {
	plan := s.servicePlanOf(app)
	return plan != nil && s.hostsOn(plan, nil) > s.fit(plan)
}

// fits reports whether a service plan's memory suffices for a site's hosts, beside those of the sites that were created
// before it. Hosts that do not fit are not started, for the sake of this machine. The caller holds Sim.mu.
func (s *Sim) fits(app, plan *resource) bool { return s.hostsOn(plan, app) <= s.fit(plan) }

// fit is the number of hosts that a service plan has memory for, on all its instances.
func (s *Sim) fit(plan *resource) int {
	return max(plan.instances(), 1) * (int(plan.sku().memory*1024) / s.cfg.HostMemory)
}

// hostsOn counts the hosts on a service plan's instances, those of sites that were created after last left out.
func (s *Sim) hostsOn(plan, last *resource) (hosts int) {
	for _, app := range s.state.resources {
		if app.site == nil || !strings.EqualFold(app.site.servicePlanID, plan.id) {
			continue
		}
		if app.runs() && (last == nil || app.site.number <= last.site.number) {
			hosts += atRest(app, plan)
		}
	}
	return hosts
}

// runs reports whether App Service starts a host for the site.
func (r *resource) runs() bool {
	return truth(object(r.body["properties"])["enabled"]) && text(r.site.config["linuxFxVersion"]) != ""
}

// instances is the number of instances that a service plan always has.
func (r *resource) instances() int { return number(object(r.body["sku"])["capacity"]) }

// atRest is the number of instances that an idle app has a host on. Each instance of a Dedicated plan runs all apps,
// unless the plan scales per app, which spreads them over its instances
// (learn.microsoft.com/azure/app-service/manage-scale-per-app).
func atRest(app, plan *resource) int {
	if plan.sku().elastic() {
		return min(max(number(app.site.config["minimumElasticInstanceCount"]), 1), max(plan.instances(), 1))
	}
	if plan.scalesPerApp() {
		return min(max(number(app.site.config["numberOfWorkers"]), 1), plan.instances())
	}
	return plan.instances()
}

// mostInstances is the number of instances that App Service may run an app on.
func mostInstances(app, plan *resource) int {
	properties := object(plan.body["properties"])
	if plan.sku().elastic() {
		return cmp.Or(number(app.site.config["functionAppScaleLimit"]), plan.sku().workers)
	}
	if truth(properties["elasticScaleEnabled"]) { // automatic scaling of Premium plans
		return max(plan.instances(), number(properties["maximumElasticWorkerCount"]))
	}
	return atRest(app, plan)
}

// scalesPerApp reports whether a Dedicated service plan runs each app on the app's own number of workers. Basic plans
// do not have that, whatever they say.
func (r *resource) scalesPerApp() bool {
	return r.sku().tier != "Basic" && truth(object(r.body["properties"])["perSiteScaling"])
}
