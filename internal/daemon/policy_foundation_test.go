package daemon_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/policy"
)

// smallPlans are rules that refuse service plans other than B1.
const smallPlans = `package main

deny contains msg if {
	some resource in input.resource_changes
	resource.type == "azurerm_service_plan"
	resource.change.after.sku_name != "B1"
	msg := sprintf("%s is too large", [resource.change.after.sku_name])
}
`

// noInsights are rules that refuse Application Insights.
const noInsights = `package main

deny contains "no telemetry" if {
	some resource in input.resource_changes
	resource.type == "azurerm_application_insights"
	"create" in resource.change.actions
}
`

const allowAll = "package main\ndeny contains \"x\" if false"

// TestPolicyOnServicePlans refuses a service plan, and lets containers be created on one of another SKU.
func TestPolicyOnServicePlans(t *testing.T) {
	dir, sku := t.TempDir(), "B2"
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.Azure.ServicePlanSKU = sku
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", smallPlans), schema(t)}
	})
	since := p.now()
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", p.createRequest(), nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot create service plan skls-demo-plan-",
		"policy house refuses the plan of a service plan: B2 is too large (main.rego:3). Record ", "Nothing was created")
	if n := p.writes(); n != 0 {
		t.Errorf("%d writes reached Azure", n)
	}
	if events := p.policyEvents(t, since); !slices.Equal(events, []string{"policy-deny house"}) {
		t.Errorf("got the events %q", events)
	}
	sku = "B1"
	p.stop()
	p.start()
	p.create(t, "web", api.Config{})
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.wantNothing(t)
}

// TestPolicyOnTheFoundation refuses what containers share, and then a change of it that somebody approves.
func TestPolicyOnTheFoundation(t *testing.T) {
	dir, content := t.TempDir(), noInsights
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.FoundationChanges = config.FoundationHold
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", content)}
	})
	since := p.now()
	refuses := "policy house refuses the plan of what containers share: no telemetry (main.rego:3). Record "
	err := p.Call(t.Context(), http.MethodPost, "/foundation", nil, nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot create what containers share: "+refuses, "Nothing was changed")
	err = p.Call(t.Context(), http.MethodPost, "/containers?name=web", p.createRequest(), nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot create container web: "+refuses, "Nothing was created")
	if n := p.writes(); n != 1 {
		t.Errorf("%d writes reached Azure, and not the one of the service plan", n)
	}
	if events := p.policyEvents(t, since); !slices.Equal(events, []string{"policy-deny house", "policy-deny house"}) {
		t.Errorf("got the events %q", events)
	}
	p.wantNothing(t)
	again := func(with string) {
		t.Helper()
		content = with
		p.stop()
		p.start()
	}
	again(allowAll)
	p.create(t, "first", api.Config{})
	p.loseInsights(t)
	again(noInsights)
	var f api.Foundation
	azuretest.Eventually(t, "the held change", func() bool {
		p.must(t, http.MethodPost, "/foundation", nil, &f)
		return f.Held != ""
	})
	before := p.writes()
	err = p.Call(t.Context(), http.MethodPost, "/foundation", api.FoundationRequest{Digest: f.Held}, nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot change what containers share: "+refuses, "Nothing was changed")
	if n := p.writes(); n != before {
		t.Errorf("%d writes reached Azure", n-before)
	}
	p.create(t, "second", api.Config{})
	again(allowAll)
	var applied api.Foundation
	p.must(t, http.MethodPost, "/foundation", api.FoundationRequest{Digest: f.Held}, &applied)
	if applied.Held != "" || applied.Plan != "1 to add, 0 to change, 0 to destroy" {
		t.Errorf("got %+v", applied)
	}
	for _, name := range []string{"first", "second"} {
		p.must(t, http.MethodDelete, "/containers/"+name, nil, nil)
	}
	p.wantNothing(t)
}

// loseInsights deletes the Application Insights component by hand, so that the next plan of the foundation creates one.
func (p *playground) loseInsights(t *testing.T) {
	t.Helper()
	for _, r := range p.sim.Resources() {
		if strings.HasSuffix(r.ID, "-insights") && strings.Contains(r.ID, "/components/") {
			if err := p.sim.Delete(r.ID); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("there is no component")
}
