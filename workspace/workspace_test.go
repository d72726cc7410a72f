package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/rs/zerolog"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/tfmodules"
	"github.com/sockerless/backend-azf/workspace/provider"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sitePath matches the function app alone, not what lies below it.
var sitePath = regexp.MustCompile(`/sites/[^/]+$`)

var testID = strings.Repeat("0123456789abcdef", 4)

const nasty = "${x} %{if true} $${y} \"q\" \\ 'a' <&> \u2028\nsecond line\x01"

func testSpec() FunctionApp {
	user, password := "robot", "registry "+nasty
	return FunctionApp{
		Name: "skls-" + testID[:20], ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation,
		ServicePlanID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/serverFarms/p", AlwaysOn: true,
		StorageAccountName: azuresim.DefaultStorageAccount, StorageAccountResourceGroupName: azuresim.DefaultResourceGroup,
		ApplicationInsightsConnectionString: "InstrumentationKey=secret",
		RegistryURL:                         "https://registry.example.com", RegistryUsername: &user, RegistryPassword: &password,
		ImageName: "team/app", ImageTag: "1", Command: []string{"sh", "-c", nasty}, WorkingDir: "/", FunctionTimeout: "00:11:00",
		Environment: map[string]string{"NASTY": nasty, "EMPTY": ""}, Tags: map[string]string{"sockerless-container-id": testID, "label": nasty[:20]},
	}
}

func TestRenderedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "w")
	if err := render(dir, tfmodules.FunctionApp(), testSpec()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, varsFile))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", varsFile)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"main.tf", "variables.tf", "outputs.tf", varsFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name != varsFile && strings.Contains(string(content), "robot") {
			t.Errorf("%s holds a user's string", name)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v; want mode 0700", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("got %v, %v; want four files", entries, err)
	}
}

