package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// withVersion makes cfg use the provider under another version, from a mirror that has only this one. With init,
// terraform init makes the workspaces ready.
func withVersion(t *testing.T, cfg *Config, version string, init bool) {
	t.Helper()
	tools := cloudtest.Tools(t)
	built := tools.ProviderPath
	tools.ProviderVersion, tools.Mirror = version, t.TempDir()
	dir := filepath.Join(tools.Mirror, tools.PackagePath())
	tools.ProviderPath = filepath.Join(dir, "terraform-provider-azurerm_v"+version)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Symlink(built, tools.ProviderPath)); err != nil {
		t.Fatal(err)
	}
	cfg.Providers, cfg.CLIConfig, cfg.InitKey = nil, tools.CLIConfig(), version
	cfg.Package = Package{Version: version}
	if !init {
		cfg.Package = Package{Dir: dir, Path: tools.PackagePath(), Version: version, LockFile: tools.LockFile()}
	}
}

// TestOtherVersionsOfTheProvider changes azurerm between the operations on one state folder, up and down.
func TestOtherVersionsOfTheProvider(t *testing.T) {
	for name, init := range map[string]bool{"terraform init": true, "files of ours": false} {
		t.Run(name, func(t *testing.T) {
			first, sim := cloudWith(t, func(_ *Config, pool *provider.Config) { pool.Path = "" })
			use := func(version string) *Manager {
				cfg := first.cfg
				withVersion(t, &cfg, version, init)
				m, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			older := use("5.1.9")
			spec, f := foundation(t, older)
			provision(t, older, spec)
			otherID, other := another(spec)
			if _, err := older.Provision(t.Context(), otherID, other, nil); err != nil {
				t.Fatal(err)
			}
			newer := use(toolchain.ProviderVersion)
			if outputs, err := newer.FoundationOutputs(t.Context()); err != nil ||
				outputs.InsightsConnection != spec.ApplicationInsightsConnectionString {
				t.Errorf("the newer one reads %+v, %v", outputs, err)
			}
			if again, err := newer.Foundation(t.Context(), f, nil); err != nil || again.Operation.Plan != (Changes{}) {
				t.Errorf("the newer one changes the foundation: %+v, %v", again, err)
			}
			if again := servicePlan(t, newer, FirstServicePlan); again.Operation.Plan != (Changes{}) {
				t.Errorf("the newer one changes the service plan: %+v", again)
			}
			if again := provision(t, newer, spec); again.Operation.Plan != (Changes{}) {
				t.Errorf("the newer one changes the app: %+v", again)
			}
			if _, err := newer.Destroy(t.Context(), containerOf(otherID), nil); err != nil {
				t.Errorf("the newer one removes: %v", err)
			}
			wantDestroyed(t, use("5.1.9"), sim)
		})
	}
}

// TestStateOfANewerProvider is refused by each operation, and nothing is lost.
func TestStateOfANewerProvider(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	path := filepath.Join(m.Path(testID), stateFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]*strings.Replacer{
		"provider":  strings.NewReplacer(`"schema_version": 1`, `"schema_version": 99`),
		"Terraform": strings.NewReplacer(`"version": 4`, `"version": 5`),
	} {
		newer := change.Replace(string(content))
		if err := os.WriteFile(path, []byte(newer), 0o600); err != nil || newer == string(content) {
			t.Fatal(err, "the test tests nothing")
		}
		_, provisioned := m.Provision(t.Context(), testID, spec, nil)
		_, destroyed := m.Destroy(t.Context(), containerOf(testID), nil)
		for _, err := range []error{provisioned, destroyed} {
			if err == nil || !strings.Contains(err.Error(), "newer "+name) {
				t.Errorf("got %v", err)
			}
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != newer || len(sim.Sites()) != 1 {
			t.Errorf("%s: the state is %s, %v", name, left, err)
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	wantDestroyed(t, m, sim)
}
