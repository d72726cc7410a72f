package azuresim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// lockServicePlans takes App Service's lock of a service plan for one write: of the plan, of a site on it, or of
// anything below such a site. A site that moves takes the locks of both plans. As long as one is taken, the write is
// refused. A write that was accepted keeps the lock until it is done; each refusal for its sake counts as a look.
//
// Status and words are after github.com/pulumi/pulumi-azure-native/issues/4461,
// github.com/hashicorp/terraform-provider-azurerm/issues/9703 and github.com/Azure/azure-sdk-for-java/issues/1827. In
// some reports the status is 429, which clients repeat by themselves, as they do not repeat 409.
func (s *Sim) lockServicePlans(method string, rq *armRequest) (unlock func(), failure *armError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.state.resources[strings.ToLower(rq.id)]
	noun, entity, plans := "site", 3, []string{}
	switch {
	case r != nil && r.site.hidden(false) && method == http.MethodDelete: // App Service does not get it
	case isServicePlan(rq.id):
		noun, entity, plans = "web hosting plan", 9, []string{strings.ToLower(rq.id)}
	default:
		plans = append(plans, strings.ToLower(text(object(rq.body["properties"])["serverFarmId"])))
		if r != nil && r.site != nil {
			plans = append(plans, strings.ToLower(r.site.servicePlanID))
		}
	}
	plans = slices.DeleteFunc(plans, func(id string) bool { return id == "" })
	for _, id := range plans {
		if holder := s.holderOf(id); holder != "" {
			return nil, refusal(http.StatusConflict, "Conflict", "Cannot modify this %s because another operation is in "+
				"progress. Details: %s, EntityType: %d", noun, holder, entity)
		}
	}
	operation := map[string]string{http.MethodPut: "Create", http.MethodPatch: "Update", http.MethodDelete: "Delete"}
	for _, id := range plans {
		s.state.locks[id] = lockHolder(uuid.NewString(), operation[method], s.cfg.Now())
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range plans {
			delete(s.state.locks, id)
		}
	}, nil
}

func isServicePlan(id string) bool {
	p := segments(id)
	return len(p) == 8 && strings.EqualFold(p[5]+"/"+p[6], typeServicePlan)
}

// holderOf describes the write that has a service plan's lock, "" if none has. The caller holds Sim.mu.
func (s *Sim) holderOf(servicePlanID string) string {
	if holder := s.state.locks[servicePlanID]; holder != "" {
		return holder
	}
	for _, app := range s.sitesOf(servicePlanID) {
		if o := app.site.operation; o.underWay(true) {
			return lockHolder(o.id, "Create", o.started)
		}
	}
	return ""
}

func lockHolder(id, operation string, since time.Time) string {
	return fmt.Sprintf("Id: %s, OperationName: %s, CreatedTime: %s, RequestId: %s", id, operation,
		since.UTC().Format("1/2/2006 3:04:05 PM"), uuid.NewString())
}
