package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/tfmodules"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// noImports checks that no file of an import is left in a workspace.
func noImports(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, "imports*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// lastFolder returns the folder of the last operation of a kind in a workspace.
func lastFolder(t *testing.T, dir string, k kind) string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(dir, operationsDir, "*-"+string(k)))
	if err != nil || len(folders) == 0 {
		t.Fatalf("no %s in %s, %v", k, dir, err)
	}
	return folders[len(folders)-1]
}

// begun leaves a workspace as an operation whose apply was begun.
func begun(t *testing.T, dir string, op Operation) {
	t.Helper()
	_, last, err := operationFolders(dir)
	if err != nil {
		t.Fatal(err)
	}
	op.Applied = true
	folder := filepath.Join(dir, operationFolder(last+1, applying))
	if err := errors.Join(os.MkdirAll(folder, 0o700), writeVerdict(folder, op)); err != nil {
		t.Fatal(err)
	}
}

// keptPlan reads a plan that a workspace keeps as masked JSON.
func keptPlan(t *testing.T, dir string, k kind) *tfjson.Plan {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(lastFolder(t, dir, k), maskedPlan))
	if err != nil {
		t.Fatal(err)
	}
	var plan tfjson.Plan
	if err := json.Unmarshal(content, &plan); err != nil {
		t.Fatal(err)
	}
	return &plan
}

// writes counts the changes of function apps that Azure saw since the given number of calls.
func writes(sim *azuresim.Sim, since int) (n int) {
	for _, c := range sim.Calls()[since:] {
		if c.Method != http.MethodGet && sitePath.MatchString(c.Path) {
			n++
		}
	}
	return n
}

