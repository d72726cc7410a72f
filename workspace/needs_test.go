package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNeeds(t *testing.T) {
	for name, row := range map[string]struct {
		files map[string]string
		want  needs
		err   string
	}{
		"nothing": {nil, needs{}, ""},
		"types of all kinds, and of the state": {map[string]string{
			"main.tf": "resource \"azurerm_b\" \"x\" {}\ndata \"azurerm_c\" \"x\" {}\n" +
				"ephemeral \"azurerm_d\" \"x\" {}\nresource \"terraform_data\" \"x\" {}\n",
			"more.tf.json": `{"resource": {"azurerm_a": {"x": {}}}}`,
			stateFile:      `{"version": 4, "lineage": "a", "resources": [{"type": "azurerm_old"}, {"type": "azurerm_b"}]}`,
		}, needs{types: []string{"azurerm_a", "azurerm_b", "azurerm_c", "azurerm_d", "azurerm_old"}}, ""},
		"import blocks": {map[string]string{
			"main.tf":   "resource \"azurerm_b\" \"x\" {}\n",
			importsFile: `{"import": [{"to": "azurerm_b.x", "id": "/b"}]}`,
			versionFile: `{"terraform": {"required_providers": {"azurerm": {"version": "5.2.0"}}}}`,
		}, needs{types: []string{"azurerm_b"}}, ""},
		"a backend in JSON": {
			map[string]string{"backend.tf.json": `{"terraform": {"backend": {"azurerm": {}}}}`}, needs{init: true}, "",
		},
		"a cloud": {map[string]string{"main.tf": "terraform {\n  cloud {}\n}\n"}, needs{init: true}, ""},
		"azurerm alone": {
			map[string]string{"main.tf": "terraform {\n  required_providers {\n    azurerm = {}\n  }\n}\n"}, needs{}, "",
		},
		"another provider": {
			map[string]string{"main.tf": "terraform {\n  required_providers {\n    azurerm = {}\n    random = {}\n  }\n}\n"},
			needs{init: true}, "",
		},
		"no HCL":   {map[string]string{"main.tf": "{"}, needs{}, "read configuration"},
		"no state": {map[string]string{stateFile: "{"}, needs{}, "read state"},
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
