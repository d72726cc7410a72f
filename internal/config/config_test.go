package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/workspace"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	subscription = "11111111-2222-3333-4444-555555555555"
	clientID     = "99999999-8888-7777-6666-555555555555"
	identityID   = "/subscriptions/" + subscription +
		"/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	// baseConfig ends in azf, so that lines can be added there; a line that is not indented goes to the top level.
	baseConfig = `azf:
  subscription_id: ` + subscription + `
  resource_group: rg
  location: westeurope
  storage_account: store
`
)

// writeConfig makes a configuration file that only its owner can read.
func writeConfig(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load parses args as the flags of a command and loads the configuration. Its error is a flag's.
func load(args, environ []string, file string) (*Loaded, error) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := AddFlags(set, Options{File: file})
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	return flags.Load(environ), nil
}

// samples are three values for each setting: for the file, as YAML has it, for the environment and for the flag.
var samples = map[string][3]string{
	"listen":             {"unix:///run/file.sock", "/run/environment.sock", "tcp://127.0.0.1:2375"},
	"socket_mode":        {"0600", "0o666", "660"},
	"socket_owner":       {"0", "1", "root"},
	"socket_group":       {"0", "1", "root"},
	"tls_cert":           {"/file.crt", "/environment.crt", "/flag.crt"},
	"tls_key":            {"/file.key", "/environment.key", "/flag.key"},
	"tls_client_ca":      {"/file.ca", "/environment.ca", "/flag.ca"},
	"insecure":           {"true", "false", "true"},
	"state_dir":          {"/file", "/environment", "/flag"},
	"shutdown_timeout":   {"1m", "2m30s", "0s"},
	"database":           {"postgres://file/azf", "postgres://environment/azf", ""},
	"terraform_backend":  {"pg", "azurerm", "s3"},
	"gc":                 {"delete", "report", "delete"},
	"gc_grace":           {"24h", "90m", "1m"},
	"foundation_changes": {"replace", "refuse", "hold"},
	"policy":             {"/file", "/environment", "/flag"},
	"policy_digest": {
		"sha256:" + strings.Repeat("1", 64), "sha256:" + strings.Repeat("2", 64), "sha256:" + strings.Repeat("3", 64),
	},
	"policy_contact":                      {"ask file", "ask environment", "ask flag"},
	"attach":                              {"output", "off", "output"},
	"archive_secrets":                     {"keep", "remove", "keep"},
	"archive_keep":                        {"1d", "48h", "0d"},
	"audit_keep":                          {"30d", "24h", "0d"},
	"audit_sink":                          {"file:///file", "journald", "syslog+tls://flag:6514?ca=/ca"},
	"audit_anchor":                        {"azure", "off", "azure"},
	"audit_container":                     {"file", "environ-ment", "flag"},
	"reconcile_interval":                  {"1m", "1h", "1s"},
	"max_terraform_runs":                  {"1", "8", "16"},
	"max_terraform_runs_per_service_plan": {"1", "2", "4"},
	"max_azure_writes_per_minute":         {"1", "300", "1200"},
	"max_queue":                           {"1", "10", "1000"},
	"terraform":                           {"/file/tofu", "/environment/tofu", "/flag/tofu"},
	"log_level":                           {"debug", "warn", "error"},
	"provider_pool":                       {"off", "on", "off"},
	"provider_pool_size":                  {"0", "1", "16"},
	"provider_reuse":                      {"1", "2", "50"},
	"provider_max_age":                    {"1m", "1h30m", "24h"},
	"eager_polling":                       {"false", "true", "false"},
	"eager_polling_terraform_runs":        {"1", "2", "16"},
	"subscription_id":                     {subscription, clientID, "00000000-0000-0000-0000-000000000001"},
	"resource_group":                      {"file-rg", "environment.rg_(1)", "flag-rg"},
	"location":                            {"westeurope", "northeurope", "EastUS2"},
	"storage_account": {
		"file1",
		"environment2",
		"/subscriptions/" + subscription + "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/flag3",
	},
	"app_service_plan": {
		"file-plan",
		"environment_plan",
		"one,/subscriptions/" + subscription + "/resourcegroups/rg/providers/microsoft.web/serverfarms/flag",
	},
	"apps_per_service_plan":   {"1", "0", "16"},
	"max_service_plans":       {"1", "2", "100"},
	"spare_service_plans":     {"1", "0", "2"},
	"service_plan_idle":       {"1m", "0s", "7d"},
	"service_plan_sku":        {"B1", "EP1", "P1mv3"},
	"timeout":                 {"60", "61", "600"},
	"log_analytics_workspace": {"file-logs", "environment-logs", "flag-logs"},
	"application_insights":    {"file insights", "environment-insights", "flag (insights)"},
	"identity_id":             {identityID + "file", identityID + "environment", identityID + "flag"},
	"identity_client_id":      {clientID, subscription, "00000000-0000-0000-0000-000000000001"},
	"key_vault_references":    {"true", "false", "true"},
	"registry":                {"file.azurecr.io", "environment.example.com:5000", "localhost:5000"},
	"registry_username":       {"file", "environment", "flag"},
	"registry_password":       {"file", "environment", ""},
	"wrap":                    {"off", "auto", "off"},
	"wrap_base":               {"file.azurecr.io/base:1", "base", "base@sha256:" + strings.Repeat("1", 64)},
	"wrap_refresh":            {"1s", "1h", "7d"},
	"wrap_repository":         {"file", "environment/wrapped", "flag-1"},
	"wrap_max_size":           {"512MiB", "1", "10GiB"},
	"wrap_handler":            {"/file", "/environment", "/flag"},
	"wrap_keep":               {"0s", "12h", "30d"},
	"cloud":                   {"usgovernment", "china", "https://management.example.com"},
	"credential":              {"azure-cli", "environment", "managed-identity"},
	"owner":                   {"file", "environment", "flag"},
	"tags":                    {"team=file", `team=environment,"cost center=a,b=c"`, "team=flag, cost center="},
}

