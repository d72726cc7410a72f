package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tfjson "github.com/hashicorp/terraform-json"
)

func TestMaskedError(t *testing.T) {
	s := &secrets{}
	s.add("the-secret")
	cause := s.err(&fs.PathError{Op: "open", Path: "the-secret", Err: fs.ErrNotExist})
	if !errors.Is(cause, fs.ErrNotExist) || strings.Contains(cause.Error(), "the-secret") {
		t.Errorf("got %v", cause)
	}
}

// TestSecretsOfAWorkspace reads them where they are, and does not take other values for secrets.
func TestSecretsOfAWorkspace(t *testing.T) {
	m := local(t, func(cfg *Config) {
		cfg.Env = map[string]string{
			"ARM_CLIENT_SECRET": "client-secret", "ARM_CLIENT_ID": "client-id", "PG_CONN_STR": "postgres://u:pg-word@h/d",
		}
	})
	dir := m.Path(testID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		varsFile: `{"environment": {"REGION": "westeurope", "TOKEN": "of-the-env"}, "location": "westeurope",
			"registry_password": "of-registry", "registry_url": "https://r", "command": ["echo", "of-the-env"]}`,
		stateFile: `{"outputs": {"x_connection_string": {"value": "Key=of-output", "type": "string", "sensitive": true}},
			"resources": [{"type": "azurerm_storage_account", "instances": [{"attributes": {"primary_access_key": "of-storage",
			"shared_access_key_enabled": true, "name": "account", "account_tier": "Standard"}}]}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := m.secretsOf(dir)
	for _, secret := range []string{
		"of-the-env", "of-registry", "Key=of-output", "of-storage", "client-secret", "pg-word", "westeurope",
	} {
		if s.text(secret) != redacted {
			t.Errorf("%s is shown", secret)
		}
	}
	for _, plain := range []string{"string", "client-id", "account", "Standard", "https://r"} {
		if s.text(plain) != plain {
			t.Errorf("%s is masked", plain)
		}
	}
	got := s.document(map[string]any{
		"location": "westeurope", "of-the-env": []any{"of-the-env", "in of-the-env"}, "other": "at of-storage",
	})
	want := map[string]any{ // what is shown elsewhere is shown here, too, but not within another text
		"location": "westeurope", "of-the-env": []any{"of-the-env", "in " + redacted}, "other": "at " + redacted,
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Error(diff)
	}
}

// TestMaskedPlanWithoutMarks masks the plan of an imported app, of which Terraform marks nothing.
func TestMaskedPlanWithoutMarks(t *testing.T) {
	app := func() map[string]any {
		return map[string]any{
			"name": "skls-1", "https_only": true, "shared_access_key_enabled": true, "kind": "functionapp",
			"app_settings": map[string]any{
				"A": "s", "TOKEN": "of-the-app", "AZF_COMMAND": `["echo"]`, "AZF_SPEC_0": "of-the-app",
			},
			"site_config": []any{map[string]any{"docker": map[string]any{"registry_password": "of-registry"}}},
		}
	}
	plan := &tfjson.Plan{
		FormatVersion: "1.2",
		ResourceChanges: []*tfjson.ResourceChange{{Address: "a.b", Change: &tfjson.Change{
			Actions: tfjson.Actions{tfjson.ActionUpdate}, Before: app(), After: app(),
		}}},
		OutputChanges: map[string]*tfjson.Change{
			"o": {After: "at of-the-app"},
			"x_connection_string": {
				Actions: tfjson.Actions{tfjson.ActionCreate}, After: "of-output", AfterSensitive: true,
			},
		},
	}
	content, err := masked(plan, &secrets{})
	if err != nil {
		t.Fatal(err)
	}
	var got tfjson.Plan
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	want := app()
	want["app_settings"] = map[string]any{
		"A": redacted, "TOKEN": redacted, "AZF_COMMAND": `["echo"]`, "AZF_SPEC_0": redacted,
	}
	want["site_config"] = []any{map[string]any{"docker": map[string]any{"registry_password": redacted}}}
	for _, values := range []any{got.ResourceChanges[0].Change.Before, got.ResourceChanges[0].Change.After} {
		if diff := cmp.Diff(any(want), values); diff != "" {
			t.Error(diff)
		}
	}
	if o := got.OutputChanges["x_connection_string"]; o.After != redacted || !o.Actions.Create() {
		t.Errorf("got %+v", o)
	}
	if after := got.OutputChanges["o"].After; after != "at "+redacted {
		t.Errorf("the output is %v", after)
	}
}

func TestMaskingWriter(t *testing.T) {
	s := &secrets{}
	s.add("the-secret")
	const lines = "a the-secret\n{\"x\":\"the-secret\",\"type\":\"outputs\"}\nthe-secret"
	want := "a " + redacted + "\n{\"x\":\"the-secret\",\"type\":\"outputs\"}\n" + redacted
	for size := 1; size <= len(lines); size++ {
		var got bytes.Buffer
		w := &maskingWriter{to: &got, secrets: s}
		for rest := lines; rest != ""; {
			n := min(size, len(rest))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.flush(); err != nil || got.String() != want {
			t.Errorf("in parts of %d: got %q, %v", size, got.String(), err)
		}
	}
}
