package workspace

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/tfmodules"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRenderedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "w")
	if err := render(dir, tfmodules.FunctionApp(), testSpec()); err != nil {
		t.Fatal(err)
	}
	t.Run("variables", func(t *testing.T) {
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
	})
	t.Run("files", func(t *testing.T) {
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
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
			t.Errorf("got %v, %v; want four files", entries, err)
		}
	})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v; want mode 0700", info, err)
	}
}

// TestSpecsAreTheModulesVariables compares the fields of the specs with the variables of the modules.
func TestSpecsAreTheModulesVariables(t *testing.T) {
	for name, spec := range map[string]any{
		"functionapp": FunctionApp{}, "foundation": Foundation{}, "serviceplan": ServicePlan{},
		"removal": removalVars{ServicePlanID: "x"}, "serviceplanremoval": removalVars{},
	} {
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
	environ := []string{
		"PATH=/bin", "SECRET=s", "AWS_SECRET_ACCESS_KEY=s", "TF_CLI_ARGS=-bogus", "TF_VAR_name=evil",
		"ARM_CLIENT_SECRET=of another", "broken", "AZURE_CLIENT_SECRET=s", "AZURE_STORAGE_KEY=s", "IDENTITY_HEADER=s",
		"SOCKERLESS_AZF_REGISTRY_PASSWORD=s", "LD_PRELOAD=/evil.so",
		"REQUESTS_CA_BUNDLE=/ca.pem", "AZURE_CONFIG_DIR=/az", "AZURE_CORE_ENCRYPT_TOKEN_CACHE=true", "ALL_PROXY=socks5://p",
	}
	got := Environment(environ, map[string]string{"ARM_CLIENT_SECRET": "ours"})
	want := map[string]string{
		"PATH": "/bin", "ARM_CLIENT_SECRET": "ours", "CHECKPOINT_DISABLE": "1",
		"REQUESTS_CA_BUNDLE": "/ca.pem", "AZURE_CONFIG_DIR": "/az", "AZURE_CORE_ENCRYPT_TOKEN_CACHE": "true",
		"ALL_PROXY": "socks5://p",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
