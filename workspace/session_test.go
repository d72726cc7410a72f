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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// another is a second container's id and spec.
func another(spec FunctionApp) (string, FunctionApp) {
	id := strings.Repeat("fedcba9876543210", 4)
	spec.Name, spec.Tags = "skls-"+id[:20], map[string]string{IDTag: id}
	return id, spec
}

// peer is a manager on the same simulated Azure, with a folder of its own.
func peer(t *testing.T, m *Manager, change func(*Config)) *Manager {
	t.Helper()
	cfg := m.cfg
	cfg.Dir = t.TempDir()
	change(&cfg)
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// password is what Azure makes up for each app.
var password = regexp.MustCompile(`"password": ?"[A-Z0-9]{26}"`)

// normal is a JSON file without what differs between any two runs.
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
			if list, ok := inner.([]any); ok && slices.Contains([]string{"check_results", "checks", "relevant_attributes", "sensitive_attributes"}, key) {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
}

func TestSameResultsEitherWay(t *testing.T) {
	for name, tofu := range map[string]bool{"terraform": false, "tofu": true} {
		t.Run(name, func(t *testing.T) {
			pooled, sim := cloudWith(t, func(cfg *Config, _ *provider.Config) {
				tools, err := toolchain.Prepare(t.Context(), toolchain.Config{Tofu: tofu})
				if err != nil {
					t.Fatal(err)
				}
				if tools.Tofu != tofu {
					t.Fatalf("got %+v", tools)
				}
				cfg.Terraform, cfg.InitKey = tools.Terraform, tools.Terraform
				cfg.Package.Path, cfg.Package.LockFile = tools.PackagePath(), tools.LockFile()
			})
			spec, f := foundation(t, pooled)
			existing := func(name string) *Existing {
				return &Existing{Name: name, ResourceGroupName: azuresim.DefaultResourceGroup}
			}
			f.LogAnalyticsWorkspace, f.ApplicationInsights, f.ServicePlan = existing("skls-test-logs"), existing("skls-test-insights"), existing("skls-test-plan")
			pooled = peer(t, pooled, func(*Config) {})
			plain := peer(t, pooled, func(cfg *Config) { cfg.Providers = nil })
			whole := peer(t, pooled, func(cfg *Config) { cfg.Providers, cfg.Package = nil, Package{} })
			for _, m := range []*Manager{whole, plain, pooled} {
				if _, err := m.Foundation(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				for range 2 { // the second time there is a state, and nothing to do
					if _, err := m.Provision(t.Context(), testID, spec); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := m.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) > 0 {
					t.Fatalf("got %v with %v left", err, sim.Sites())
				}
				if m.fallbacks.Load() > 0 {
					t.Errorf("%d runs were not done with the started provider", m.fallbacks.Load())
				}
			}
			for _, m := range []*Manager{plain, pooled} {
				for _, path := range []string{
					"foundation/apply.plan.json", "foundation/terraform.tfstate", "archive/" + testID + "/apply.plan.json",
					"archive/" + testID + "/destroy.plan.json", "archive/" + testID + "/terraform.tfstate.backup",
				} {
					if diff := cmp.Diff(normal(t, filepath.Join(whole.cfg.Dir, path)), normal(t, filepath.Join(m.cfg.Dir, path))); diff != "" {
						t.Errorf("%s: %s", path, diff)
					}
				}
				for _, dir := range []string{"foundation", "archive/" + testID} {
					written, err := os.ReadFile(filepath.Join(m.cfg.Dir, dir, lockFile))
					byInit, initErr := os.ReadFile(filepath.Join(whole.cfg.Dir, dir, lockFile))
					if err := errors.Join(err, initErr); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(string(byInit), string(written)); diff != "" {
						t.Errorf("lock file in %s: %s", dir, diff)
					}
				}
			}
			if initialised, err := filepath.Glob(filepath.Join(pooled.cfg.Dir, "foundation/.terraform")); err != nil || len(initialised) > 0 {
				t.Errorf("found %v, %v; want nothing initialised", initialised, err)
			}
		})
	}
}

// correlations are the ids that azurerm sent with its calls to Azure since the given number of calls.
func correlations(sim *azuresim.Sim, since int) (ids []string) {
	seen := map[string]bool{}
	for _, c := range sim.Calls()[since:] {
		if c.Service == "arm" && strings.Contains(c.UserAgent, "terraform-provider-azurerm") && !seen[c.CorrelationID] {
			seen[c.CorrelationID] = true
			ids = append(ids, c.CorrelationID)
		}
	}
	return ids
}

func TestRunRecordsTheIDThatAzureSees(t *testing.T) {
	for name, reuse := range map[string]int{"a process for each run": 1, "a process for two runs": 2} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloudWith(t, func(_ *Config, pool *provider.Config) { pool.Reuse, pool.Size = reuse, 0 })
			spec, _ := foundation(t, m)
			if reuse == 2 { // the process has one run left
				if _, err := m.FoundationOutputs(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			before := len(sim.Calls())
			made, err := m.Provision(t.Context(), testID, spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := correlations(sim, before); len(got) != 1 || got[0] != made.Operation.CorrelationID {
				t.Errorf("Azure saw %v, the run has %s", got, made.Operation.CorrelationID)
			}
			before = len(sim.Calls())
			run, err := m.Destroy(t.Context(), testID)
			if err != nil {
				t.Fatal(err)
			}
			if got := correlations(sim, before); len(got) != 1 || got[0] != run.CorrelationID || (run.CorrelationID == made.Operation.CorrelationID) != (reuse == 2) {
				t.Errorf("Azure saw %v, the run has %s after %s", got, run.CorrelationID, made.Operation.CorrelationID)
			}
		})
	}
}

// killProviders ends the started providers, which are this process's own children, and not those of terraform.
func killProviders(t *testing.T) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Error(err)
	}
	killed := 0
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		head, rest, _ := strings.Cut(string(content), ") ")
		id, name, _ := strings.Cut(head, " (")
		if fields := strings.Fields(rest); len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) || !strings.HasPrefix(name, "terraform-provi") {
			continue
		}
		pid, err := strconv.Atoi(id)
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Error(err)
		}
		killed++
	}
	if killed == 0 {
		t.Error("there was no provider to kill")
	}
}

