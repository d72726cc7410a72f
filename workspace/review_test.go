package workspace

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func TestHarm(t *testing.T) {
	type object = map[string]any
	update, replace := tfjson.Actions{tfjson.ActionUpdate}, tfjson.Actions{tfjson.ActionDelete, tfjson.ActionCreate}
	for name, row := range map[string]struct {
		actions       tfjson.Actions
		before, after object
		want          string
	}{
		"create": {tfjson.Actions{tfjson.ActionCreate}, nil, object{"sku_name": "B1"}, ""},
		"delete": {tfjson.Actions{tfjson.ActionDelete}, object{"id": "/x"}, nil, "a.b (/x) would be deleted"},
		"forget": {
			tfjson.Actions{tfjson.ActionForget}, object{"id": "/x"}, nil, "a.b (/x) would not be managed",
		},
		"forget what is adopted": {tfjson.Actions{tfjson.ActionForget}, object{"id": "/Adopted"}, nil, ""},
		"replace":                {replace, object{"location": "a"}, object{"location": "b"}, "location from a to b"},
		"create first": {
			tfjson.Actions{tfjson.ActionCreate, tfjson.ActionDelete}, object{}, object{}, "created again",
		},
		"tags added":            {update, object{"tags": object{"a": "1"}}, object{"tags": object{"a": "2", "b": "3"}}, ""},
		"a tag removed":         {update, object{"tags": object{"a": "1"}}, object{"tags": object{}}, "tags from"},
		"all tags removed":      {update, object{"tags": object{"a": "1"}}, object{"tags": nil}, "tags from"},
		"retention raised":      {update, object{"retention_in_days": 30.0}, object{"retention_in_days": 90.0}, ""},
		"retention lowered":     {update, object{"retention_in_days": 90.0}, object{"retention_in_days": 30.0}, "90 to 30"},
		"a quota":               {update, object{"daily_quota_gb": -1.0}, object{"daily_quota_gb": 1.0}, "-1 to 1"},
		"no quota":              {update, object{"daily_quota_gb": 1.0}, object{"daily_quota_gb": -1.0}, ""},
		"another workspace":     {update, object{"workspace_id": "/a"}, object{"workspace_id": "/b"}, "/a to /b"},
		"the same workspace":    {update, object{"workspace_id": "/a"}, object{"workspace_id": "/A"}, ""},
		"SKU raised":            {update, object{"sku_name": "B1"}, object{"sku_name": "P1v3"}, ""},
		"SKU lowered":           {update, object{"sku_name": "B2"}, object{"sku_name": "B1"}, "sku_name from B2 to B1"},
		"SKU of another kind":   {update, object{"sku_name": "EP1"}, object{"sku_name": "P3v3"}, "EP1 to P3v3"},
		"SKU of a later kind":   {update, object{"sku_name": "P1v2"}, object{"sku_name": "P1v3"}, ""},
		"SKU of an unknown one": {update, object{"sku_name": "B1"}, object{"sku_name": "new"}, "B1 to new"},
	} {
		change := &tfjson.Change{Actions: row.actions, Before: any(row.before), After: any(row.after)}
		if name == "replace" {
			change.ReplacePaths = []any{[]any{"location"}}
		}
		got := strings.Join(harm(&tfjson.Plan{ResourceChanges: []*tfjson.ResourceChange{
			{Address: "a.b", Mode: tfjson.ManagedResourceMode, Change: change},
			{Address: "data.a.b", Mode: tfjson.DataResourceMode, Change: change},
		}}, "/adopted"), "; ")
		if row.want == "" && got != "" || !strings.Contains(got, row.want) || strings.Contains(got, "data.") {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}

// wantRefused checks that a foundation's plan is refused with these words, and that nothing was changed.
func wantRefused(t *testing.T, m *Manager, sim *azuresim.Sim, f Foundation, words ...string) {
	t.Helper()
	before := sim.Resources()
	_, err := m.Foundation(t.Context(), f, nil)
	if !errors.Is(err, ErrFoundationChanges) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in %v", word, err)
		}
	}
	if now := sim.Resources(); len(now) != len(before) {
		t.Errorf("Azure has %v, and had %v", now, before)
	}
}

// found returns how many resources of Azure have a name.
func found(sim *azuresim.Sim, name string) (n int) {
	for _, r := range sim.Resources() {
		if strings.HasSuffix(r.ID, "/"+name) {
			n++
		}
	}
	return n
}

// TestHarmToTheFoundationIsRefused changes each setting that what is shared was created with.
func TestHarmToTheFoundationIsRefused(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	_, f := foundation(t, m)
	moved := f
	moved.Location = "eastus"
	wantRefused(t, m, sim, moved, "azurerm_log_analytics_workspace.this[0]", "skls-test-logs", "created again",
		"location from "+f.Location+" to eastus", "azurerm_application_insights", "foundation_changes")
	existing := f
	existing.ApplicationInsights = named(f).ApplicationInsights
	wantRefused(t, m, sim, existing, "skls-test-insights", "would be deleted", "existing one")
	if again, err := m.Foundation(t.Context(), f, nil); err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("after the refusals: got %+v, %v", again, err)
	}
	if err := os.RemoveAll(m.foundation()); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, m, sim, moved, "created again", "location from")
}

