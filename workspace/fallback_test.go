package workspace

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// killProviders kills the started providers, which are this process's own children, and not those of terraform.
func killProviders(t *testing.T) {
	killed := 0
	for _, p := range azuretest.Children(t) {
		if strings.HasPrefix(p.Name, "terraform-provi") {
			kill(t, p)
			killed++
		}
	}
	if killed == 0 {
		t.Error("there was no provider to kill")
	}
}

// wantFallbacks checks how many operations left the pool.
func wantFallbacks(t *testing.T, m *Manager, want int64) {
	t.Helper()
	if got := m.fallbacks.Load(); got != want {
		t.Errorf("%d operations left the pool, want %d", got, want)
	}
}

func TestProvidersThatDoNotStartAreReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"it does not start":              "exit 1",
		"it speaks an unknown protocol":  "echo '1|6|unix|/x|grpc|'; exec cat",
		"it is not there when it starts": "rm $0; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloudWith(t, func(_ *Config, pool *provider.Config) { pool.Path = script(t, content) })
			servicePlan(t, m, FirstServicePlan)
			wantFallbacks(t, m, 1)
			if found(sim, "skls-test-plan") != 1 {
				t.Errorf("got %v", sim.Resources())
			}
		})
	}
}

func TestLongProvidersThatDieAreReplaced(t *testing.T) {
	put := func(method, path string) bool { return method == http.MethodPut && sitePath.MatchString(path) }
	for name, faults := range map[string]func(func()) azuresim.Faults{
		"it dies while it plans": func(die func()) azuresim.Faults {
			return azuresim.Faults{Latency: func(method, path string) (none time.Duration) {
				if method == http.MethodGet && strings.Contains(path, "/storageAccounts/") {
					die()
				}
				return none
			}}
		},
		"it dies before Azure creates the app": func(die func()) azuresim.Faults {
			rule := azuresim.Rule{Method: http.MethodPut, Path: sitePath, Times: 1, Drop: azuresim.DropBefore}
			return azuresim.Faults{Rules: []azuresim.Rule{rule}, Latency: func(method, path string) (none time.Duration) {
				if put(method, path) {
					die()
				}
				return none
			}}
		},
		"it dies when Azure has created the app": func(die func()) azuresim.Faults {
			return azuresim.Faults{AfterWrite: func(method, path string, _ int) {
				if put(method, path) {
					die()
				}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloud(t)
			spec, _ := foundation(t, m)
			var once sync.Once
			sim.SetFaults(faults(func() { once.Do(func() { killProviders(t) }) }))
			outputs, err := m.Provision(t.Context(), testID, spec, nil)
			if err != nil || outputs.HostName == "" || len(sim.Sites()) != 1 {
				t.Errorf("got %+v, %v with %v", outputs, err, sim.Sites())
			}
			wantFallbacks(t, m, 1)
			sim.SetFaults(azuresim.Faults{})
			wantDestroyed(t, m, sim)
			wantFallbacks(t, m, 1)
		})
	}
}

// applyFoundation applies the files in the foundation's workspace as they are.
func applyFoundation(t *testing.T, m *Manager) error {
	t.Helper()
	return m.retry(t.Context(), task{dir: m.foundation(), do: func(ctx context.Context, s *session) error {
		_, err := m.operate(ctx, applying, s)
		return err
	}})
}

func TestSchemaThatDoesNotFitIsReplaced(t *testing.T) {
	m, _ := cloud(t)
	foundation(t, m)
	// Where needsOf does not look.
	hidden := `check "plan" {
  data "azurerm_storage_account" "hidden" {
    name                = "` + azuresim.DefaultStorageAccount + `"
    resource_group_name = "` + azuresim.DefaultResourceGroup + `"
  }
  assert {
    condition     = data.azurerm_storage_account.hidden.name != ""
    error_message = "none"
  }
}
`
	if err := os.WriteFile(filepath.Join(m.foundation(), "check.tf"), []byte(hidden), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := applyFoundation(t, m); err != nil {
		t.Error(err)
	}
	wantFallbacks(t, m, 1)
}

func TestRefusalOfAzureIsNotRetried(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	rule := azuresim.Rule{Method: http.MethodPut, Path: sitePath, Status: http.StatusForbidden}
	sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{rule}})
	before := len(sim.Calls())
	if _, err := m.Provision(t.Context(), testID, spec, nil); err == nil {
		t.Error("got no error")
	}
	wantFallbacks(t, m, 0)
	if n := writes(sim, before); n != 1 {
		t.Errorf("tried %d times", n)
	}
}

// TestLostAnswerIsCured lets Azure create the app and lose the answer: the same operation imports the app.
func TestLostAnswerIsCured(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	rule := azuresim.Rule{Method: http.MethodPut, Path: sitePath, Times: 1, Drop: azuresim.DropAfter}
	sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{rule}})
	outputs, err := m.Provision(t.Context(), testID, spec, nil)
	wantImported(t, outputs, err)
	wantFallbacks(t, m, 0)
	wantDestroyed(t, m, sim)
}