func TestImportBlocksAreLiteral(t *testing.T) {
	dir := t.TempDir()
	app := tfmodules.Resource{Address: "azurerm_x.this[0]"}
	if err := writeImports(dir, []importable{{Resource: app, id: `/a/${x}/%{if true}/$${y}/"q"`}}); err != nil {
		t.Fatal(err)
	}
	got := files(t, dir)[importsFile]
	want := `{
  "import": [
    {
      "to": "azurerm_x.this[0]",
      "id": "/a/$${x}/%%{if true}/$$${y}/\"q\""
    }
  ]
}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(dir, importsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", info, err)
	}
}

func TestOnlyImports(t *testing.T) {
	change := func(actions ...tfjson.Action) *tfjson.ResourceChange {
		return &tfjson.ResourceChange{
			Address: "a.b", Change: &tfjson.Change{Actions: actions, Importing: &tfjson.Importing{ID: "x"}},
		}
	}
	for name, row := range map[string]struct {
		actions tfjson.Actions
		refused bool
	}{
		"import":            {tfjson.Actions{tfjson.ActionNoop}, false},
		"read":              {tfjson.Actions{tfjson.ActionRead}, false},
		"import and update": {tfjson.Actions{tfjson.ActionUpdate}, true},
		"create":            {tfjson.Actions{tfjson.ActionCreate}, true},
		"replace":           {tfjson.Actions{tfjson.ActionDelete, tfjson.ActionCreate}, true},
	} {
		err := onlyImports(&tfjson.Plan{ResourceChanges: []*tfjson.ResourceChange{change(row.actions...)}})
		if errors.Is(err, errImportChanges) != row.refused {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// eachTool runs a test with terraform, with tofu, and without started providers.
func eachTool(t *testing.T, test func(*testing.T, *Manager, *azuresim.Sim)) {
	for name, row := range map[string]struct{ tofu, pooled bool }{
		"terraform": {false, true}, "tofu": {true, true}, "terraform with its own providers": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloudWith(t, func(cfg *Config, pool *provider.Config) {
				if row.tofu {
					useTofu(t, cfg)
				}
				if !row.pooled {
					pool.Path = ""
				}
			})
			test(t, m, sim)
			wantFallbacks(t, m, 0)
		})
	}
}

func useTofu(t *testing.T, cfg *Config) {
	t.Helper()
	tools := cloudtest.Tofu(t)
	if !tools.Tofu {
		t.Fatalf("got %+v", tools)
	}
	cfg.Terraform, cfg.InitKey = tools.Terraform, tools.Terraform
	cfg.Package.Path, cfg.Package.LockFile = tools.PackagePath(), tools.LockFile()
}

// ofTestApp returns the resources of the test's container.
func ofTestApp(m *Manager) []importable {
	return m.ofFunctionApp(testID, testSpec().Name, azuresim.DefaultResourceGroup)
}

// TestImportIsPartOfThePlan completes and destroys what an interrupted apply left, and looks at the kept plans.
func TestImportIsPartOfThePlan(t *testing.T) {
	eachTool(t, func(t *testing.T, m *Manager, sim *azuresim.Sim) {
		spec, _ := foundation(t, m)
		spec.Environment = map[string]string{"TOKEN": "hunter2"}
		t.Run("apply", func(t *testing.T) {
			interrupt(t, m, sim, spec)
			spec.Environment["LATER"] = "yes" // so that the app is changed, too
			outputs, err := m.Provision(t.Context(), testID, spec, nil)
			wantImported(t, outputs, err)
			if outputs.Operation.Plan.Change != 1 {
				t.Errorf("got %+v, want the app changed", outputs.Operation.Plan)
			}
			wantImport(t, m, keptPlan(t, m.Path(testID), applying), spec)
			noImports(t, m.Path(testID))
			if again := provision(t, m, spec); again.Operation.Plan != (Changes{}) {
				t.Errorf("second time: got %+v; want no change", again.Operation.Plan)
			}
			wantDestroyed(t, m, sim)
			if err := os.RemoveAll(m.ArchivePath(testID)); err != nil {
				t.Fatal(err)
			}
		})
		t.Run("destroy", func(t *testing.T) {
			interrupt(t, m, sim, spec)
			if op := wantDestroyed(t, m, sim); op.Plan != (Changes{Destroy: 1}) {
				t.Errorf("got %+v", op.Plan)
			}
			wantImport(t, m, keptPlan(t, m.ArchivePath(testID), importing), spec)
			op, err := readVerdict(filepath.Join(lastFolder(t, m.ArchivePath(testID), importing), verdict))
			if err != nil || op == nil || op.Plan != (Changes{Import: 1}) || op.Error != "" || op.Finished.IsZero() {
				t.Errorf("got %+v, %v; want the verdict of the import", op, err)
			}
		})
	})
}

// wantImport checks that a plan imports the app and shows none of its secrets.
func wantImport(t *testing.T, m *Manager, plan *tfjson.Plan, spec FunctionApp) {
	t.Helper()
	id := ""
	for _, rc := range plan.ResourceChanges {
		if rc.Address == "azurerm_linux_function_app.this" && rc.Change.Importing != nil {
			id = rc.Change.Importing.ID
		}
	}
	if want := m.resourceID(spec.ResourceGroupName, "Microsoft.Web/sites", spec.Name); id != want {
		t.Errorf("the plan imports %q, want %q", id, want)
	}
	content, err := json.Marshal(plan)
	if err != nil || strings.Contains(string(content), "hunter2") {
		t.Errorf("the masked plan holds the environment: %s, %v", content, err)
	}
}

// TestDestroyedOrphanIsNotChanged destroys an app that has no workspace.
func TestDestroyedOrphanIsNotChanged(t *testing.T) {
	eachTool(t, func(t *testing.T, m *Manager, sim *azuresim.Sim) {
		spec, _ := foundation(t, m)
		provision(t, m, spec)
		if err := os.RemoveAll(m.Path(testID)); err != nil {
			t.Fatal(err)
		}
		before := len(sim.Calls())
		if op := wantDestroyed(t, m, sim); op.Plan != (Changes{Destroy: 1}) {
			t.Errorf("got %+v", op.Plan)
		}
		if n := writes(sim, before); n != 1 {
			t.Errorf("Azure saw %d changes of the app, want the one that deletes it", n)
		}
		noImports(t, m.ArchivePath(testID))
	})
}

// TestAppOfAnotherContainerStays destroys a container whose app's name is taken by another container's.
func TestAppOfAnotherContainerStays(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	other := containerOf(testID)
	other.ID = strings.Repeat("f", 64)
	if _, err := m.Destroy(t.Context(), other, nil); err != nil || len(sim.Sites()) != 1 {
		t.Errorf("got %v with %v, want the app as it was", err, sim.Sites())
	}
}

// TestImportThatWasKilled leaves the files of an import in a workspace, before and after the state was written.
func TestImportThatWasKilled(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	leave := func(t *testing.T) {
		t.Helper()
		if err := writeImports(m.Path(testID), ofTestApp(m)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the state knows the app", func(t *testing.T) {
		provision(t, m, spec)
		begun(t, m.Path(testID), Operation{})
		leave(t)
		if again := provision(t, m, spec); again.Operation.Plan != (Changes{}) {
			t.Errorf("got %+v; want no change", again.Operation.Plan)
		}
		leave(t)
		wantDestroyed(t, m, sim)
		noImports(t, m.ArchivePath(testID))
		if err := os.RemoveAll(m.ArchivePath(testID)); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the state does not know it", func(t *testing.T) {
		interrupt(t, m, sim, spec)
		leave(t)
		wantDestroyed(t, m, sim)
		noImports(t, m.ArchivePath(testID))
	})
}

// TestImportBlockOfAKnownResource plans an import of an app that the state has already.
func TestImportBlockOfAKnownResource(t *testing.T) {
	m, _ := cloud(t)
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	err := m.retry(t.Context(), task{dir: m.Path(testID), do: func(ctx context.Context, s *session) error {
		op, err := m.operateImporting(ctx, importing, s, ofTestApp(m))
		if op.Plan != (Changes{}) {
			t.Errorf("got %+v, want no change", op.Plan)
		}
		return err
	}})
	if err != nil {
		t.Error(err)
	}
}

// TestConfigurationOfOthersIsNoPartOfARemoval adds a second app, and what is no configuration at all, to a workspace.
func TestConfigurationOfOthersIsNoPartOfARemoval(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	interrupt(t, m, sim, spec)
	second := regexp.MustCompile(`(?s)resource "azurerm_linux_function_app" "this" \{\n  name .*?\n(.*)`)
	content, err := os.ReadFile(filepath.Join(m.Path(testID), "main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	found := second.FindSubmatch(content)
	if found == nil {
		t.Fatal("the module has another form")
	}
	added := "resource \"azurerm_linux_function_app\" \"second\" {\n  name = \"skls-second\"\n" + string(found[1])
	for name, content := range map[string]string{"second.tf": added, "broken.tf.json": "{", "broken.auto.tfvars": "{"} {
		if err := os.WriteFile(filepath.Join(m.Path(testID), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := len(sim.Calls())
	if op := wantDestroyed(t, m, sim); op.Plan != (Changes{Destroy: 1}) || writes(sim, before) != 1 {
		t.Errorf("got %+v with %d changes in Azure", op.Plan, writes(sim, before))
	}
}