// TestSpecsAreTheModulesVariables keeps the two lists one.
func TestSpecsAreTheModulesVariables(t *testing.T) {
	for name, spec := range map[string]any{"functionapp": FunctionApp{}, "foundation": Foundation{}} {
		content, err := os.ReadFile(filepath.Join("../tfmodules", name, "variables.tf"))
		if err != nil {
			t.Fatal(err)
		}
		declared := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^variable "(\w+)"`).FindAllStringSubmatch(string(content), -1) {
			declared[m[1]] = true
		}
		encoded, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		var given map[string]any
		if err := json.Unmarshal(encoded, &given); err != nil {
			t.Fatal(err)
		}
		delete(declared, "log_retention_in_days") // its default is ours
		for key := range given {
			if !declared[key] {
				t.Errorf("%s declares no variable %s", name, key)
			}
			delete(declared, key)
		}
		for key := range declared {
			t.Errorf("%s: the spec does not give %s", name, key)
		}
	}
}

func TestEnvironmentIsAnAllowList(t *testing.T) {
	got := Environment([]string{"PATH=/bin", "SECRET=s", "AWS_SECRET_ACCESS_KEY=s", "TF_CLI_ARGS=-bogus", "TF_VAR_name=evil", "ARM_CLIENT_SECRET=of another", "broken"}, map[string]string{"ARM_CLIENT_SECRET": "ours"})
	want := map[string]string{"PATH": "/bin", "ARM_CLIENT_SECRET": "ours", "CHECKPOINT_DISABLE": "1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMask(t *testing.T) {
	value := map[string]any{"plain": "a", "secret": "b", "list": []any{"c", "d"}, "deep": map[string]any{"x": "e", "y": "f"}, "none": nil}
	sensitive := map[string]any{"secret": true, "list": []any{false, true}, "deep": map[string]any{"y": true}, "none": true, "missing": true}
	want := map[string]any{"plain": "a", "secret": redacted, "list": []any{"c", redacted}, "deep": map[string]any{"x": "e", "y": redacted}, "none": nil}
	if diff := cmp.Diff(any(want), mask(value, sensitive)); diff != "" {
		t.Error(diff)
	}
	if got := mask(value, true); got != redacted {
		t.Errorf("got %v, want all of it masked", got)
	}
}

func TestRedactHidesWhatItCannotJudge(t *testing.T) {
	plan := redact(&tfjson.Plan{
		Variables:     map[string]*tfjson.PlanVariable{"v": {Value: "s"}},
		PlannedValues: &tfjson.StateValues{RootModule: &tfjson.StateModule{Resources: []*tfjson.StateResource{{AttributeValues: map[string]any{"a": "s"}}}}},
	})
	if plan.Variables["v"].Value != redacted || len(plan.PlannedValues.RootModule.Resources[0].AttributeValues) != 0 {
		t.Errorf("got %v and %v", plan.Variables["v"].Value, plan.PlannedValues.RootModule.Resources[0].AttributeValues)
	}
}

func TestReadErrors(t *testing.T) {
	output := `not JSON
{"type": "version"}
{"type": "diagnostic", "diagnostic": {"severity": "warning", "summary": "w"}}
{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "same", "detail": "same"}}
{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "same", "detail": ""}}
{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "long", "detail": "` + strings.Repeat("x", 200<<10) + `"}}`
	got, err := readErrors(strings.NewReader(output))
	if err != nil || len(got) != 2 || got[0] != "same" || len(got[1]) != 200<<10+len("long: ") {
		t.Errorf("got %d errors, %v", len(got), err)
	}
}

func TestVerdicts(t *testing.T) {
	ended := Operation{Finished: Operation{}.Started.AddDate(1, 0, 0)}
	failed, succeeded, wrote := ended, ended, ended
	failed.Error, wrote.Error, wrote.StateWritten = "x", "x", true
	for name, row := range map[string]struct {
		run         *Operation
		state, left bool
	}{"never applied": {nil, false, false}, "killed": {&Operation{}, false, true}, "succeeded": {&succeeded, true, false}, "failed with nothing": {&failed, false, true}, "failed with a state": {&wrote, true, true}} {
		if row.run.leftState() != row.state || row.run.mayHaveLeft() != row.left {
			t.Errorf("%s: got %v and %v", name, row.run.leftState(), row.run.mayHaveLeft())
		}
	}
}

func noFind(context.Context, string) (Found, bool, error) { return Found{}, false, nil }

// cloud is the simulator with real tools, and a manager over them.
func cloud(t *testing.T) (*Manager, *azuresim.Sim) {
	t.Helper()
	return cloudWith(t, nil)
}

// cloudWith lets change adapt the manager's configuration, and that of the provider pool, which is started unless its Path is emptied.
func cloudWith(t *testing.T, change func(*Config, *provider.Config)) (*Manager, *azuresim.Sim) {
	t.Helper()
	tools, err := toolchain.Prepare(t.Context(), toolchain.Config{})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := azuresim.Start(azuresim.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := Config{
		Dir: t.TempDir(), Terraform: tools.Terraform, CLIConfig: tools.CLIConfig(), InitKey: tools.ProviderSHA256, EagerOperations: 4,
		Package: Package{Dir: filepath.Dir(tools.ProviderPath), Path: tools.PackagePath(), LockFile: tools.LockFile()},
		// Either would break every run if it arrived.
		Environ: append(os.Environ(), "TF_CLI_ARGS=-bogus", "ARM_CLIENT_CERTIFICATE_PATH=/nowhere"),
		Env: map[string]string{
			"ARM_SUBSCRIPTION_ID": azuresim.DefaultSubscriptionID, "ARM_TENANT_ID": azuresim.DefaultTenantID, "ARM_CLIENT_ID": azuresim.DefaultClientID,
			"ARM_CLIENT_SECRET": azuresim.DefaultClientSecret, "ARM_USE_CLI": "false", "ARM_METADATA_HOSTNAME": strings.TrimPrefix(sim.URL(), "https://"),
			"SSL_CERT_FILE": sim.CAFile(),
		},
		SubscriptionID: azuresim.DefaultSubscriptionID,
		Find: func(_ context.Context, id string) (Found, bool, error) {
			for _, r := range sim.Resources() {
				if strings.EqualFold(r.ID, id) {
					return Found{ID: r.ID, Tags: r.Tags}, true, nil
				}
			}
			return Found{}, false, nil
		},
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	}
	pool := provider.Config{Path: tools.ProviderPath, Env: EagerEnvironment(cfg.Environ, cfg.Env), Dir: filepath.Join(t.TempDir(), "p"), Size: 1, Log: cfg.Log}
	if change != nil {
		change(&cfg, &pool)
	}
	if pool.Path != "" {
		if cfg.Providers, err = provider.New(pool); err != nil {
			t.Fatal(err)
		}
		if err := cfg.Providers.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cfg.Providers.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m, sim
}

// foundation makes the shared workspace and a spec that fits it.
func foundation(t *testing.T, m *Manager) (FunctionApp, Foundation) {
	t.Helper()
	f := Foundation{Name: "skls-test", ResourceGroupName: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation, ServicePlanSKU: "B1", Tags: map[string]string{OwnerTag: "test"}}
	made, err := m.Foundation(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if made.Operation.Plan != (Changes{Add: 3}) || made.ServicePlanSKU != "B1" || made.LogAnalyticsID == "" || made.InsightsConnection == "" {
		t.Errorf("got %+v", made)
	}
	spec := testSpec()
	spec.ServicePlanID, spec.ApplicationInsightsConnectionString = made.ServicePlanID, made.InsightsConnection
	return spec, f
}

func TestExistingFoundation(t *testing.T) {
	m, _ := cloud(t)
	if _, err := m.FoundationOutputs(t.Context()); !errors.Is(err, ErrNoWorkspace) {
		t.Errorf("before it is made: got %v", err)
	}
	_, f := foundation(t, m)
	again, err := m.Foundation(t.Context(), f)
	if err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("second time: got %+v, %v; want no change", again.Operation.Plan, err)
	}
	read, err := m.FoundationOutputs(t.Context())
	if again.Operation = (Operation{}); err != nil || read != again {
		t.Errorf("got %+v, %v; want %+v", read, err, again)
	}
	// Another daemon names what the first one made.
	other, err := New(Config{Dir: t.TempDir(), Terraform: m.cfg.Terraform, CLIConfig: m.cfg.CLIConfig, Environ: m.cfg.Environ, Env: m.cfg.Env, SubscriptionID: m.cfg.SubscriptionID, Find: m.cfg.Find, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	existing := func(name string) *Existing {
		return &Existing{Name: name, ResourceGroupName: azuresim.DefaultResourceGroup}
	}
	f.LogAnalyticsWorkspace, f.ApplicationInsights, f.ServicePlan = existing("skls-test-logs"), existing("skls-test-insights"), existing("skls-test-plan")
	named, err := other.Foundation(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if named.Operation.Plan != (Changes{}) || !strings.EqualFold(named.ServicePlanID, again.ServicePlanID) || named.LogAnalyticsID != again.LogAnalyticsID || named.InsightsConnection != again.InsightsConnection {
		t.Errorf("got %+v, want %+v", named, again)
	}
}

func TestIdentityKeepsTheKeyOutOfState(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	spec.Identity = &Identity{
		ID:       "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + azuresim.DefaultIdentity,
		ClientID: "11111111-2222-3333-4444-555555555555",
	}
	spec.RegistryUsername, spec.RegistryPassword, spec.RegistryUsesIdentity = nil, nil, true
	if _, err := m.Provision(t.Context(), testID, spec); err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(filepath.Join(m.Path(testID), stateFile))
	if err != nil || strings.Contains(string(state), "AccountKey") || strings.Contains(string(state), "primary_access_key") {
		t.Errorf("the state holds the storage account's key, %v", err)
	}
	if again, err := m.Provision(t.Context(), testID, spec); err != nil || again.Operation.Plan != (Changes{}) {
		t.Errorf("second time: got %+v, %v; want no change", again.Operation.Plan, err)
	}
	if _, err := m.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) != 0 {
		t.Errorf("got %v with %v left", err, sim.Sites())
	}
	if _, err := m.Destroy(t.Context(), testID); err != nil {
		t.Errorf("destroyed already: %v", err)
	}
}

// cancelAtPut calls cancel when an app has been made. Its answer is lost, so that the provider cannot be faster.
func cancelAtPut(sim *azuresim.Sim, app string, cancel func()) {
	put := azuresim.Rule{Method: http.MethodPut, Path: regexp.MustCompile("/" + app + "$"), Drop: azuresim.DropAfter}
	sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{put}, AfterWrite: func(method, path string, _ int) {
		if method == http.MethodPut && strings.HasSuffix(path, app) {
			cancel()
		}
	}})
}

// TestInterruptedApplyLeavesNothing interrupts terraform when Azure has made the app and the provider does not know it yet.
func TestInterruptedApplyLeavesNothing(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	interrupted := func(t *testing.T) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancelAtPut(sim, spec.Name, cancel)
		_, err := m.Provision(ctx, testID, spec)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the cancellation", err)
		}
		sim.SetFaults(azuresim.Faults{})
		if known, err := readState(m.Path(testID)); len(sim.Sites()) != 1 || len(known.managed()) != 0 {
			t.Fatalf("the state knows %v (%v) of %v: the test tests nothing", known.managed(), err, sim.Sites())
		}
	}
	t.Run("the next run completes it", func(t *testing.T) {
		interrupted(t)
		made, err := m.Provision(t.Context(), testID, spec)
		if err != nil || made.Operation.Plan.Add != 0 || made.Operation.Plan.Destroy != 0 || made.HostName == "" {
			t.Errorf("got %+v, %v; want it imported", made, err)
		}
		if _, err := m.Destroy(t.Context(), testID); err != nil || len(sim.Sites()) != 0 {
			t.Errorf("got %v with %v left", err, sim.Sites())
		}
		if err := os.RemoveAll(m.ArchivePath(testID)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("destroy finds it", func(t *testing.T) {
		interrupted(t)
		if run, err := m.Destroy(t.Context(), testID); err != nil || run.Plan.Destroy != 1 || len(sim.Sites()) != 0 {
			t.Errorf("got %+v, %v with %v left", run.Plan, err, sim.Sites())
		}
	})
}

func TestFailedApply(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	spec.FunctionTimeout = "soon"
	_, err := m.Provision(t.Context(), testID, spec)
	var failed *TerraformError
	if !errors.As(err, &failed) || failed.Step != "plan" || !strings.Contains(failed.Error(), "hh:mm:ss") || failed.CorrelationID == "" {
		t.Fatalf("got %v, want the module's own words", err)
	}
	// Nothing was applied, so nothing is missing.
	if _, err := m.Destroy(t.Context(), testID); err != nil {
		t.Errorf("destroy of nothing: %v", err)
	}
	if _, err := m.Destroy(t.Context(), strings.Repeat("f", 64)); !errors.Is(err, ErrNoWorkspace) {
		t.Errorf("got %v, want no workspace", err)
	}
	if _, err := m.Provision(t.Context(), "../../etc", spec); err == nil {
		t.Error("an id that is a path was taken")
	}
	if len(sim.Sites()) != 0 {
		t.Errorf("function apps: %v", sim.Sites())
	}
}
