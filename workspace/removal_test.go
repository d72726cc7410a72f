package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// storageAccountID is the resource id of the storage account that testSpec names.
const storageAccountID = "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" +
	azuresim.DefaultResourceGroup + "/providers/Microsoft.Storage/storageAccounts/" + azuresim.DefaultStorageAccount

// losses are what a removal does not need. lose takes it away.
var losses = map[string]func(t *testing.T, m *Manager, sim *azuresim.Sim, spec FunctionApp){
	"storage account": func(t *testing.T, _ *Manager, sim *azuresim.Sim, _ FunctionApp) {
		deleteByHand(t, sim, storageAccountID)
	},
	"service plan": func(t *testing.T, _ *Manager, sim *azuresim.Sim, spec FunctionApp) {
		deleteByHand(t, sim, spec.ServicePlanID)
	},
	"Application Insights": func(t *testing.T, m *Manager, sim *azuresim.Sim, spec FunctionApp) {
		deleteByHand(t, sim, m.resourceID(spec.ResourceGroupName, "Microsoft.Insights/components", "skls-test-insights"))
	},
	"the app": func(t *testing.T, _ *Manager, sim *azuresim.Sim, spec FunctionApp) {
		for _, r := range sim.Resources() {
			if strings.HasSuffix(r.ID, "/"+spec.Name) {
				deleteByHand(t, sim, r.ID)
			}
		}
	},
	"resource group": func(_ *testing.T, _ *Manager, sim *azuresim.Sim, spec FunctionApp) {
		sim.DeleteResourceGroup(spec.ResourceGroupName)
	},
}

func deleteByHand(t *testing.T, sim *azuresim.Sim, id string) {
	t.Helper()
	if err := sim.Delete(id); err != nil {
		t.Fatal(err)
	}
}

// TestRemovalNeedsNothingElse takes away what the app was created with, of an app that the state knows and of one that
// a killed apply left behind.
func TestRemovalNeedsNothingElse(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			m, sim := cloud(t)
			spec, _ := foundation(t, m)
			removeTwo(t, m, sim, spec, func() { lose(t, m, sim, spec) })
		})
	}
}

