package workspace

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/workspace/provider"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// sitePath matches the function app alone, not what lies below it.
var sitePath = regexp.MustCompile(`/sites/[^/]+$`)

var testID = strings.Repeat("0123456789abcdef", 4)

const nasty = "${x} %{if true} $${y} \"q\" \\ 'a' <&> \u2028\nsecond line\x01"

func testSpec() FunctionApp {
	user, password := "robot", "registry "+nasty
	return FunctionApp{
		Name: "skls-" + testID[:20], ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation,
		ServicePlanID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/serverFarms/p", AlwaysOn: true,
		StorageAccountName:                  azuresim.DefaultStorageAccount,
		StorageAccountResourceGroupName:     azuresim.DefaultResourceGroup,
		ApplicationInsightsConnectionString: "InstrumentationKey=secret",
		RegistryURL:                         "https://registry.example.com",
		RegistryUsername:                    &user, RegistryPassword: &password,
		ImageName: "team/app", ImageTag: "1", Command: []string{"sh", "-c", nasty}, WorkingDir: "/",
		FunctionTimeout: "00:11:00",
		Environment:     map[string]string{"NASTY": nasty, "EMPTY": ""}, EnvironmentNames: []string{"EMPTY", "NASTY"},
		HandlerSettings: map[string]string{"AZF_SPEC": "1", "AZF_SPEC_0": "c2VjcmV0IHNwZWM"}, User: "ci",
		Tags: map[string]string{"sockerless-container-id": testID, "label": nasty[:20]},
	}
}

func noFind(context.Context, string) (Found, bool, error) { return Found{}, false, nil }

// local returns a manager without Azure, a provider or a usable terraform, unless change adds them.
func local(t *testing.T, change func(*Config)) *Manager {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Terraform: "none", SubscriptionID: "s", Find: noFind, Log: zerolog.Nop()}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// cloud returns a manager with real tools, and the simulator that they use.
func cloud(t *testing.T) (*Manager, *azuresim.Sim) {
	t.Helper()
	return cloudWith(t, nil)
}

