package config

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"testing"
)

// FuzzConfig takes any bytes for the file: they give a configuration that is printed and read again as the same, or
// Problems.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../examples/config/config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(baseConfig))
	f.Add([]byte("azf: {subscription_id: " + subscription + ", resource_group: rg, location: \"westeurope\", " +
		"storage_account: 'store'}\nsocket_mode: 0600\n"))
	f.Add([]byte("azf:\n  owner: &a [*a]\n  owner: !!binary a\n? b\n: c\n<<: {}\n---\n...\n%YAML 1.1\n"))
	f.Add([]byte("listen: |-\n  a\nstate_dir: >\n  b\nazf: # c\n"))
	f.Add([]byte(baseConfig + "terraform_backend: azurerm\nterraform_backend_config: {storage_account_name: a, " +
		"container_name: c, use_azuread_auth: true, n: 3, \"true\": |-\n  x}\n"))
	f.Add([]byte(baseConfig + "database: postgres://u:p@h/d\nterraform_backend: pg\nterraform_backend_config:\n  " +
		"schema_name: s\n"))
	f.Add([]byte(baseConfig + "  tags: {a: b, \" c\": ' d, \"e\"', f: ''}\n"))
	f.Add([]byte(baseConfig + "  tags: 'a=b, \"c=d,e\"'\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := writeConfig(t, string(content))
		l, err := load([]string{"--config", path}, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Err(); err != nil {
			if _, ok := errors.AsType[Problems](err); !ok {
				t.Fatalf("got %v, want Problems", err)
			}
		}
		var printed bytes.Buffer
		if err := l.Print(&printed); err != nil {
			t.Fatal(err)
		}
		if len(l.problems) > 0 {
			return
		}
		// A secret is not printed, so it is given by the environment.
		environ := []string{
			"SOCKERLESS_AZF_REGISTRY_PASSWORD=" + l.given.Azure.RegistryPassword,
			"SOCKERLESS_AZF_DATABASE=" + l.given.Database,
		}
		for name := range l.backend {
			if l.secretOfBackend(name) {
				return
			}
		}
		again, err := load([]string{"--config", writeConfig(t, printed.String())}, environ, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Err(); err != nil || !reflect.DeepEqual(again.given, l.given) {
			t.Fatalf("printed as\n%s\nit reads as %+v, %v; want %+v", &printed, again.given, err, l.given)
		}
	})
}
