package workspace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func TestIdentityKeepsTheKeyOutOfState(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	spec.Identity = &Identity{
		ID: "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup +
			"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + azuresim.DefaultIdentity,
		ClientID: "11111111-2222-3333-4444-555555555555",
	}
	spec.RegistryUsername, spec.RegistryPassword, spec.RegistryUsesIdentity = nil, nil, true
	provision(t, m, spec)
	state, err := os.ReadFile(filepath.Join(m.Path(testID), stateFile))
	if err != nil || strings.Contains(string(state), "AccountKey") ||
		strings.Contains(string(state), "primary_access_key") {
		t.Errorf("the state holds the storage account's key, %v", err)
	}
	if again := provision(t, m, spec); again.Operation.Plan != (Changes{}) {
		t.Errorf("second time: got %+v; want no change", again.Operation.Plan)
	}
	wantDestroyed(t, m, sim)
	if _, err := m.Destroy(t.Context(), containerOf(testID), nil); err != nil {
		t.Errorf("destroyed already: %v", err)
	}
}

// TestInterruptedApplyLeavesNothing interrupts terraform when Azure has created the app and the provider does not know
// it yet.
func TestInterruptedApplyLeavesNothing(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	interrupted := func(t *testing.T) {
		t.Helper()
		interrupt(t, m, sim, spec)
		if known, err := readState(m.Path(testID)); len(known.managed()) != 0 {
			t.Fatalf("the state knows %v (%v): the test tests nothing", known.managed(), err)
		}
	}
	t.Run("the next operation completes it", func(t *testing.T) {
		interrupted(t)
		outputs, err := m.Provision(t.Context(), testID, spec, nil)
		wantImported(t, outputs, err)
		noImports(t, m.Path(testID))
		wantDestroyed(t, m, sim)
		if err := os.RemoveAll(m.ArchivePath(testID)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("destroy finds it", func(t *testing.T) {
		interrupted(t)
		if op := wantDestroyed(t, m, sim); op.Plan != (Changes{Destroy: 1}) {
			t.Errorf("got %+v", op.Plan)
		}
		noImports(t, m.ArchivePath(testID))
	})
}

func TestFailedApply(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	spec.FunctionTimeout = "soon"
	_, err := m.Provision(t.Context(), testID, spec, nil)
	failed, ok := errors.AsType[*TerraformError](err)
	if !ok || failed.Step != "plan" || !strings.Contains(failed.Error(), "hh:mm:ss") || failed.CorrelationID == "" {
		t.Fatalf("got %v, want the module's own message", err)
	}
	// Nothing was applied, so Azure, which may be the reason, is not asked.
	m.cfg.Find = func(context.Context, string) (Found, bool, error) { return Found{}, false, errors.New("no answer") }
	c := containerOf(testID)
	c.Begun = false
	if _, err := m.Destroy(t.Context(), c, nil); err != nil {
		t.Errorf("destroy of nothing: %v", err)
	}
	if len(sim.Sites()) != 0 {
		t.Errorf("function apps: %v", sim.Sites())
	}
}

func TestIDsThatArePaths(t *testing.T) {
	m := local(t, nil)
	if _, err := m.Provision(t.Context(), "../../etc", testSpec(), nil); err == nil {
		t.Error("provision took an id that is a path")
	}
	if _, err := m.Destroy(t.Context(), Container{ID: "../../etc", FunctionApp: "x", Begun: true}, nil); err == nil {
		t.Error("destroy took an id that is a path")
	}
}