// cloudWith lets change adapt the configuration of the manager and of the provider pool. The pool is started unless its
// Path is empty then.
func cloudWith(t *testing.T, change func(*Config, *provider.Config)) (*Manager, *azuresim.Sim) {
	t.Helper()
	tools := cloudtest.Tools(t)
	c := cloudtest.Start(t, azuresim.Config{Log: zerolog.Nop()})
	cfg := Config{
		Dir: t.TempDir(), Terraform: tools.Terraform, CLIConfig: tools.CLIConfig(), InitKey: tools.ProviderSHA256,
		EagerOperations: 4,
		Package: Package{
			Dir: filepath.Dir(tools.ProviderPath), Path: tools.PackagePath(), Version: tools.ProviderVersion,
			LockFile: tools.LockFile(),
		},
		// Either would break every operation if it arrived.
		Environ:        append(os.Environ(), "TF_CLI_ARGS=-bogus", "ARM_CLIENT_CERTIFICATE_PATH=/nowhere"),
		Env:            c.Access.TerraformEnv(),
		SubscriptionID: c.Access.SubscriptionID,
		Find: func(_ context.Context, id string) (Found, bool, error) {
			for _, r := range c.Sim.Resources() {
				if strings.EqualFold(r.ID, id) {
					return Found{ID: r.ID, Tags: r.Tags}, true, nil
				}
			}
			return Found{}, false, nil
		},
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	}
	pool := provider.Config{
		Path: tools.ProviderPath, Env: EagerEnvironment(cfg.Environ, cfg.Env), Dir: filepath.Join(t.TempDir(), "p"), Size: 1,
		Log: cfg.Log,
	}
	if change != nil {
		change(&cfg, &pool)
	}
	if pool.Path != "" {
		cfg.Providers = startPool(t, pool)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m, c.Sim
}

// startPool starts a pool that is closed with the test.
func startPool(t *testing.T, cfg provider.Config) *provider.Pool {
	t.Helper()
	pool, err := provider.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// peer returns a manager on the same simulated Azure, with a folder of its own.
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

// foundation creates what containers share and the first service plan, and returns a spec that fits them.
func foundation(t *testing.T, m *Manager) (FunctionApp, Foundation) {
	t.Helper()
	f := Foundation{
		Name: "skls-test", ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation,
		Tags: map[string]string{OwnerTag: "test"},
	}
	outputs, err := m.Foundation(t.Context(), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if outputs.Operation.Plan != (Changes{Add: 2}) || outputs.LogAnalyticsID == "" || outputs.InsightsConnection == "" ||
		outputs.EarlierServicePlan != "" {
		t.Errorf("got %+v", outputs)
	}
	spec := testSpec()
	spec.ServicePlanID = servicePlan(t, m, FirstServicePlan).ResourceID
	spec.ApplicationInsightsConnectionString = outputs.InsightsConnection
	return spec, f
}

// planSpec returns the spec of a service plan.
func planSpec(id string) ServicePlan {
	name := "skls-test-plan"
	if id != FirstServicePlan {
		name += "-" + id
	}
	return ServicePlan{
		Name: name, ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation, SKU: "B1",
		Tags: map[string]string{OwnerTag: "test"},
	}
}

// planOf returns what DestroyServicePlan must know of a service plan. Its creation may have begun.
func planOf(id string) PlanRemoval {
	return PlanRemoval{
		ID: id, Name: planSpec(id).Name, ResourceGroup: azuresim.DefaultResourceGroup, Owner: "test", Begun: true,
	}
}

// servicePlan provisions a service plan and fails the test if that fails.
func servicePlan(t *testing.T, m *Manager, id string) ServicePlanOutputs {
	t.Helper()
	outputs, err := m.ProvisionServicePlan(t.Context(), id, planSpec(id), nil)
	if err != nil || outputs.SKU != "B1" || outputs.TaggedOtherwise {
		t.Fatalf("got %+v, %v", outputs, err)
	}
	return outputs
}

// named returns f with the resources of foundation as existing ones.
func named(f Foundation) Foundation {
	existing := func(name string) *Existing {
		return &Existing{Name: name, ResourceGroupName: azuresim.DefaultResourceGroup}
	}
	f.LogAnalyticsWorkspace, f.ApplicationInsights = existing("skls-test-logs"), existing("skls-test-insights")
	return f
}

// containerOf returns what Destroy must know of a container. The creation of its app may have begun.
func containerOf(id string) Container {
	return Container{ID: id, FunctionApp: "skls-" + id[:20], ResourceGroup: azuresim.DefaultResourceGroup, Begun: true}
}

// another returns the id and the spec of a second container.
func another(spec FunctionApp) (string, FunctionApp) {
	id := strings.Repeat("fedcba9876543210", 4)
	spec.Name, spec.Tags = "skls-"+id[:20], map[string]string{IDTag: id}
	return id, spec
}

// provision provisions the test's container and fails the test if that fails.
func provision(t *testing.T, m *Manager, spec FunctionApp) FunctionAppOutputs {
	t.Helper()
	outputs, err := m.Provision(t.Context(), testID, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return outputs
}

// wantDestroyed destroys the test's container and checks that no app is left in Azure.
func wantDestroyed(t *testing.T, m *Manager, sim *azuresim.Sim) Operation {
	t.Helper()
	op, err := m.Destroy(t.Context(), containerOf(testID), nil)
	if err != nil || len(sim.Sites()) != 0 {
		t.Errorf("destroy: got %v with %v left", err, sim.Sites())
	}
	return op
}

// wantImported checks that outputs are those of an app that was imported, and neither created nor destroyed.
func wantImported(t *testing.T, outputs FunctionAppOutputs, err error) {
	t.Helper()
	plan := outputs.Operation.Plan
	if err != nil || plan.Import != 1 || plan.Add != 0 || plan.Destroy != 0 || outputs.HostName == "" {
		t.Errorf("got %+v, %v; want the app imported", outputs, err)
	}
}

// interrupt provisions the test's container and interrupts terraform when Azure has created the app and the provider
// does not know it yet: the answer is lost, so that the provider cannot be faster.
func interrupt(t *testing.T, m *Manager, sim *azuresim.Sim, spec FunctionApp) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	put := azuresim.Rule{
		Method: http.MethodPut, Path: regexp.MustCompile("/" + spec.Name + "$"), Drop: azuresim.DropAfter,
	}
	created := func(method, path string, _ int) {
		if method == http.MethodPut && strings.HasSuffix(path, spec.Name) {
			cancel()
		}
	}
	sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{put}, AfterWrite: created})
	_, err := m.Provision(ctx, testID, spec, nil)
	sim.SetFaults(azuresim.Faults{})
	if !errors.Is(err, context.Canceled) || len(sim.Sites()) != 1 {
		t.Fatalf("got %v with %v: the test tests nothing", err, sim.Sites())
	}
}

// terraformProcesses returns the terraform processes of a manager with a word in their command line, without their
// providers.
func terraformProcesses(t *testing.T, m *Manager, word string) []azuretest.Process {
	t.Helper()
	return azuretest.Processes(t, func(p azuretest.Process) bool {
		if p.Getenv(cliConfigEnv) != m.env[cliConfigEnv] {
			return false
		}
		return slices.Contains(p.Args, word)
	})
}

// kill kills a process.
func kill(t *testing.T, p azuretest.Process) {
	t.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}
