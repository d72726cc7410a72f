package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/toolchain"
)

// wantInitialised checks that terraform init ran in the foundation's workspace, and that no operation left the pool.
func wantInitialised(t *testing.T, m *Manager) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(m.foundation(), marker)); err != nil {
		t.Errorf("not initialised: %v", err)
	}
	wantFallbacks(t, m, 0)
}

func TestInitWhereItIsNeeded(t *testing.T) {
	const azurerm = "provider \"azurerm\" {\n  features {}\n}\n"
	const backend = "terraform {\n  backend \"local\" {\n    path = \"elsewhere.tfstate\"\n  }\n}\n"
	const builtin = "    builtin = {\n      source = \"terraform.io/builtin/terraform\"\n    }\n"
	m, _ := cloud(t)
	foundation(t, m)
	plain := peer(t, m, func(cfg *Config) { cfg.Providers = nil })
	for name, row := range map[string]struct {
		m    *Manager
		file string
	}{
		"a backend":                  {m, backend},
		"a backend, no started ones": {plain, backend},
		"a module":                   {m, "module \"inner\" {\n  source = \"./inner\"\n}\n"},
		"another provider":           {m, "terraform {\n  required_providers {\n" + builtin + "  }\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := peer(t, row.m, func(*Config) {})
			dir := m.foundation()
			if err := os.MkdirAll(filepath.Join(dir, "inner"), 0o700); err != nil {
				t.Fatal(err)
			}
			for path, content := range map[string]string{
				"main.tf": row.file, "versions.tf": azurerm, "inner/main.tf": "output \"o\" {\n  value = 1\n}\n", varsFile: "{}",
			} {
				if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := applyFoundation(t, m); err != nil {
				t.Error(err)
			}
			wantInitialised(t, m)
		})
	}
}

// TestInitThatTerraformAsksFor writes a lock file for a version of azurerm that is not installed.
func TestInitThatTerraformAsksFor(t *testing.T) {
	m, _ := cloud(t)
	_, f := foundation(t, m)
	plain := peer(t, m, func(cfg *Config) {
		cfg.Providers = nil
		cfg.Package.LockFile = strings.ReplaceAll(cfg.Package.LockFile, toolchain.ProviderVersion, "5.1.9")
	})
	if _, err := plain.Foundation(t.Context(), named(f), nil); err != nil {
		t.Error(err)
	}
	wantInitialised(t, plain)
}