func TestUnusableProvidersAreReplaced(t *testing.T) {
	script := func(t *testing.T, pool *provider.Config, content string) {
		pool.Path = filepath.Join(t.TempDir(), "provider")
		if err := os.WriteFile(pool.Path, []byte("#!/bin/sh\n"+content+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(*testing.T, *provider.Config){
		"it does not start":              func(t *testing.T, pool *provider.Config) { script(t, pool, "exit 1") },
		"it speaks an unknown protocol":  func(t *testing.T, pool *provider.Config) { script(t, pool, "echo '1|6|unix|/x|grpc|'; exec cat") },
		"it is not there when it starts": func(t *testing.T, pool *provider.Config) { script(t, pool, "rm $0; exit 1") },
	} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloudWith(t, func(_ *Config, pool *provider.Config) { change(t, pool) })
			foundation(t, m)
			if m.fallbacks.Load() != 1 || len(sim.Resources()) < 3 {
				t.Errorf("%d fallbacks", m.fallbacks.Load())
			}
		})
	}
	for name, faults := range map[string]func(*testing.T, func()) azuresim.Faults{
		"it dies while it plans": func(_ *testing.T, die func()) azuresim.Faults {
			return azuresim.Faults{Latency: func(method, path string) (none time.Duration) {
				if method == http.MethodGet && strings.Contains(path, "/storageAccounts/") {
					die()
				}
				return none
			}}
		},
		"it dies before Azure makes the app": func(_ *testing.T, die func()) azuresim.Faults {
			return azuresim.Faults{Rules: []azuresim.Rule{{Method: http.MethodPut, Path: sitePath, Times: 1, Drop: azuresim.DropBefore}}, Latency: func(method, path string) (none time.Duration) {
				if method == http.MethodPut && sitePath.MatchString(path) {
					die()
				}
				return none
			}}
		},
		"it dies when Azure has made the app": func(_ *testing.T, die func()) azuresim.Faults {
			return azuresim.Faults{AfterWrite: func(method, path string, _ int) {
				if method == http.MethodPut && sitePath.MatchString(path) {
					die()
				}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloud(t)
			spec, _ := foundation(t, m)
			var once sync.Once
			sim.SetFaults(faults(t, func() { once.Do(func() { killProviders(t) }) }))
			if made, err := m.Provision(t.Context(), testID, spec); err != nil || made.HostName == "" || len(sim.Sites()) != 1 || m.fallbacks.Load() != 1 {
				t.Errorf("got %+v, %v with %v and %d fallbacks", made, err, sim.Sites(), m.fallbacks.Load())
			}
			sim.SetFaults(azuresim.Faults{})
			if _, err := m.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) != 0 || m.fallbacks.Load() != 1 {
				t.Errorf("got %v with %v left and %d fallbacks", err, sim.Sites(), m.fallbacks.Load())
			}
		})
	}
	t.Run("the schema does not fit", func(t *testing.T) {
		m, _ := cloud(t)
		foundation(t, m)
		// Where needsOf does not look.
		hidden := "check \"plan\" {\n  data \"azurerm_storage_account\" \"hidden\" {\n    name = \"" + azuresim.DefaultStorageAccount + "\"\n    resource_group_name = \"" +
			azuresim.DefaultResourceGroup + "\"\n  }\n  assert {\n    condition = data.azurerm_storage_account.hidden.name != \"\"\n    error_message = \"none\"\n  }\n}\n"
		if err := os.WriteFile(filepath.Join(m.foundation(), "check.tf"), []byte(hidden), 0o600); err != nil {
			t.Fatal(err)
		}
		err := m.attempt(t.Context(), m.foundation(), func(s *session) error {
			_, err := m.run(t.Context(), m.foundation(), applying, s)
			return err
		})
		if err != nil || m.fallbacks.Load() != 1 {
			t.Errorf("got %v and %d fallbacks", err, m.fallbacks.Load())
		}
	})
	t.Run("what Azure refuses is not tried again", func(t *testing.T) {
		m, sim := cloud(t)
		spec, _ := foundation(t, m)
		sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{Method: http.MethodPut, Path: sitePath, Status: http.StatusForbidden}}})
		before := len(sim.Calls())
		if _, err := m.Provision(t.Context(), testID, spec); err == nil || m.fallbacks.Load() != 0 {
			t.Errorf("got %v and %d fallbacks", err, m.fallbacks.Load())
		}
		puts := 0
		for _, c := range sim.Calls()[before:] {
			if c.Method == http.MethodPut && sitePath.MatchString(c.Path) {
				puts++
			}
		}
		if puts != 1 {
			t.Errorf("tried %d times", puts)
		}
	})
}