func TestPrecedence(t *testing.T) {
	rows := settings()
	if len(rows) != len(samples) {
		t.Errorf("%d settings and samples of %d", len(rows), len(samples))
	}
	for _, s := range rows {
		t.Run(s.key, func(t *testing.T) {
			sample, ok := samples[s.key]
			if !ok {
				t.Fatal("give this setting samples")
			}
			line := s.key + ": " + sample[0] + "\n"
			if s.section != "" {
				line = s.section + ":\n  " + line
			}
			path := writeConfig(t, "# comment\n\n"+line)
			at := path + ":3"
			if s.section != "" {
				at = path + ":4"
			}
			fileArgs, environ, args := []string{
				"--config",
				path,
			}, []string{
				s.environment() + "=" + sample[1],
			}, []string{
				"--" + s.flag() + "=" + sample[2],
			}
			wantDefault := value{text: s.fallback, origin: origin{kind: fromDefault}}
			if s.required {
				wantDefault = value{origin: origin{kind: notGiven}, bad: true}
			}
			check := func(name string, args, environ []string, want value) {
				t.Helper()
				l, err := load(args, environ, "")
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got := l.values[s.key]; got.text != want.text || got.origin != want.origin {
					t.Errorf("%s: got %+v, want %+v", name, got, want)
				}
				var c given
				if err := s.store(&c, want.text); err != nil && !want.bad {
					t.Errorf("%s: the sample is refused: %v", name, err)
				}
				if got, want := s.field(&l.given), s.field(&c); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: the configuration has %v, want %v", name, reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem())
				}
			}
			check("default", nil, nil, wantDefault)
			check("file over default", fileArgs, nil, value{text: sample[0], origin: origin{fromFile, at}})
			check("environment over default", nil, environ,
				value{text: sample[1], origin: origin{fromEnvironment, s.environment()}})
			check("environment over file", fileArgs, environ,
				value{text: sample[1], origin: origin{fromEnvironment, s.environment()}})
			if s.secret {
				if _, err := load(args, nil, ""); err == nil || !strings.Contains(err.Error(), "unknown flag") {
					t.Errorf("a secret as a flag: got %v, want it refused", err)
				}
				return
			}
			wantFlag := value{text: sample[2], origin: origin{fromFlag, "--" + s.flag()}}
			check("flag over default", args, nil, wantFlag)
			check("flag over file", slices.Concat(fileArgs, args), nil, wantFlag)
			check("flag over environment", args, environ, wantFlag)
			check("flag over all", slices.Concat(args, fileArgs), environ, wantFlag)
		})
	}
}

func TestNamesDerive(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings() {
		if seen[s.key] {
			t.Errorf("%s is there twice, and so are its flag and its variable", s.key)
		}
		seen[s.key] = true
	}
	s := (&Loaded{rows: settings()}).row("registry_username")
	if s.path() != "azf.registry_username" || s.flag() != "registry-username" ||
		s.environment() != "SOCKERLESS_AZF_REGISTRY_USERNAME" {
		t.Errorf("got %s, %s, %s", s.path(), s.flag(), s.environment())
	}
}

