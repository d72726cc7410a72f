package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestExistingFoundation(t *testing.T) {
	m, _ := cloud(t)
	if _, err := m.FoundationOutputs(t.Context()); !errors.Is(err, ErrNoWorkspace) {
		t.Errorf("before it is created: got %v", err)
	}
	_, f := foundation(t, m)
	again, err := m.Foundation(t.Context(), f, nil)
	if err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("second time: got %+v, %v; want no change", again.Operation.Plan, err)
	}
	read, err := m.FoundationOutputs(t.Context())
	if again.Operation = (Operation{}); err != nil || read != again {
		t.Errorf("got %+v, %v; want %+v", read, err, again)
	}
	// Another daemon names the resources that the first one created.
	other, err := New(Config{
		Dir: t.TempDir(), Terraform: m.cfg.Terraform, CLIConfig: m.cfg.CLIConfig, Environ: m.cfg.Environ, Env: m.cfg.Env,
		SubscriptionID: m.cfg.SubscriptionID, Find: m.cfg.Find, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	existing, err := other.Foundation(t.Context(), named(f), nil)
	if err != nil {
		t.Fatal(err)
	}
	if existing.Operation.Plan != (Changes{}) ||
		existing.LogAnalyticsID != again.LogAnalyticsID || existing.InsightsConnection != again.InsightsConnection {
		t.Errorf("got %+v, want %+v", existing, again)
	}
}

func TestFoundationWhoseFolderWasLost(t *testing.T) {
	m, sim := cloud(t)
	_, f := foundation(t, m)
	lose := func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(m.cfg.Dir, "foundation")); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("it is imported", func(t *testing.T) {
		before := len(sim.Resources())
		lose(t)
		outputs, err := m.Foundation(t.Context(), f, nil)
		plan := outputs.Operation.Plan
		if err != nil || plan.Import != 2 || plan.Add != 0 || plan.Destroy != 0 || outputs.LogAnalyticsID == "" ||
			len(sim.Resources()) != before {
			t.Errorf("got %+v, %v; want it imported", plan, err)
		}
		noImports(t, m.foundation())
	})
	t.Run("another owner's is refused", func(t *testing.T) {
		lose(t)
		f.Tags = map[string]string{OwnerTag: "another"}
		_, err := m.Foundation(t.Context(), f, nil)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `sockerless-owner="test"`) {
			t.Errorf("got %v, want it refused as another's", err)
		}
	})
}
