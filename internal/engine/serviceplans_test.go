package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// pooled returns a fixture whose engine has stopped. The next one has these limits of the pool.
func pooled(t *testing.T, apps, plans int) *fixture {
	t.Helper()
	f := setup(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.settings = func(s *Settings) { s.AppsPerServicePlan, s.MaxServicePlans = apps, plans }
	return f
}

// servicePlans lists the pool's service plans.
func (f *fixture) servicePlans(t *testing.T) []store.ServicePlan {
	t.Helper()
	list, err := f.db.ServicePlans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestFullServicePlans has a create wait for a place, shows where it waits, and ends its wait when there is room.
func TestFullServicePlans(t *testing.T) {
	f := pooled(t, 1, 1)
	f.start(t)
	f.create(t, "first")
	created := make(chan error, 1)
	go func() {
		_, err := f.ContainerCreate(context.WithoutCancel(t.Context()), "second", request)
		created <- err
	}()
	azuretest.Eventually(t, "the second waits", func() bool {
		found, err := f.ContainerInspect(t.Context(), "second")
		return err == nil && found.AZF.QueuePlace == 1 && found.AZF.ServicePlan == ""
	})
	info, err := f.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status := ""
	for _, line := range info.DriverStatus {
		status += strings.Join(line[:], ": ") + "\n"
	}
	for _, want := range []string{"Service Plan skls-test-plan-", ": B1, 1 of 1 apps, ready", "Containers Waiting: 1"} {
		if !strings.Contains(status, want) {
			t.Errorf("docker info lacks %q:\n%s", want, status)
		}
	}
	if err := f.ContainerRemove(t.Context(), "first", false); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Error(err)
	}
	found, err := f.ContainerInspect(t.Context(), "second")
	if err != nil || found.AZF.QueuePlace != 0 || found.AZF.ServicePlan != f.servicePlans(t)[0].Name {
		t.Errorf("got %+v, %v", found.AZF, err)
	}
	if n := len(f.servicePlans(t)); n != 1 {
		t.Errorf("there are %d service plans", n)
	}
}

// TestServicePlanIsNotCreated has every create that waits for a service plan fail with the reason.
func TestServicePlanIsNotCreated(t *testing.T) {
	f := pooled(t, 2, 1)
	begin := make(chan struct{})
	f.workspaces.provisionPlan = func(context.Context, string) error {
		<-begin
		return errors.New("the quota of B1 is 0")
	}
	f.start(t)
	var creates sync.WaitGroup
	for _, name := range []string{"aa", "bb"} {
		creates.Go(func() {
			_, err := f.ContainerCreate(t.Context(), name, request)
			if err == nil || !strings.Contains(err.Error(), "cannot create service plan skls-test-plan-") {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
	azuretest.Eventually(t, "both wait", func() bool {
		list := f.servicePlans(t)
		return len(list) == 1 && list[0].Apps == 2
	})
	close(begin)
	creates.Wait()
	if list := f.servicePlans(t); len(list) > 0 {
		t.Errorf("left are %+v", list)
	}
	f.workspaces.set(func() { f.workspaces.provisionPlan = nil })
	f.create(t, "aa")
}

// TestIdleServicePlanIsRemoved removes a service plan some time after its last container, and tries again when that
// fails.
func TestIdleServicePlanIsRemoved(t *testing.T) {
	f := pooled(t, 2, 1)
	change := f.settings
	f.settings = func(s *Settings) { change(s); s.ServicePlanIdle = time.Minute }
	f.start(t)
	f.create(t, "web")
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		err := f.db.RemoveIdlePlans(t.Context(), time.Minute)
		if err = errors.Join(err, f.db.RetryPlans(t.Context(), maxRetryAfter)); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if list := f.servicePlans(t); len(list) != 1 || list[0].State != store.PlanReady {
		t.Fatalf("got %+v", list)
	}
	f.workspaces.set(func() {
		f.workspaces.destroyPlan = func(context.Context, string) error { return errors.New("it has apps") }
	})
	f.clock.Advance(time.Minute)
	look()
	azuretest.Eventually(t, "the removal fails", func() bool {
		list := f.servicePlans(t)
		return len(list) == 1 && list[0].State == store.PlanDead && strings.Contains(list[0].Error, "it has apps")
	})
	info, err := f.Info(t.Context())
	if err != nil || !strings.Contains(strings.Join(info.Warnings, "\n"), "could not be removed, and costs money") {
		t.Errorf("warnings are %q, %v", info.Warnings, err)
	}
	f.workspaces.set(func() { f.workspaces.destroyPlan = nil })
	f.clock.Advance(maxRetryAfter)
	look()
	azuretest.Eventually(t, "it is gone", func() bool { return len(f.servicePlans(t)) == 0 })
}

// TestExistingServicePlanIsChecked refuses creates with what must be changed in Azure, until it is.
func TestExistingServicePlanIsChecked(t *testing.T) {
	const id = "/subscriptions//resourceGroups/rg/providers/Microsoft.Web/serverFarms/team"
	for name, row := range map[string]struct {
		plan *ServicePlan
		want string
		apps int
	}{
		"missing":            {want: "there is no service plan team"},
		"Windows":            {plan: &ServicePlan{SKU: "B1", Workers: 1}, want: "is not a Linux plan"},
		"two instances":      {plan: &ServicePlan{SKU: "B1", Linux: true, Workers: 2}, want: "would run each app on all"},
		"per-site scaling":   {plan: &ServicePlan{SKU: "B1", Linux: true, Workers: 2, PerSiteScaling: true}, apps: 16},
		"one instance":       {plan: &ServicePlan{SKU: "P1v3", Linux: true, Workers: 1}, apps: 16},
		"an elastic premium": {plan: &ServicePlan{SKU: "EP1", Linux: true, Workers: 3}, apps: 8},
	} {
		t.Run(name, func(t *testing.T) {
			f := pooled(t, 0, 1)
			change := f.settings
			f.settings = func(s *Settings) { change(s); s.AppServicePlan = "team" }
			if row.plan != nil {
				f.azure.plans = map[string]ServicePlan{id: *row.plan}
			}
			f.start(t)
			_, err := f.ContainerCreate(t.Context(), "web", request)
			if row.want != "" {
				kind := api.KindOf(err)
				if kind != api.InvalidParameter && kind != api.NotFound || !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %v, want %q", err, row.want)
				}
				return
			}
			list := f.servicePlans(t)
			if err != nil || len(list) != 1 || list[0].Capacity != row.apps || !list[0].Existing {
				t.Errorf("got %+v, %v", list, err)
			}
		})
	}
}

// TestStrayServicePlans are warned of, and nothing more.
func TestStrayServicePlans(t *testing.T) {
	f := pooled(t, 0, 1)
	f.start(t)
	f.create(t, "web")
	known := f.servicePlans(t)[0]
	owned := map[string]string{ownerTag: "test"}
	f.workspaces.set(func() { f.workspaces.plansOnDisk = []string{known.ID, "0123abcd"} })
	f.azure.listedPlans = []workspace.Found{
		{ID: "/plans/" + known.Name, Tags: owned}, {ID: "/plans/skls-test-plan-12345678", Tags: owned},
		{ID: "/plans/skls-test-plan-12345679", Tags: map[string]string{ownerTag: "other"}},
		{ID: "/plans/skls-test-plan-of-a-team", Tags: owned}, {ID: "/plans/skls-test-plan", Tags: owned},
	}
	f.azure.gone = map[string]bool{"/plans/skls-test-plan": true}
	if err := errors.Join(f.tidyServicePlans(t.Context()), f.compareServicePlans(t.Context())); err != nil {
		t.Fatal(err)
	}
	info, err := f.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, warning := range info.Warnings {
		if _, rest, ok := strings.Cut(warning, "does not know service plan "); ok {
			place, _, _ := strings.Cut(rest, ",")
			found = append(found, place)
		}
	}
	want := []string{"/workspaces/plans/0123abcd", "/plans/skls-test-plan-12345678"}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}
