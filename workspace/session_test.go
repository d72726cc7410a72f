package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// password matches the password that Azure generates for each app.
var password = regexp.MustCompile(`"password": ?"[A-Z0-9]{26}"`)

// normal returns a JSON file without the parts that differ between any two operations.
func normal(t *testing.T, path string) any {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(password.ReplaceAll(content, []byte(`"password": ""`)), &value); err != nil {
		t.Fatal(err)
	}
	top, ok := value.(map[string]any)
	if !ok || len(top) < 5 {
		t.Fatalf("%s holds %.100s", path, content)
	}
	delete(top, "lineage")
	delete(top, "timestamp")
	sortUnordered(value)
	return value
}

// unordered are the lists that terraform writes in any order.
var unordered = []string{"check_results", "checks", "relevant_attributes", "sensitive_attributes"}

// sortUnordered sorts the lists that terraform writes in any order.
func sortUnordered(value any) {
	switch value := value.(type) {
	case []any:
		for _, inner := range value {
			sortUnordered(inner)
		}
	case map[string]any:
		for key, inner := range value {
			sortUnordered(inner)
			if list, ok := inner.([]any); ok && slices.Contains(unordered, key) {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
}

// wholeLife creates, plans again and destroys with one manager.
func wholeLife(t *testing.T, m *Manager, sim *azuresim.Sim, f Foundation, spec FunctionApp) {
	t.Helper()
	if _, err := m.Foundation(t.Context(), f, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is a state, and nothing to do
		provision(t, m, spec)
	}
	wantDestroyed(t, m, sim)
	wantFallbacks(t, m, 0)
}

// wantSameFiles compares the files that two managers leave behind.
func wantSameFiles(t *testing.T, want, got *Manager) {
	t.Helper()
	for _, path := range []string{
		"foundation/operations/0001-apply/plan.json", "foundation/terraform.tfstate",
		"archive/" + testID + "/operations/0001-apply/plan.json",
		"archive/" + testID + "/operations/0003-destroy/plan.json",
	} {
		diff := cmp.Diff(normal(t, filepath.Join(want.cfg.Dir, path)), normal(t, filepath.Join(got.cfg.Dir, path)))
		if diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	for _, dir := range []string{"foundation", "archive/" + testID} {
		written, err := os.ReadFile(filepath.Join(got.cfg.Dir, dir, lockFile))
		byInit, initErr := os.ReadFile(filepath.Join(want.cfg.Dir, dir, lockFile))
		if err := errors.Join(err, initErr); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(byInit), string(written)); diff != "" {
			t.Errorf("lock file in %s: %s", dir, diff)
		}
	}
}

// TestSameResultsEitherWay compares terraform init, an installed provider and a started one.
func TestSameResultsEitherWay(t *testing.T) {
	for name, tofu := range map[string]bool{"terraform": false, "tofu": true} {
		t.Run(name, func(t *testing.T) {
			first, sim := cloudWith(t, func(cfg *Config, _ *provider.Config) {
				if tofu {
					useTofu(t, cfg)
				}
			})
			spec, f := foundation(t, first)
			pooled := peer(t, first, func(*Config) {})
			plain := peer(t, first, func(cfg *Config) { cfg.Providers = nil })
			whole := peer(t, first, func(cfg *Config) {
				cfg.Providers, cfg.Package = nil, Package{Version: cfg.Package.Version}
			})
			for _, m := range []*Manager{whole, plain, pooled} {
				wholeLife(t, m, sim, named(f), spec)
			}
			wantSameFiles(t, whole, plain)
			wantSameFiles(t, whole, pooled)
			initialised, err := filepath.Glob(filepath.Join(pooled.cfg.Dir, "foundation/.terraform"))
			if err != nil || len(initialised) > 0 {
				t.Errorf("found %v, %v; want nothing initialised", initialised, err)
			}
		})
	}
}

// correlations returns the ids that azurerm sent with its calls to Azure since the given number of calls.
func correlations(sim *azuresim.Sim, since int) (ids []string) {
	for _, c := range sim.Calls()[since:] {
		if c.Service == "arm" && strings.Contains(c.UserAgent, "terraform-provider-azurerm") {
			ids = append(ids, c.CorrelationID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func TestOperationRecordsTheIDThatAzureSees(t *testing.T) {
	for name, reuse := range map[string]int{"a process for each operation": 1, "a process for two operations": 2} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloudWith(t, func(_ *Config, pool *provider.Config) { pool.Reuse, pool.Size = reuse, 0 })
			spec, _ := foundation(t, m) // of two operations
			before := len(sim.Calls())
			created := provision(t, m, spec).Operation.CorrelationID
			if got := correlations(sim, before); !slices.Equal(got, []string{created}) {
				t.Errorf("Azure saw %v, the operation has %s", got, created)
			}
			before = len(sim.Calls())
			destroyed := wantDestroyed(t, m, sim).CorrelationID
			if got := correlations(sim, before); !slices.Equal(got, []string{destroyed}) {
				t.Errorf("Azure saw %v, the operation has %s", got, destroyed)
			}
			if (destroyed == created) != (reuse == 2) {
				t.Errorf("the operations have %s and %s", created, destroyed)
			}
		})
	}
}

// TestCancelledOperationIsAlone interrupts one of two operations while Azure is busy with both.
func TestCancelledOperationIsAlone(t *testing.T) {
	m, sim := cloudWith(t, func(_ *Config, pool *provider.Config) { pool.Reuse = 50 })
	spec, _ := foundation(t, m)
	otherID, other := another(spec)
	arrived, go1, go2 := make(chan string, 2), make(chan struct{}), make(chan struct{})
	sim.SetFaults(azuresim.Faults{Latency: func(method, path string) (none time.Duration) {
		if method != http.MethodPut || !sitePath.MatchString(path) {
			return none
		}
		arrived <- path
		if strings.HasSuffix(path, spec.Name) {
			<-go1
		} else {
			<-go2
		}
		return none
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled, finished error
	var wg, otherDone sync.WaitGroup
	wg.Go(func() { _, cancelled = m.Provision(ctx, testID, spec, nil) })
	otherDone.Go(func() { _, finished = m.Provision(t.Context(), otherID, other, nil) })
	for range 2 {
		<-arrived
	}
	cancel()
	wg.Wait()
	close(go1)
	if !errors.Is(cancelled, context.Canceled) {
		t.Errorf("got %v", cancelled)
	}
	wantFallbacks(t, m, 0)
	output, err := os.ReadFile(filepath.Join(lastFolder(t, m.Path(testID), applying), applyOutput))
	if err != nil || strings.Count(string(output), "Interrupt received") != 1 ||
		strings.Contains(string(output), "Two interrupts") {
		t.Errorf("terraform printed %s, %v", output, err)
	}
	// Until the abandoned write has ended, it holds the service plan.
	azuretest.Eventually(t, "the end of the cancelled write", func() bool {
		return slices.ContainsFunc(sim.Calls(), func(c azuresim.Call) bool {
			return c.Method == http.MethodPut && strings.HasSuffix(c.Path, spec.Name)
		})
	})
	close(go2)
	otherDone.Wait()
	if finished != nil {
		t.Errorf("the other operation: %v", finished)
	}
	sim.SetFaults(azuresim.Faults{})
	provision(t, m, spec)
	for _, id := range []string{testID, otherID} {
		if _, err := m.Destroy(t.Context(), containerOf(id), nil); err != nil {
			t.Error(err)
		}
	}
	if len(sim.Sites()) > 0 {
		t.Errorf("left: %v", sim.Sites())
	}
}

// inSession runs f in a session of the foundation's workspace.
func inSession(t *testing.T, m *Manager, f func(*session)) {
	t.Helper()
	err := m.retry(t.Context(), task{dir: m.foundation(), do: func(_ context.Context, s *session) error {
		f(s)
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestEagerOperationsAreBounded(t *testing.T) {
	m, _ := cloudWith(t, func(cfg *Config, _ *provider.Config) { cfg.EagerOperations = 1 })
	polls := func(s *session) string {
		found := azuretest.Processes(t, func(p azuretest.Process) bool { return p.PID == s.lease.PID() })
		if len(found) != 1 {
			t.Fatalf("got %v, want process %d", found, s.lease.PID())
		}
		return found[0].Getenv(pollEagerly)
	}
	t.Run("with started providers", func(t *testing.T) {
		inSession(t, m, func(first *session) {
			if got := polls(first); got != "true" || !first.eager {
				t.Errorf("the first operation polls eagerly: %q, %v", got, first.eager)
			}
			inSession(t, m, func(second *session) {
				if got := polls(second); got != "false" || second.eager {
					t.Errorf("the second operation polls eagerly: %q, %v", got, second.eager)
				}
			})
		})
	})
	t.Run("without", func(t *testing.T) {
		plain := peer(t, m, func(cfg *Config) { cfg.Providers = nil })
		inSession(t, plain, func(first *session) {
			inSession(t, plain, func(second *session) {
				if !first.eager || second.eager {
					t.Errorf("got %v and %v", first.eager, second.eager)
				}
			})
		})
	})
}