// TestRemovalNeedsNoRights takes the rights away to read what the app was created with.
func TestRemovalNeedsNoRights(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	for name, actions := range map[string][]string{
		"list keys":                  {"Microsoft.Storage/storageAccounts/listKeys/action"},
		"read plans":                 {"Microsoft.Web/serverfarms/read"},
		"read settings":              {"Microsoft.Web/sites/config/*"},
		"read storage and the group": {"Microsoft.Storage/*", "Microsoft.Resources/subscriptions/resourceGroups/read"},
		"all but to read and delete apps": {
			"Microsoft.Storage/*", "Microsoft.Web/serverfarms/*", "Microsoft.Web/sites/*/*", "Microsoft.Insights/*",
			"Microsoft.OperationalInsights/*",
		},
	} {
		t.Run(name, func(t *testing.T) {
			removeTwo(t, m, sim, spec, func() { sim.Deny(actions...) })
			sim.Allow()
			for _, id := range []string{testID, strings.Repeat("fedcba9876543210", 4)} {
				if err := os.RemoveAll(m.ArchivePath(id)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// removeTwo creates two apps, of which the state knows one, and removes both after lose.
func removeTwo(t *testing.T, m *Manager, sim *azuresim.Sim, spec FunctionApp, lose func()) {
	t.Helper()
	provision(t, m, spec)
	id, other := another(spec)
	if _, err := m.Provision(t.Context(), id, other, nil); err != nil {
		t.Fatal(err)
	}
	forgetState(t, m, id)
	lose()
	for _, id := range []string{testID, id} {
		if _, err := m.Destroy(t.Context(), containerOf(id), nil); err != nil {
			t.Errorf("%s: %v", id[:4], err)
		}
	}
	if left := sim.Sites(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// forgetState leaves a workspace as a killed first apply does.
func forgetState(t *testing.T, m *Manager, id string) {
	t.Helper()
	dir := m.Path(id)
	if err := errors.Join(remove(dir, stateFile), remove(dir, backupFile)); err != nil {
		t.Fatal(err)
	}
	begun(t, dir, Operation{})
}

// TestRemovalOfAnAppThatIsGone deletes the app by hand while the provider may not read it, so that it tries to delete
// it.
func TestRemovalOfAnAppThatIsGone(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	sim.Deny("Microsoft.Web/sites/config/*", "Microsoft.Web/sites/read")
	losses["the app"](t, m, sim, spec)
	wantDestroyed(t, m, sim)
}

// TestRemovalWithDamagedFiles damages the files of a workspace in each way.
func TestRemovalWithDamagedFiles(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	spec, _ := foundation(t, m)
	dir, first := m.Path(testID), filepath.Join(operationFolder(1, applying), verdict)
	write := func(name, content string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
	}
	half := func(name string) error {
		content, err := os.ReadFile(filepath.Join(dir, name))
		return errors.Join(err, write(name, string(content[:len(content)/2])))
	}
	for name, damage := range map[string]func() error{
		"state {}":                  func() error { return write(stateFile, "{}") },
		"state null":                func() error { return write(stateFile, "null") },
		"state emptied":             func() error { return write(stateFile, "") },
		"state truncated":           func() error { return half(stateFile) },
		"state lost":                func() error { return remove(dir, stateFile) },
		"state, older":              func() error { return older(dir) },
		"state and verdict":         func() error { return errors.Join(write(stateFile, "{}"), half(first)) },
		"state and no verdict":      func() error { return errors.Join(write(stateFile, "{}"), remove(dir, first)) },
		"variables lost":            func() error { return remove(dir, varsFile) },
		"variables truncated":       func() error { return half(varsFile) },
		"variables and state":       func() error { return errors.Join(half(varsFile), half(stateFile)) },
		"module lost":               func() error { return remove(dir, "main.tf") },
		"module truncated":          func() error { return errors.Join(half("main.tf"), half("variables.tf")) },
		"lock file truncated":       func() error { return half(lockFile) },
		"version lost":              func() error { return remove(dir, versionFile) },
		"errored state, an old one": func() error { return errored(dir) },
		"the whole workspace":       func() error { return os.RemoveAll(dir) },
	} {
		t.Run(name, func(t *testing.T) {
			provision(t, m, spec)
			if err := errors.Join(remove(dir, backupFile), damage()); err != nil {
				t.Fatal(err)
			}
			wantDestroyed(t, m, sim)
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the workspace is still in use: %v", err)
			}
			if err := os.RemoveAll(m.ArchivePath(testID)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// older puts an earlier state without the app in a workspace: of the same lineage, with a lower serial.
func older(dir string) error {
	known, err := readState(dir)
	if err != nil {
		return err
	}
	content := `{"version": 4, "serial": 0, "lineage": "` + known.Lineage + `", "outputs": {}, "resources": []}`
	return os.WriteFile(filepath.Join(dir, stateFile), []byte(content), 0o600)
}

// errored puts an earlier state without the app in errored.tfstate.
func errored(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return err
	}
	if err := older(dir); err != nil {
		return err
	}
	return errors.Join(os.Rename(filepath.Join(dir, stateFile), filepath.Join(dir, erroredFile)),
		os.WriteFile(filepath.Join(dir, stateFile), content, 0o600))
}

// TestCompletionWithDamagedFiles lets Provision go on in a workspace whose state was lost or exchanged.
func TestCompletionWithDamagedFiles(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	dir := m.Path(testID)
	for name, content := range map[string]string{
		"{}": "{}", "null": "null", "lost": "",
	} {
		t.Run(name, func(t *testing.T) {
			err := errors.Join(remove(dir, backupFile), os.WriteFile(filepath.Join(dir, stateFile), []byte(content), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			outputs, err := m.Provision(t.Context(), testID, spec, nil)
			wantImported(t, outputs, err)
		})
	}
	wantDestroyed(t, m, sim)
}