// TestCancelledRunIsAlone interrupts one of two runs while Azure is busy with both.
func TestCancelledRunIsAlone(t *testing.T) {
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
	var wg, otherRun sync.WaitGroup
	wg.Go(func() { _, cancelled = m.Provision(ctx, testID, spec) })
	otherRun.Go(func() { _, finished = m.Provision(t.Context(), otherID, other) })
	for range 2 {
		<-arrived
	}
	cancel()
	wg.Wait()
	close(go1)
	if !errors.Is(cancelled, context.Canceled) || m.fallbacks.Load() != 0 {
		t.Errorf("got %v and %d fallbacks", cancelled, m.fallbacks.Load())
	}
	output, err := os.ReadFile(filepath.Join(m.Path(testID), "apply.jsonl"))
	if err != nil || strings.Count(string(output), "Interrupt received") != 1 || strings.Contains(string(output), "Two interrupts") {
		t.Errorf("terraform said %s, %v", output, err)
	}
	close(go2)
	otherRun.Wait()
	if finished != nil {
		t.Errorf("the other run: %v", finished)
	}
	sim.SetFaults(azuresim.Faults{})
	if _, err := m.Provision(t.Context(), testID, spec); err != nil {
		t.Errorf("the next run: %v", err)
	}
	for _, id := range []string{testID, otherID} {
		if _, err := m.Destroy(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if len(sim.Sites()) > 0 {
		t.Errorf("left: %v", sim.Sites())
	}
}

func TestInitWhereItIsNeeded(t *testing.T) {
	plan := func(m *Manager) error {
		return m.attempt(t.Context(), m.foundation(), func(s *session) error {
			_, err := m.run(t.Context(), m.foundation(), applying, s)
			return err
		})
	}
	initialised := func(m *Manager) bool {
		_, err := os.Stat(filepath.Join(m.foundation(), marker))
		return err == nil
	}
	const azurerm = "provider \"azurerm\" {\n  features {}\n}\n"
	m, _ := cloud(t)
	foundation(t, m)
	plain := peer(t, m, func(cfg *Config) { cfg.Providers = nil })
	for name, row := range map[string]struct {
		m    *Manager
		file string
	}{
		"a backend":                  {m, "terraform {\n  backend \"local\" {\n    path = \"elsewhere.tfstate\"\n  }\n}\n"},
		"a backend, no started ones": {plain, "terraform {\n  backend \"local\" {\n    path = \"elsewhere.tfstate\"\n  }\n}\n"},
		"a module":                   {m, "module \"inner\" {\n  source = \"./inner\"\n}\n"},
		"another provider":           {m, "terraform {\n  required_providers {\n    builtin = {\n      source = \"terraform.io/builtin/terraform\"\n    }\n  }\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := peer(t, row.m, func(*Config) {})
			dir := m.foundation()
			if err := os.MkdirAll(filepath.Join(dir, "inner"), 0o700); err != nil {
				t.Fatal(err)
			}
			for path, content := range map[string]string{"main.tf": row.file, "versions.tf": azurerm, "inner/main.tf": "output \"o\" {\n  value = 1\n}\n", varsFile: "{}"} {
				if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := plan(m); err != nil || !initialised(m) || m.fallbacks.Load() != 0 {
				t.Errorf("got %v, initialised %v, %d fallbacks", err, initialised(m), m.fallbacks.Load())
			}
		})
	}
	t.Run("terraform says so", func(t *testing.T) {
		// A lock file for a version that is not there.
		m := peer(t, plain, func(cfg *Config) {
			cfg.Package.LockFile = strings.ReplaceAll(cfg.Package.LockFile, toolchain.ProviderVersion, "5.1.9")
		})
		existing := func(name string) *Existing {
			return &Existing{Name: name, ResourceGroupName: azuresim.DefaultResourceGroup}
		}
		f := Foundation{Name: "skls-test", ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation,
			LogAnalyticsWorkspace: existing("skls-test-logs"), ApplicationInsights: existing("skls-test-insights"), ServicePlan: existing("skls-test-plan")}
		if _, err := m.Foundation(t.Context(), f); err != nil || !initialised(m) {
			t.Errorf("got %v, initialised %v", err, initialised(m))
		}
	})
}

func TestEagerRunsAreBounded(t *testing.T) {
	m, _ := cloudWith(t, func(cfg *Config, _ *provider.Config) { cfg.EagerOperations = 1 })
	polls := func(s *session) string {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.lease.PID()))
		if err != nil {
			t.Error(err)
		}
		value := ""
		for entry := range strings.SplitSeq(string(content), "\x00") {
			if v, ok := strings.CutPrefix(entry, pollEagerly+"="); ok {
				value = v // the last counts
			}
		}
		return value
	}
	err := m.attempt(t.Context(), m.foundation(), func(first *session) error {
		if got := polls(first); got != "true" || !first.eager {
			t.Errorf("the first run polls eagerly: %q, %v", got, first.eager)
		}
		return m.attempt(t.Context(), m.foundation(), func(second *session) error {
			if got := polls(second); got != "false" || second.eager {
				t.Errorf("the second run polls eagerly: %q, %v", got, second.eager)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	plain := peer(t, m, func(cfg *Config) { cfg.Providers = nil })
	err = plain.attempt(t.Context(), m.foundation(), func(first *session) error {
		return plain.attempt(t.Context(), m.foundation(), func(second *session) error {
			if !first.eager || second.eager {
				t.Errorf("without started providers: %v and %v", first.eager, second.eager)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestNeeds(t *testing.T) {
	for name, row := range map[string]struct {
		files map[string]string
		want  needs
		err   string
	}{
		"nothing": {nil, needs{}, ""},
		"types of all kinds, and of the state": {map[string]string{
			"main.tf":      "resource \"azurerm_b\" \"x\" {}\ndata \"azurerm_c\" \"x\" {}\nephemeral \"azurerm_d\" \"x\" {}\nresource \"terraform_data\" \"x\" {}\n",
			"more.tf.json": `{"resource": {"azurerm_a": {"x": {}}}}`,
			stateFile:      `{"version": 4, "resources": [{"type": "azurerm_old"}, {"type": "azurerm_b"}]}`,
		}, needs{types: []string{"azurerm_a", "azurerm_b", "azurerm_c", "azurerm_d", "azurerm_old"}}, ""},
		"a backend in JSON": {map[string]string{"backend.tf.json": `{"terraform": {"backend": {"azurerm": {}}}}`}, needs{init: true}, ""},
		"a cloud":           {map[string]string{"main.tf": "terraform {\n  cloud {}\n}\n"}, needs{init: true}, ""},
		"azurerm alone":     {map[string]string{"main.tf": "terraform {\n  required_providers {\n    azurerm = {}\n  }\n}\n"}, needs{}, ""},
		"another provider":  {map[string]string{"main.tf": "terraform {\n  required_providers {\n    azurerm = {}\n    random = {}\n  }\n}\n"}, needs{init: true}, ""},
		"no HCL":            {map[string]string{"main.tf": "{"}, needs{}, "read configuration"},
		"no state":          {map[string]string{stateFile: "{"}, needs{}, "read state"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for path, content := range row.files {
				if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := needsOf(dir)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("got %v, want %q", err, row.err)
				}
				return
			}
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(needs{})); err != nil || diff != "" {
				t.Errorf("%v: %s", err, diff)
			}
		})
	}
}