func TestWhichFileIsRead(t *testing.T) {
	owner := func(name string) string { return writeConfig(t, "azf:\n  owner: "+name+"\n") }
	byDefault, byEnvironment, byFlag := owner("by-default"), owner("by-environment"), owner("by-flag")
	environ := []string{"SOCKERLESS_AZF_CONFIG=" + byEnvironment}
	for _, row := range []struct {
		name          string
		args, environ []string
		fallback      string
		want          string
	}{
		{"the default, where it exists", nil, nil, byDefault, "by-default"},
		{"none, where it does not", nil, nil, byDefault + ".none", "default"},
		{"the environment's over the default", nil, environ, byDefault, "by-environment"},
		{"the flag's over the environment's", []string{"--config", byFlag}, environ, byDefault, "by-flag"},
		{"none when the flag is empty", []string{"--config="}, environ, byDefault, "default"},
		{"none when the variable is empty", nil, []string{"SOCKERLESS_AZF_CONFIG="}, byDefault, "default"},
	} {
		l, err := load(row.args, row.environ, row.fallback)
		if err != nil || l.Config().Azure.Owner != row.want {
			t.Errorf("%s: got %+v, %v; want owner %s", row.name, l, err, row.want)
		}
	}
}

func TestLastVariableAndLastFlagCount(t *testing.T) {
	l, err := load([]string{"--owner", "a", "--owner=b", "--insecure"},
		[]string{"SOCKERLESS_AZF_TIMEOUT=5", "SOCKERLESS_AZF_TIMEOUT=6"}, "")
	if err != nil || l.Config().Azure.Owner != "b" || l.given.timeout != 6 || !l.given.Listen.Insecure {
		t.Errorf("got %+v, %v", l, err)
	}
}

