package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"testing"
)

// FuzzConfig takes any bytes for the file: they give a configuration that is printed and read again as the same, or a usageError.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../examples/config/config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(baseConfig))
	f.Add([]byte("azf: {subscription_id: " + subscription + ", resource_group: rg, location: \"westeurope\", storage_account: 'store'}\nsocket_mode: 0600\n"))
	f.Add([]byte("azf:\n  owner: &a [*a]\n  owner: !!binary a\n? b\n: c\n<<: {}\n---\n...\n%YAML 1.1\n"))
	f.Add([]byte("listen: |-\n  a\nstate_dir: >\n  b\nazf: # c\n"))
	f.Add([]byte(baseConfig + "terraform_backend: azurerm\nterraform_backend_config: {storage_account_name: a, container_name: c, use_azuread_auth: true, n: 3, \"true\": |-\n  x}\n"))
	f.Add([]byte(baseConfig + "database: postgres://u:p@h/d\nterraform_backend: pg\nterraform_backend_config:\n  schema_name: s\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := writeConfig(t, string(content))
		l, err := loadConfig("serve", []string{"--config", path}, nil, "", io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.err(); err != nil {
			if _, ok := errors.AsType[usageError](err); !ok {
				t.Fatalf("got %v, want a usageError", err)
			}
		}
		var printed bytes.Buffer
		if err := l.print(&printed); err != nil {
			t.Fatal(err)
		}
		if len(l.problems) > 0 {
			return
		}
		// A secret is not printed, so it is given by the environment.
		environ := []string{"SOCKERLESS_AZF_REGISTRY_PASSWORD=" + l.config.Azure.RegistryPassword, "SOCKERLESS_AZF_DATABASE=" + l.config.Database}
		for name := range l.backend {
			if l.config.Backend.Secret(name) {
				return
			}
		}
		again, err := loadConfig("serve", []string{"--config", writeConfig(t, printed.String())}, environ, "", io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.err(); err != nil || !reflect.DeepEqual(again.config, l.config) {
			t.Fatalf("printed as\n%s\nit reads as %+v, %v; want %+v", &printed, again.config, err, l.config)
		}
	})
}
