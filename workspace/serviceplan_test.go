package workspace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// planWrites counts the changes of service plans that Azure saw since the given number of calls.
func planWrites(sim *azuresim.Sim, since int) (n int) {
	for _, c := range sim.Calls()[since:] {
		if c.Method != http.MethodGet && strings.Contains(strings.ToLower(c.Path), "/serverfarms/") {
			n++
		}
	}
	return n
}

// interruptPlan provisions a service plan and interrupts terraform when Azure has created it and the provider does not
// know it yet, as interrupt.
func interruptPlan(t *testing.T, m *Manager, sim *azuresim.Sim, id string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	name := planSpec(id).Name
	sim.SetFaults(azuresim.Faults{
		Rules: []azuresim.Rule{{
			Method: http.MethodPut, Path: regexp.MustCompile("/" + name + "$"), Drop: azuresim.DropAfter,
		}},
		AfterWrite: func(method, path string, _ int) {
			if method == http.MethodPut && strings.HasSuffix(path, name) {
				cancel()
			}
		},
	})
	_, err := m.ProvisionServicePlan(ctx, id, planSpec(id), nil)
	sim.SetFaults(azuresim.Faults{})
	if !errors.Is(err, context.Canceled) || found(sim, name) != 1 {
		t.Fatalf("got %v with %d service plans: the test tests nothing", err, found(sim, name))
	}
}

// TestLifeOfAServicePlan creates a service plan, completes one that was interrupted, and destroys them, of which no
// workspace knows one any more.
func TestLifeOfAServicePlan(t *testing.T) {
	eachTool(t, func(t *testing.T, m *Manager, sim *azuresim.Sim) {
		const second = "0a1b2c3d"
		created := servicePlan(t, m, FirstServicePlan)
		if created.Operation.Plan != (Changes{Add: 1}) || !strings.HasSuffix(created.ResourceID, "/skls-test-plan") {
			t.Errorf("got %+v", created)
		}
		if again := servicePlan(t, m, FirstServicePlan); again.Operation.Plan != (Changes{}) {
			t.Errorf("second time: got %+v", again.Operation.Plan)
		}
		interruptPlan(t, m, sim, second)
		before := len(sim.Calls())
		imported := servicePlan(t, m, second)
		if imported.Operation.Plan != (Changes{Import: 1}) || planWrites(sim, before) != 0 {
			t.Errorf("got %+v with %d writes; want it imported", imported.Operation.Plan, planWrites(sim, before))
		}
		ids, err := m.ServicePlanIDs()
		if diff := cmp.Diff([]string{second, FirstServicePlan}, ids); diff != "" || err != nil {
			t.Errorf("%v: %s", err, diff)
		}
		if err := os.RemoveAll(m.ServicePlanPath(second)); err != nil {
			t.Fatal(err)
		}
		for id, kinds := range map[string]string{FirstServicePlan: "destroy", second: "destroy import"} {
			if holds, err := m.HoldsServicePlan(t.Context(), planOf(id)); err != nil || !holds {
				t.Errorf("%s: holds %v, %v", id, holds, err)
			}
			op, err := m.DestroyServicePlan(t.Context(), planOf(id), nil)
			if err != nil || op.Plan != (Changes{Destroy: 1}) || found(sim, planSpec(id).Name) != 0 {
				t.Errorf("%s: got %+v, %v", id, op, err)
			}
			for k := range strings.FieldsSeq(kinds) {
				lastFolder(t, m.ArchivePath(id), kind(k))
			}
			if holds, err := m.HoldsServicePlan(t.Context(), planOf(id)); err != nil || holds {
				t.Errorf("%s: holds %v, %v after the removal", id, holds, err)
			}
			if _, err := m.DestroyServicePlan(t.Context(), planOf(id), nil); err != nil {
				t.Errorf("%s: destroyed already: %v", id, err)
			}
		}
		kept, err := KeptPlans(m.cfg.Dir, true)
		if err != nil || len(kept) != 1 || kept[0].Workspace != ServicePlanWorkspace(FirstServicePlan) || !kept[0].Archived {
			t.Errorf("kept: %+v, %v", kept, err)
		}
	})
}

