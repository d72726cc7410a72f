package daemon_test

import (
	"net/http"
	"slices"
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

// TestPolicyOnTheFoundation refuses what containers share, and then a change of it that somebody approves.
func TestPolicyOnTheFoundation(t *testing.T) {
	dir, sku, content := t.TempDir(), "B2", smallPlans
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.FoundationChanges, cfg.Azure.ServicePlanSKU = config.FoundationHold, sku
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", content)}
	})
	since := p.now()
	refuses := "policy house refuses the plan of what containers share: B2 is too large (main.rego:3). Record "
	err := p.Call(t.Context(), http.MethodPost, "/foundation", nil, nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot create what containers share: "+refuses, "Nothing was changed")
	err = p.Call(t.Context(), http.MethodPost, "/containers?name=web", p.createRequest(), nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot create container web: "+refuses, "Nothing was created")
	if n := p.writes(); n != 0 {
		t.Errorf("%d writes reached Azure", n)
	}
	if events := p.policyEvents(t, since); !slices.Equal(events, []string{"policy-deny house", "policy-deny house"}) {
		t.Errorf("got the events %q", events)
	}
	p.wantNothing(t)
	again := func(with string) {
		t.Helper()
		sku = with
		p.stop()
		p.start()
	}
	again("B1")
	p.create(t, "first", api.Config{})
	again("B2")
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
	content = "package main\ndeny contains \"x\" if false"
	again("B2")
	p.must(t, http.MethodPost, "/foundation", api.FoundationRequest{Digest: f.Held}, &f)
	if f.ServicePlanSKU != "B2" {
		t.Errorf("got %+v", f)
	}
	for _, name := range []string{"first", "second"} {
		p.must(t, http.MethodDelete, "/containers/"+name, nil, nil)
	}
	p.wantNothing(t)
}