// TestConfigArrives takes a whole configuration to the daemon's.
func TestConfigArrives(t *testing.T) {
	path := writeConfig(t, `
listen: /run/azf.sock
socket_mode: 0600
socket_owner: root
socket_group: 0
state_dir: /srv/azf
shutdown_timeout: 1m30s
gc: delete
gc_grace: 30m
foundation_changes: replace
attach: output
archive_secrets: keep
archive_keep: 30d
audit_keep: 48h
audit_sink: file:///var/log/azf.jsonl,journald
audit_anchor: azure
audit_container: trail
reconcile_interval: 2m
max_terraform_runs: 8
max_terraform_runs_per_service_plan: 2
max_azure_writes_per_minute: 300
max_queue: 7
terraform: /opt/tofu
log_level: warn
provider_pool: off
provider_pool_size: 3
provider_reuse: 50
provider_max_age: 45m
eager_polling: false
eager_polling_terraform_runs: 8
database: postgres://azf:pass%3Aword@db.example.com/azf?sslmode=verify-full&pool_max_conns=7
terraform_backend: pg
terraform_backend_config:
  schema_name: states
  skip_schema_creation: true
azf:
  subscription_id: `+subscription+`
  resource_group: rg
  location: westeurope
  storage_account: store
  app_service_plan: plan
  service_plan_sku: EP1
  apps_per_service_plan: 5
  max_service_plans: 6
  spare_service_plans: 1
  service_plan_idle: 2h
  timeout: 3600
  log_analytics_workspace: logs
  application_insights: insights
  identity_id: `+identityID+`ci
  identity_client_id: `+clientID+`
  key_vault_references: true
  registry: r.example.com
  registry_username: user
  registry_password: 'pa: "ss" # word'
  wrap: off
  wrap_base: r.example.com/base:4
  wrap_refresh: 12h
  wrap_repository: ci
  wrap_max_size: 1GiB
  wrap_handler: /opt/azf-handler
  wrap_keep: 48h
  credential: azure-cli
  owner: team-a
  tags:
    team: ci
    "cost center": 'a, "b" = c'
    empty: ""
`)
	l, err := load([]string{"--config", path}, nil, "")
	if err := errors.Join(err, l.Err()); err != nil {
		t.Fatal(err)
	}
	got := l.Config()
	want := Config{
		Listen:   server.ListenConfig{Address: "/run/azf.sock", SocketMode: 0o600, SocketOwner: "root", SocketGroup: "0"},
		StateDir: "/srv/azf", SubscriptionID: subscription, ShutdownTimeout: 90 * time.Second,
		Terraform: "/opt/tofu", CloudName: "public", CredentialMethod: "azure-cli", LogLevel: "warn",
		Database: "postgres://azf:pass%3Aword@db.example.com/azf?sslmode=verify-full&pool_max_conns=7",
		Backend: workspace.Backend{Type: "pg", Owner: "team-a", Settings: map[string]any{
			"schema_name": "states", "skip_schema_creation": true,
			"conn_str": "postgres://azf:pass%3Aword@db.example.com/azf?sslmode=verify-full",
		}},
		Limits: engine.Limits{TerraformRuns: 8, TerraformRunsPerServicePlan: 2, AzureWritesPerMinute: 300, Queue: 7},
		GC:     "delete", GCGrace: 30 * time.Minute, FoundationChanges: FoundationReplace,
		Attach: AttachOutput, ReconcileInterval: 2 * time.Minute,
		ArchiveSecrets: ArchiveSecretsKeep, ArchiveKeep: 30 * 24 * time.Hour, Audit: Audit{
			Keep: 48 * time.Hour, Sinks: "file:///var/log/azf.jsonl,journald", Anchor: AnchorAzure, Container: "trail",
		},
		Wrap: Wrap{
			Mode: WrapOff, Base: "r.example.com/base:4", Refresh: 12 * time.Hour, Repository: "ci", MaxSize: "1GiB",
			Handler: "/opt/azf-handler", Keep: 48 * time.Hour,
		},
		Providers: Providers{Pool: "off", Size: 3, Reuse: 50, MaxAge: 45 * time.Minute, EagerTerraformRuns: 8},
		Azure: engine.Settings{
			ResourceGroup: "rg", Location: "westeurope", StorageAccount: "store", AppServicePlan: "plan",
			ServicePlanSKU: "EP1", AppsPerServicePlan: 5, MaxServicePlans: 6, SpareServicePlans: 1,
			ServicePlanIdle: 2 * time.Hour, Timeout: time.Hour, LogAnalyticsWorkspace: "logs", ApplicationInsights: "insights",
			Identity: &workspace.Identity{ID: identityID + "ci", ClientID: clientID},
			Registry: "r.example.com", RegistryUsername: "user", RegistryPassword: `pa: "ss" # word`, Owner: "team-a",
			KeyVaultReferences: true,
			Tags:               map[string]string{"team": "ci", "cost center": `a, "b" = c`, "empty": ""},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var log bytes.Buffer
	logger := got.Logger(&log)
	logger.Info().Msg("not shown")
	logger.Warn().Msg("shown")
	if !strings.Contains(log.String(), `"message":"shown"`) || strings.Contains(log.String(), "not") {
		t.Errorf("logged %s", &log)
	}
	if got.Providers.EagerLimit() != 0 || (Providers{Eager: true, EagerTerraformRuns: 8}).EagerLimit() != 8 {
		t.Error("the limit of eager polling does not follow eager_polling")
	}
	l.given.identity = workspace.Identity{}
	if got := l.Config(); got.Azure.Identity != nil {
		t.Errorf("got %+v, want no identity", got.Azure.Identity)
	}
}

func TestConfigPrint(t *testing.T) {
	path := writeConfig(t, strings.Replace(baseConfig, "azf:", "# The file's own comments are not kept.\nsocket_mode: "+
		"0600\nterraform_backend: azurerm\n"+
		"terraform_backend_config: {storage_account_name: states, container_name: 'a: #b', use_azuread_auth: true}\nazf:", 1)+
		"  registry: r.example.com\n  registry_username: \"user # 1\"\n  registry_password: hunter2\n  timeout: 60\n"+
		"  tags: {team: 'a: \"b\", {c}', Cost-Center: \"#1\"}\n")
	environ := []string{
		"SOCKERLESS_AZF_SHUTDOWN_TIMEOUT=90s",
		"SOCKERLESS_AZF_OWNER=team-a",
		"SOCKERLESS_AZF_CONFIG=" + path,
	}
	args := []string{"--timeout", "0900", "--service-plan-sku=B1", "--insecure=T"}
	first, err := load(args, environ, "")
	if err := errors.Join(err, first.Err()); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	if err := first.Print(&stdout); err != nil || strings.Contains(stdout.String(), "hunter2") {
		t.Errorf("printed %s, %v", &stdout, err)
	}
	got := strings.ReplaceAll(stdout.String(), path, "/etc/azf.yaml")
	golden := filepath.Join("testdata", "config-print.yaml")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}

	again := writeConfig(t, stdout.String())
	second, err := load([]string{"--config", again}, nil, "")
	if err != nil || len(second.problems) != 1 || !strings.Contains(second.problems[0], "registry_password: this is "+
		"what config print shows in place of the secret") {
		t.Fatalf("got %v, %v; want the hidden password refused", second, err)
	}
	again = writeConfig(t, strings.Replace(stdout.String(), hidden, "hunter2", 1))
	if second, err = load([]string{"--config", again}, nil, ""); err != nil || len(second.problems) > 0 {
		t.Fatalf("got %v, %v", second, err)
	}
	if diff := cmp.Diff(first.Config(), second.Config()); diff != "" {
		t.Errorf("read again it differs: %s", diff)
	}
}

// TestAnyValueIsPrintedAndReadAgain gives config print texts that YAML could take for something else.
func TestAnyValueIsPrintedAndReadAgain(t *testing.T) {
	for _, text := range []string{
		"true", "null", "~", "12", "0x10", "1e3", "- a", "a: b", "a #b", "#", "'", `"`, `\`, "{", "[a]",
		"&a", "*a", "!a", "|", ">", "%", "@", "`", " a ", "ä", "2020-01-01",
		".inf", "=", "<<", "---", "...", "?", "yes",
	} {
		l, err := load([]string{"--terraform", text, "--config", writeConfig(t, baseConfig)}, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		var printed bytes.Buffer
		if err := l.Print(&printed); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		again, err := load([]string{"--config", writeConfig(t, printed.String())}, nil, "")
		if err != nil || again.Err() != nil || again.given.Terraform != text {
			t.Errorf("%q: read again as %q, %v, %v, from\n%s", text, again.given.Terraform, err, again.Err(), &printed)
		}
	}
}

func TestFlagsHaveHelp(t *testing.T) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(set, Options{File: DefaultFile})
	usage := set.FlagUsages()
	for _, s := range settings() {
		if listed := strings.Contains(usage, "  --"+s.flag()+" "); listed == s.secret {
			t.Errorf("--%s is listed: %v", s.flag(), listed)
		}
	}
}

// TestOptions adapts the table to another command.
func TestOptions(t *testing.T) {
	options := Options{
		Defaults: map[string]string{
			"listen": "", "subscription_id": subscription, "resource_group": "rg", "location": "westeurope",
			"storage_account": "store", "owner": "demo", "service_plan_sku": "B1",
		},
		Help:    map[string]string{"listen": "where it answers"},
		Refused: map[string]string{"credential": "it cannot be used here"},
	}
	load := func(args ...string) (*Loaded, string) {
		set := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags := AddFlags(set, options)
		if err := set.Parse(args); err != nil {
			t.Fatal(err)
		}
		return flags.Load(nil), set.FlagUsages()
	}
	l, usage := load()
	if c := l.Config(); l.Err() != nil || c.Listen.Address != "" || c.Azure.Owner != "demo" || len(l.Warnings()) > 0 {
		t.Errorf("got %+v, %v", c, l.Err())
	}
	if !strings.Contains(usage, "where it answers") || strings.Contains(usage, "sockerless-backend.sock") {
		t.Errorf("help is\n%s", usage)
	}
	if l, _ = load("--owner=me", "--credential=auto"); l.Err() != nil || l.Config().Azure.Owner != "me" {
		t.Errorf("got %+v, %v", l.Config(), l.Err())
	}
	if l, _ = load("--credential=azure-cli"); l.Err() == nil || l.Err().Error() != "--credential: it cannot be used here" {
		t.Errorf("got %v", l.Err())
	}
	if l, _ = load("--listen=nowhere"); l.Err() == nil || !strings.Contains(l.Err().Error(), "--listen") {
		t.Errorf("got %v", l.Err())
	}
}

// TestConfigurationThatRunsNoImage wants a warning, which config print shows in a form that can be read again.
func TestConfigurationThatRunsNoImage(t *testing.T) {
	for args, warned := range map[string]bool{
		"": true, "--service-plan-sku=Y1": true, "--service-plan-sku=FC1": true, "--service-plan-sku=B1": false,
		"--service-plan-sku=EP1": false, "--app-service-plan=p": false, "--app-service-plan=p --service-plan-sku=Y1": false,
		"--service-plan-sku=bad": false,
	} {
		l, err := load(append(strings.Fields(args), "--config", writeConfig(t, baseConfig)), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		var printed bytes.Buffer
		if err := l.Print(&printed); err != nil {
			t.Fatal(err)
		}
		shown := strings.HasPrefix(printed.String(), "# Warning: no container can run: ")
		if len(l.Warnings()) != map[bool]int{true: 1}[warned] || shown != warned {
			t.Errorf("%s: got %q and\n%s", args, l.Warnings(), &printed)
		}
		if again, err := load([]string{"--config", writeConfig(t, printed.String())}, nil, ""); warned &&
			(err != nil || again.Err() != nil || !cmp.Equal(again.Config(), l.Config())) {
			t.Errorf("%s: read again as %+v, %v", args, again, err)
		}
	}
}