// earlierFoundation creates what containers share with the module of the release that had the service plan in it.
func earlierFoundation(t *testing.T, m *Manager, vars map[string]any) {
	t.Helper()
	dir := m.foundation()
	all := map[string]any{
		"name": "skls-test", "resource_group_name": azuresim.DefaultResourceGroup,
		"location": azuresim.DefaultLocation, "service_plan_sku": "B1", "tags": map[string]string{OwnerTag: "test"},
		"remove_generated_rule": false,
	}
	for name, value := range vars {
		all[name] = value
	}
	if err := m.render(dir, os.DirFS("testdata/earlier/foundation"), all); err != nil {
		t.Fatal(err)
	}
	err := m.retry(t.Context(), task{dir: dir, do: func(ctx context.Context, s *session) error {
		_, err := m.operate(ctx, applying, s)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	override := `{"resource": {"azurerm_service_plan": {"this": {"lifecycle": {"ignore_changes": ["tags"]}}}}}`
	if err := os.WriteFile(filepath.Join(dir, earlierOverride), []byte(override), 0o600); err != nil {
		t.Fatal(err)
	}
}

// foundationSpec returns the spec of foundation.
func foundationSpec() Foundation {
	return Foundation{
		Name: "skls-test", ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation,
		Tags: map[string]string{OwnerTag: "test"},
	}
}

// TestServicePlanOfAnEarlierRelease gives the service plan of an earlier foundation a workspace of its own. People
// have scaled it and taken its tags.
func TestServicePlanOfAnEarlierRelease(t *testing.T) {
	eachTool(t, func(t *testing.T, m *Manager, sim *azuresim.Sim) {
		m.cfg.Log = zerolog.Nop()
		earlierFoundation(t, m, nil)
		known, err := m.FoundationOutputs(t.Context())
		if err != nil || !strings.HasSuffix(known.EarlierServicePlan, "/skls-test-plan") || known.LogAnalyticsID == "" {
			t.Fatalf("got %+v, %v", known, err)
		}
		err = sim.Edit(known.EarlierServicePlan, func(body map[string]any) {
			body["tags"] = map[string]any{"cost-center": "42"}
			body["sku"] = map[string]any{"name": "P1v3", "tier": "PremiumV3", "size": "P1v3", "family": "Pv3", "capacity": 3}
		})
		if err != nil {
			t.Fatal(err)
		}
		before, had := len(sim.Calls()), sim.Resources()
		f, p := foundationSpec(), planSpec(FirstServicePlan)
		wantRefused(t, m, sim, f, "skls-test-plan", "would not be managed any more")
		if _, err := m.ProvisionServicePlan(t.Context(), FirstServicePlan, p, nil); !errors.Is(err, ErrForeign) {
			t.Errorf("without its tags: got %v", err)
		}
		p.Adopt = known.EarlierServicePlan
		for _, want := range []Changes{{Import: 1}, {}} { // the second time after a kill
			adopted, err := m.ProvisionServicePlan(t.Context(), FirstServicePlan, p, nil)
			if err != nil || adopted.Operation.Plan != want || adopted.SKU != "P1v3" || !adopted.TaggedOtherwise {
				t.Errorf("got %+v, %v; want %+v", adopted, err, want)
			}
			f.AdoptedServicePlan = adopted.ResourceID
		}
		f.Hold = true
		preview, err := peer(t, m, func(*Config) {}).PreviewFoundation(t.Context(), m.cfg.Dir, f)
		if err != nil || preview.Refusal != nil || preview.Plan != (Changes{}) ||
			!strings.Contains(preview.Text, "azurerm_service_plan.this[0] will ") {
			t.Errorf("the preview is %+v, %v", preview, err)
		}
		for range 2 {
			outputs, err := m.Foundation(t.Context(), f, nil)
			if err != nil || outputs.Held != nil || outputs.Operation.Plan != (Changes{}) ||
				outputs.EarlierServicePlan != "" || outputs.LogAnalyticsID != known.LogAnalyticsID {
				t.Errorf("got %+v, %v", outputs, err)
			}
		}
		if known, err := m.FoundationOutputs(t.Context()); err != nil || known.EarlierServicePlan != "" {
			t.Errorf("the state still holds %q, %v", known.EarlierServicePlan, err)
		}
		if diff := cmp.Diff(had, sim.Resources()); diff != "" || planWrites(sim, before) != 0 {
			t.Errorf("Azure saw %d changes: %s", planWrites(sim, before), diff)
		}
	})
}

// TestServicePlanOfAnEarlierReleaseElsewhere has settings that name another service plan than the one that the state
// of an earlier release holds. A state with an existing one holds none.
func TestServicePlanOfAnEarlierReleaseElsewhere(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	earlierFoundation(t, m, nil)
	f := foundationSpec()
	f.AdoptedServicePlan = servicePlan(t, m, "0a1b2c3d").ResourceID
	wantRefused(t, m, sim, f, "/skls-test-plan) would not be managed any more")

	other := peer(t, m, func(*Config) {})
	existing := map[string]string{"name": "skls-test-plan", "resource_group_name": azuresim.DefaultResourceGroup}
	earlierFoundation(t, other, map[string]any{"name": "skls-second", "service_plan": existing})
	f.Name, f.AdoptedServicePlan = "skls-second", ""
	outputs, err := other.Foundation(t.Context(), f, nil)
	if err != nil || outputs.Operation.Plan != (Changes{}) || found(sim, "skls-test-plan") != 1 {
		t.Errorf("got %+v, %v", outputs, err)
	}
}

// TestServicePlanSettings creates a service plan of each kind. A second plan changes nothing.
func TestServicePlanSettings(t *testing.T) {
	m, sim := cloud(t)
	ten := 10
	for id, row := range map[string]struct {
		sku     string
		perSite bool
		elastic *int
		want    string // worker_count, per_site_scaling_enabled and maximum_elastic_worker_count in the plan
	}{
		"00000001": {sku: "B1", want: "1 false <nil>"}, "00000002": {sku: "P1v3", perSite: true, want: "1 true <nil>"},
		"00000003": {sku: "EP1", elastic: &ten, want: "<nil> false 10"}, "00000004": {sku: "Y1", want: "<nil> false <nil>"},
	} {
		p := planSpec(id)
		p.SKU, p.PerSiteScaling, p.MaximumElasticWorkers = row.sku, row.perSite, row.elastic
		for _, want := range []Changes{{Add: 1}, {}} {
			outputs, err := m.ProvisionServicePlan(t.Context(), id, p, nil)
			if err != nil || outputs.SKU != row.sku || outputs.Operation.Plan != want {
				t.Errorf("%s: got %+v, %v; want %+v", row.sku, outputs, err, want)
			}
			if want.Add == 0 {
				continue
			}
			after, _ := keptPlan(t, m.ServicePlanPath(id), applying).ResourceChanges[0].Change.After.(map[string]any)
			got := fmt.Sprint(after["worker_count"], after["per_site_scaling_enabled"], after["maximum_elastic_worker_count"])
			if got != row.want {
				t.Errorf("%s: planned %s, want %s", row.sku, got, row.want)
			}
		}
	}
	if n := found(sim, "skls-test-plan-00000003"); n != 1 {
		t.Errorf("Azure has %d of them", n)
	}
}

// TestHarmToAServicePlanIsRefused wants to move a service plan. One whose creation is said to have failed is
// completed.
func TestHarmToAServicePlanIsRefused(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	servicePlan(t, m, FirstServicePlan)
	before := len(sim.Calls())
	moved := planSpec(FirstServicePlan)
	moved.Location = "eastus"
	_, err := m.ProvisionServicePlan(t.Context(), FirstServicePlan, moved, nil)
	if !errors.Is(err, ErrServicePlanChanges) || !strings.Contains(err.Error(), "westeurope to eastus") {
		t.Errorf("got %v", err)
	}
	taint(t, m.ServicePlanPath(FirstServicePlan))
	if again := servicePlan(t, m, FirstServicePlan); again.Operation.Plan != (Changes{}) {
		t.Errorf("got %+v", again.Operation.Plan)
	}
	if n := planWrites(sim, before); n != 0 {
		t.Errorf("Azure saw %d changes", n)
	}
}

// TestServicePlanOfAnotherOwnerStays finds a service plan of the same name that is somebody else's.
func TestServicePlanOfAnotherOwnerStays(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	servicePlan(t, peer(t, m, func(*Config) {}), FirstServicePlan)
	p, gone := planSpec(FirstServicePlan), planOf(FirstServicePlan)
	p.Tags, gone.Owner = map[string]string{OwnerTag: "another"}, "another"
	if _, err := m.ProvisionServicePlan(t.Context(), FirstServicePlan, p, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want it refused as another's", err)
	}
	if holds, err := m.HoldsServicePlan(t.Context(), gone); err != nil || holds {
		t.Errorf("holds %v, %v", holds, err)
	}
	if _, err := m.DestroyServicePlan(t.Context(), gone, nil); err != nil || found(sim, p.Name) != 1 {
		t.Errorf("got %v, with %d left", err, found(sim, p.Name))
	}
	for _, id := range []string{"", "First", "../x", "0a1b2c3", "0A1B2C3D"} {
		_, err := m.ProvisionServicePlan(t.Context(), id, p, nil)
		if _, destroyed := m.DestroyServicePlan(t.Context(), PlanRemoval{ID: id}, nil); err == nil || destroyed == nil {
			t.Errorf("%q: %v, %v", id, err, destroyed)
		}
	}
}

// TestRemovalOfServicePlansWithoutRights destroys two service plans, of which the state knows one, that may not be
// read. One with an app stays.
func TestRemovalOfServicePlansWithoutRights(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	_, err := m.DestroyServicePlan(t.Context(), planOf(FirstServicePlan), nil)
	if err == nil || !strings.Contains(err.Error(), "cannot be deleted") || found(sim, "skls-test-plan") != 1 {
		t.Errorf("with an app: got %v", err)
	}
	servicePlan(t, m, FirstServicePlan) // its workspace goes on as before
	wantDestroyed(t, m, sim)
	const second = "0a1b2c3d"
	servicePlan(t, m, second)
	if err := os.RemoveAll(m.ServicePlanPath(second)); err != nil {
		t.Fatal(err)
	}
	sim.Deny("Microsoft.Web/serverfarms/read")
	for _, id := range []string{FirstServicePlan, second} {
		_, err := m.DestroyServicePlan(t.Context(), planOf(id), nil)
		if err != nil || found(sim, planSpec(id).Name) != 0 {
			t.Errorf("%s: got %v", id, err)
		}
	}
}

// TestServicePlansInPostgres lets another daemon, without files, complete and destroy what the first has left. Daemons
// with different owners have different service plans.
func TestServicePlansInPostgres(t *testing.T) {
	m, sim, _ := inPostgres(t)
	m.cfg.Log = zerolog.Nop()
	other := withoutPool(t, m)
	servicePlan(t, m, FirstServicePlan)
	if again := servicePlan(t, other, FirstServicePlan); again.Operation.Plan != (Changes{}) {
		t.Errorf("the other daemon: got %+v", again.Operation.Plan)
	}
	const second = "0a1b2c3d"
	interruptPlan(t, m, sim, second)
	if imported := servicePlan(t, other, second); imported.Operation.Plan != (Changes{Import: 1}) {
		t.Errorf("the other daemon: got %+v", imported.Operation.Plan)
	}
	third := peer(t, m, func(c *Config) { c.Providers, c.Backend.Owner = nil, "third" })
	p := planSpec(FirstServicePlan)
	p.Name, p.Tags = "skls-third-plan", map[string]string{OwnerTag: "third"}
	if outputs, err := third.ProvisionServicePlan(t.Context(), FirstServicePlan, p, nil); err != nil ||
		outputs.Operation.Plan != (Changes{Add: 1}) {
		t.Errorf("the third daemon: got %+v, %v", outputs, err)
	}
	last := withoutPool(t, m)
	for _, id := range []string{FirstServicePlan, second} {
		op, err := last.DestroyServicePlan(t.Context(), planOf(id), nil)
		if err != nil || op.Plan != (Changes{Destroy: 1}) || found(sim, planSpec(id).Name) != 0 {
			t.Errorf("%s: got %+v, %v", id, op, err)
		}
	}
	if found(sim, p.Name) != 1 {
		t.Error("the service plan of the third daemon is gone")
	}
}

// TestKindOf gives each workspace's name back.
func TestKindOf(t *testing.T) {
	m := local(t, nil)
	for dir, want := range map[string]struct {
		name string
		kind Kind
	}{
		m.foundation():                      {FoundationID, KindFoundation},
		m.Path(testID):                      {testID, KindContainer},
		m.ServicePlanPath(FirstServicePlan): {"plans/first", KindServicePlan},
		m.ServicePlanPath("0a1b2c3d"):       {"plans/0a1b2c3d", KindServicePlan},
	} {
		if name := m.nameOf(dir); name != want.name || KindOf(name) != want.kind {
			t.Errorf("%s: got %s, %s", dir, name, KindOf(name))
		}
	}
}
