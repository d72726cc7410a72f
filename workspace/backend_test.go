package workspace

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBackendSettings(t *testing.T) {
	key := containerKey(testID)
	for name, row := range map[string]struct {
		backend Backend
		want    map[string]any
		env     map[string]string
	}{
		"pg": {
			Backend{Type: "pg", Settings: map[string]any{"conn_str": "postgres://u:p@h/d"}},
			map[string]any{"schema_name": "sockerless_azf_terraform"}, map[string]string{"PG_CONN_STR": "postgres://u:p@h/d"},
		},
		"azurerm": {
			Backend{Type: "azurerm", Settings: map[string]any{
				"storage_account_name": "a", "container_name": nasty, "access_key": "k", "use_azuread_auth": true,
			}},
			map[string]any{
				"storage_account_name": "a", "container_name": nasty, "use_azuread_auth": true,
				"key": "sockerless-azf/v1/containers/" + testID + ".tfstate",
			},
			map[string]string{"ARM_ACCESS_KEY": "k"},
		},
		"gcs": {
			Backend{Type: "gcs", Settings: map[string]any{"bucket": "b", "prefix": "ci/"}},
			map[string]any{"bucket": "b", "prefix": "ci/sockerless-azf/v1/containers/" + testID}, map[string]string{},
		},
		"http": {
			Backend{Type: "http", Settings: map[string]any{
				"address": "https://h/{key}", "lock_address": "https://h/{key}/lock", "password": "p",
			}},
			map[string]any{
				"address":      "https://h/sockerless-azf-v1-containers-" + testID,
				"lock_address": "https://h/sockerless-azf-v1-containers-" + testID + "/lock",
			},
			map[string]string{"TF_HTTP_PASSWORD": "p"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if problems := row.backend.Check(); len(problems) > 0 {
				t.Error(problems)
			}
			dir := t.TempDir()
			if err := row.backend.render(dir, key); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			content, err := os.ReadFile(filepath.Join(dir, settingsFile))
			if err = errors.Join(err, json.Unmarshal(content, &got)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(row.env, row.backend.Env()); diff != "" {
				t.Error(diff)
			}
			hcl, err := os.ReadFile(filepath.Join(dir, backendFile))
			if want := "terraform {\n  backend \"" + row.backend.Type + "\" {}\n}\n"; err != nil || string(hcl) != want {
				t.Errorf("got %s, %v", hcl, err)
			}
		})
	}
}