// TestHarmToTheFoundationIsAllowedOnce moves the Log Analytics workspace, and then wants to move it back.
func TestHarmToTheFoundationIsAllowedOnce(t *testing.T) {
	first, sim := cloud(t)
	first.cfg.Log = zerolog.Nop()
	_, f := foundation(t, first)
	m := peer(t, first, func(*Config) {})
	f = named(f)
	f.Name, f.LogAnalyticsWorkspace = "skls-second", nil
	if _, err := m.Foundation(t.Context(), f, nil); err != nil {
		t.Fatal(err)
	}
	moved := f
	moved.Location, moved.Replace = "eastus", true
	previewed := func(f Foundation) error {
		t.Helper()
		p, err := peer(t, first, func(*Config) {}).PreviewFoundation(t.Context(), m.cfg.Dir, f)
		if err != nil || len(p.Harm) != 1 {
			t.Fatalf("got the preview %+v, %v", p, err)
		}
		return p.Refusal
	}
	if err := previewed(moved); err != nil {
		t.Errorf("the preview says %v", err)
	}
	// It is interrupted, and goes on.
	sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
		Method: http.MethodPut, Path: regexp.MustCompile(`/workspaces/`), Status: http.StatusForbidden, Code: "NoQuota",
	}}})
	if _, err := m.Foundation(t.Context(), moved, nil); err == nil || errors.Is(err, ErrFoundationChanges) {
		t.Fatalf("got %v, want Azure's failure", err)
	}
	sim.SetFaults(azuresim.Faults{})
	if _, err := m.Foundation(t.Context(), moved, nil); err != nil {
		t.Fatal(err)
	}
	back := f
	back.Replace = true
	if err := previewed(back); !errors.Is(err, ErrFoundationChanges) || !strings.Contains(err.Error(), "allows one only") {
		t.Errorf("the preview says %v", err)
	}
	wantRefused(t, m, sim, back, "allows one only")
	if again, err := m.Foundation(t.Context(), moved, nil); err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("the same settings: got %+v, %v", again, err)
	}
	back.Replace = false
	wantRefused(t, m, sim, back)
	back.Replace = true
	if _, err := m.Foundation(t.Context(), back, nil); err != nil {
		t.Errorf("allowed again: %v", err)
	}
}

// TestWhatPeopleSetByHandStays changes what is shared in Azure.
func TestWhatPeopleSetByHandStays(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	spec, f := foundation(t, m)
	edit := func(id string, change func(body map[string]any)) {
		t.Helper()
		if err := sim.Edit(id, change); err != nil {
			t.Fatal(err)
		}
	}
	tag := func(body map[string]any) { body["tags"].(map[string]any)["cost-center"] = "42" }
	for _, r := range sim.Resources() {
		switch {
		case strings.HasSuffix(r.ID, "-logs"):
			edit(r.ID, func(body map[string]any) {
				tag(body)
				properties := body["properties"].(map[string]any)
				properties["retentionInDays"], properties["publicNetworkAccessForQuery"] = 365, "Disabled"
			})
		case strings.HasSuffix(r.ID, "-insights") && !strings.Contains(r.ID, "Anomalies"):
			edit(r.ID, func(body map[string]any) {
				tag(body)
				body["properties"].(map[string]any)["RetentionInDays"] = 365
			})
		case strings.HasSuffix(r.ID, "-plan"):
			edit(r.ID, func(body map[string]any) {
				tag(body)
				body["sku"] = map[string]any{"name": "P1v3", "tier": "PremiumV3", "size": "P1v3", "family": "Pv3", "capacity": 3}
			})
		}
	}
	outputs, err := m.Foundation(t.Context(), f, nil)
	if err != nil || outputs.Operation.Plan != (Changes{}) {
		t.Fatalf("got %+v, %v; want no change", outputs, err)
	}
	// The settings of a service plan count when it is created.
	p := planSpec(FirstServicePlan)
	p.SKU, p.PerSiteScaling = "B2", true
	plan, err := m.ProvisionServicePlan(t.Context(), FirstServicePlan, p, nil)
	if err != nil || plan.Operation.Plan != (Changes{}) || plan.SKU != "P1v3" {
		t.Errorf("got %+v, %v; want no change", plan, err)
	}
	provision(t, m, spec)
}

// TestFailedFoundationIsCompleted has a state that says that the creation has failed after Azure has made everything.
func TestFailedFoundationIsCompleted(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	_, f := foundation(t, m)
	taint(t, m.foundation())
	before := len(sim.Resources())
	outputs, err := m.Foundation(t.Context(), f, nil)
	if err != nil || outputs.Operation.Plan != (Changes{}) || len(sim.Resources()) != before {
		t.Errorf("got %+v, %v; want nothing replaced", outputs, err)
	}
}

// taint has the state of a workspace say of each resource that its creation has failed.
func taint(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, stateFile)
	known, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tainted := strings.ReplaceAll(string(known), `"schema_version"`, `"status": "tainted", "schema_version"`)
	if err := os.WriteFile(path, []byte(tainted), 0o600); err != nil || tainted == string(known) {
		t.Fatal(err, "the test tests nothing")
	}
}

// TestNothingOfTheFoundationStays destroys it as a person does, with terraform destroy in its workspace.
func TestNothingOfTheFoundationStays(t *testing.T) {
	m, sim := cloud(t)
	before := len(sim.Resources())
	foundation(t, m)
	if _, err := m.DestroyServicePlan(t.Context(), planOf(FirstServicePlan), nil); err != nil {
		t.Fatal(err)
	}
	if n := found(sim, "Failure Anomalies - skls-test-insights"); n != 1 {
		t.Fatalf("%d alert rules: the test tests nothing", n)
	}
	err := m.retry(t.Context(), task{dir: m.foundation(), do: func(ctx context.Context, s *session) error {
		_, err := m.operate(ctx, destroying, s)
		return err
	}})
	if err != nil || len(sim.Resources()) != before {
		t.Errorf("got %v with %v, want what was there before", err, sim.Resources())
	}
}
