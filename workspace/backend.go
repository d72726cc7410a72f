package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Backend names the place where Terraform keeps states. Its zero value keeps each in its workspace. All others let
// several daemons work on the same containers.
type Backend struct {
	// Type is Terraform's name of the backend: local (or empty), pg, azurerm, s3, gcs or http.
	Type string
	// Settings are those of Terraform's documentation of the backend: strings, numbers, booleans, and lists and maps of
	// them. The name of a state is not among them; in strings of http, {key} stands for it.
	Settings map[string]any
	// Owner is part of the keys of the states of the foundation and of service plans: daemons with different owners have
	// different ones.
	Owner string
}

// BackendTypes returns the types that Backend knows.
func BackendTypes() []string {
	return append([]string{localBackend}, slices.Sorted(maps.Keys(backends))...)
}

const localBackend = "local"

// Files of a workspace with a remote backend. The second one holds no secrets.
const (
	backendFile  = "backend.tf"
	settingsFile = "backend.config.json"
)

// backends are the remote ones.
var backends = map[string]struct {
	required []string
	// ours are settings that cannot be chosen, with the reason.
	ours map[string]string
	// secrets go to Terraform in its environment: they are in no file and on no command line.
	secrets map[string]string
}{
	"pg": {
		required: []string{"conn_str"},
		secrets:  map[string]string{"conn_str": "PG_CONN_STR"},
	},
	"azurerm": {
		required: []string{"storage_account_name", "container_name"},
		ours: map[string]string{
			"key": perContainer, "client_secret": oneCredential, "client_certificate": oneCredential,
			"client_certificate_path": oneCredential, "client_certificate_password": oneCredential,
			"oidc_token": oneCredential, "oidc_request_token": oneCredential, "msi_endpoint": oneCredential,
		},
		secrets: map[string]string{"access_key": "ARM_ACCESS_KEY", "sas_token": "ARM_SAS_TOKEN"},
	},
	"s3": {
		required: []string{"bucket", "region"},
		ours:     map[string]string{"key": perContainer, "workspace_key_prefix": perContainer},
		secrets: map[string]string{
			"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY",
			"token": "AWS_SESSION_TOKEN", "sse_customer_key": "AWS_SSE_CUSTOMER_KEY",
		},
	},
	"gcs": {
		required: []string{"bucket"},
		secrets: map[string]string{
			"credentials": "GOOGLE_BACKEND_CREDENTIALS", "access_token": "GOOGLE_OAUTH_ACCESS_TOKEN",
			"encryption_key": "GOOGLE_ENCRYPTION_KEY",
		},
	},
	"http": {
		required: []string{"address"},
		secrets: map[string]string{
			"password": "TF_HTTP_PASSWORD", "client_private_key_pem": "TF_HTTP_CLIENT_PRIVATE_KEY_PEM",
		},
	},
}

const (
	perContainer  = "the daemon gives each container a key of its own"
	oneCredential = "the daemon's own credential is used, see credential; set use_azuread_auth to true"
)

// SettingError is the problem of one setting of a backend.
type SettingError struct {
	Setting string
	Err     error
}

// Error names the setting.
func (e *SettingError) Error() string { return e.Setting + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *SettingError) Unwrap() error { return e.Err }

// Check returns the problems of the settings, in the order of their names. It does not check what only the backend can
// know.
func (b Backend) Check() (problems []*SettingError) {
	add := func(setting, format string, args ...any) {
		problems = append(problems, &SettingError{setting, fmt.Errorf(format, args...)})
	}
	if !b.Remote() {
		for _, name := range slices.Sorted(maps.Keys(b.Settings)) {
			add(name, "the backend local has no settings")
		}
		return problems
	}
	kind := backends[b.Type]
	for _, name := range kind.required {
		if str, ok := b.Settings[name].(string); !ok || str == "" {
			add(name, "the backend %s needs it", b.Type)
		}
	}
	for name, value := range b.Settings {
		if reason, ok := kind.ours[name]; ok {
			add(name, "it cannot be set: %s", reason)
		}
		if _, ok := value.(string); !ok && kind.secrets[name] != "" {
			add(name, "it must be a string")
		}
	}
	if str, ok := b.Settings["address"].(string); ok && b.Type == "http" && !strings.Contains(str, keyMark) {
		add("address",
			"it must hold %s, which stands for the name of a state: otherwise all containers would have the same", keyMark)
	}
	slices.SortFunc(problems, func(x, y *SettingError) int { return strings.Compare(x.Error(), y.Error()) })
	return problems
}

// Remote reports whether states are kept outside the workspaces.
func (b Backend) Remote() bool { return b.Type != "" && b.Type != localBackend }

// Secret reports whether a setting is a secret.
func (b Backend) Secret(setting string) bool { return backends[b.Type].secrets[setting] != "" }

// Env returns the settings that go to Terraform in its environment.
func (b Backend) Env() map[string]string {
	env := map[string]string{}
	for name, variable := range backends[b.Type].secrets {
		if str, ok := b.Settings[name].(string); ok && str != "" {
			env[variable] = str
		}
	}
	return env
}

// keyMark stands for the key in settings of http.
const keyMark = "{key}"

// Keys of states. The number is the version of the scheme.
func containerKey(id string) string               { return "v1/containers/" + id }
func (b Backend) foundationKey() string           { return "v1/foundation/" + b.Owner }
func (b Backend) servicePlanKey(id string) string { return "v1/plans/" + b.Owner + "/" + id }

// flat returns a key as a single name.
func flat(key string) string { return "sockerless-azf-" + strings.ReplaceAll(key, "/", "-") }

// settings returns the settings of one state, without secrets.
func (b Backend) settings(key string) map[string]any {
	out := map[string]any{}
	for name, value := range b.Settings {
		if b.Secret(name) {
			continue
		}
		if str, ok := value.(string); ok && b.Type == "http" {
			value = strings.ReplaceAll(str, keyMark, flat(key))
		}
		out[name] = value
	}
	switch path := "sockerless-azf/" + key; b.Type {
	case "pg":
		if out["schema_name"] == nil {
			out["schema_name"] = "sockerless_azf_terraform"
		}
	case "azurerm", "s3":
		out["key"] = path + ".tfstate"
	case "gcs":
		if prefix, ok := out["prefix"].(string); ok && prefix != "" {
			path = strings.TrimSuffix(prefix, "/") + "/" + path
		}
		out["prefix"] = path
	}
	return out
}

// workspaceName returns the Terraform CLI workspace of a state in pg, which has no other key. In all other backends it
// is the default one.
func (b Backend) workspaceName(key string) string {
	if b.Type == "pg" {
		return flat(key)
	}
	return "default"
}

// render writes the backend's files into a workspace. The block is empty: no setting becomes HCL.
func (b Backend) render(dir, key string) error {
	if !b.Remote() {
		return nil
	}
	if _, ok := backends[b.Type]; !ok {
		return fmt.Errorf("unknown backend %q", b.Type)
	}
	content, err := json.MarshalIndent(b.settings(key), "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(filepath.Join(dir, backendFile), []byte("terraform {\n  backend \""+b.Type+"\" {}\n}\n")),
		writeFile(filepath.Join(dir, settingsFile), content),
	)
}

// initKey returns a part of the key under which a workspace is initialised: another backend needs another terraform
// init.
func (b Backend) initKey() (string, error) {
	if !b.Remote() {
		return "", nil
	}
	content, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return " " + hex.EncodeToString(sum[:]), nil
}

// selectWorkspace selects the Terraform CLI workspace of a key, in place of the command terraform workspace select.
func (b Backend) selectWorkspace(dir, key string) error {
	return writeFile(filepath.Join(dir, ".terraform", "environment"), []byte(b.workspaceName(key)))
}
