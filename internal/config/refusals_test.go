package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigRefusals gives one mistake at a time and wants exactly its message, which names the place of the mistake.
func TestConfigRefusals(t *testing.T) {
	folder := t.TempDir()
	missing := filepath.Join(folder, "missing")
	noUUID := ` is not a UUID such as 00000000-0000-0000-0000-000000000000`
	form := func(kind string) string {
		return "a resource id of the form /subscriptions/ID/resourceGroups/GROUP/providers/" + kind + "/NAME"
	}
	id := func(group, kind, name string) string {
		return "/subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/" + kind + "/" + name
	}
	plain := "other machines could reach %s in plain text and run containers in your subscription: give tls_cert and " +
		"tls_key, and tls_client_ca to admit only clients that you know; or listen on 127.0.0.1; or allow it with insecure"
	for _, row := range []struct {
		name string
		file string // added to baseConfig, which has 5 lines
		raw  string // in place of it
		env  string
		args []string
		mode os.FileMode
		want string
	}{
		// The file as such.
		{name: "unknown key, close", file: "  resource_grup: rg\n",
			want: `FILE:6: there is no setting "resource_grup" here: did you mean resource_group?`},
		{name: "unknown key, not close", file: "pigment: blue\n",
			want: `FILE:6: there is no setting "pigment" here: remove it`},
		{name: "key of the section at the top", file: "timeout: 60\n",
			want: `FILE:6: timeout belongs below azf: indent it there`},
		{name: "key of the top in the section", file: "  state_dir: /srv\n",
			want: `FILE:6: state_dir belongs at the top level, not below azf`},
		{name: "duplicate in the section", file: "  location: northeurope\n",
			want: `FILE:6: location is given twice, first in line 4: keep one`},
		{name: "duplicate at the top", file: "log_level: info\n\nlog_level: warn\n",
			want: `FILE:8: log_level is given twice, first in line 6: keep one`},
		{name: "duplicate section", file: "azf:\n  owner: a\n",
			want: `FILE:6: azf is given twice, first in line 1: keep one`},
		{name: "section that is a value", raw: "azf: yes\n", env: "ALL",
			want: `FILE:1: azf holds the settings of Azure: indent them below it`},
		{name: "list", raw: "\n- a\n", env: "ALL",
			want: `FILE:2: a configuration is made of lines such as state_dir: /var/lib/azf`},
		{name: "second document", file: "---\nlog_level: info\n", want: `FILE:7: a second document begins here: keep one`},
		{name: "no YAML", file: "  owner: [a\n", want: "FILE:6: this is not YAML: sequence end token ']' not found"},
		{name: "key that is a number", file: "12: a\n", want: "FILE:6: 12 is not a key: use the plain name of a setting"},
		{name: "merge key", file: "<<: {}\n", want: "FILE:6: << is not a key: use the plain name of a setting"},
		{name: "missing file", args: []string{"--config", missing}, env: "ALL",
			want: "the configuration file: open " + missing + ": no such file or directory"},
		{name: "missing file of the environment", env: "ALL SOCKERLESS_AZF_CONFIG=" + missing,
			want: "the configuration file: open " + missing + ": no such file or directory"},
		{name: "folder", args: []string{"--config", folder}, env: "ALL",
			want: "the configuration file: read " + folder + ": is a directory"},
		{name: "too long", raw: strings.Repeat("#", maxConfigFile+1), env: "ALL",
			want: "the configuration file: FILE is longer than 65536 bytes: name another file"},

		// Kinds of values.
		{name: "no value", file: "  owner:\n",
			want: `FILE:6: azf.owner: it has no value: give one, "" for an empty one, or remove the line`},
		{name: "number for text", file: "  owner: 12\n", want: "FILE:6: azf.owner: it must be a string: put it in quotes"},
		{name: "boolean for text", file: "  registry: true\n",
			want: "FILE:6: azf.registry: it must be a string: put it in quotes"},
		{name: "mapping for text", file: "  owner: {a: b}\n",
			want: "FILE:6: azf.owner: it must be a string: put it in quotes"},
		{name: "alias", file: "  registry: &a r\n", want: "FILE:6: azf.registry: it must be a string: put it in quotes"},
		{name: "text for number", file: "  timeout: 10m\n",
			want: "FILE:6: azf.timeout: it must be a whole number such as 600"},
		{name: "quoted number", file: "  timeout: \"60\"\n",
			want: "FILE:6: azf.timeout: it must be a whole number such as 600"},
		{name: "fraction", file: "  timeout: 60.5\n", want: "FILE:6: azf.timeout: it must be a whole number such as 600"},
		{name: "hexadecimal number", file: "  timeout: 0x10\n",
			want: `FILE:6: azf.timeout: "0x10": use a whole number such as 600`},
		{name: "text for boolean", file: "insecure: yes\n", want: "FILE:6: insecure: it must be true or false"},
		{name: "number for duration", file: "shutdown_timeout: 30\n",
			want: "FILE:6: shutdown_timeout: it must be a duration with a unit such as 30s or 90d"},
		{name: "no duration", file: "shutdown_timeout: soon\n",
			want: `FILE:6: shutdown_timeout: "soon": use a duration with a unit such as 30s or 90d`},
		{name: "no number in the environment", env: "SOCKERLESS_AZF_TIMEOUT=10m",
			want: `SOCKERLESS_AZF_TIMEOUT: "10m": use a whole number such as 600`},
		{name: "no boolean in the environment", env: "SOCKERLESS_AZF_INSECURE=maybe",
			want: `SOCKERLESS_AZF_INSECURE: "maybe": use true or false`},
		{name: "no number as a flag", args: []string{"--timeout", "1h"},
			want: `--timeout: "1h": use a whole number such as 600`},
		{name: "hours of audit_keep", file: "audit_keep: 23h\n",
			want: "FILE:6: audit_keep: 23h is out of range: use 1d or more, or 0d to keep all"},
		{name: "sink", file: "audit_sink: journald,http://logs\n",
			want: `FILE:6: audit_sink: "http://logs": use file:///path, syslog+tls://host:port or journald`},
		{name: "relative sink", file: "audit_sink: file://trail.jsonl\n",
			want: `FILE:6: audit_sink: "file://trail.jsonl": use file:///path, syslog+tls://host:port or journald`},
		{name: "parameter of a sink", file: "audit_sink: syslog+tls://logs?tls=no\n",
			want: `FILE:6: audit_sink: "syslog+tls://logs?tls=no": the parameter tls is unknown: there are ca, cert and key`},
		{name: "half a certificate of a sink", file: "audit_sink: syslog+tls://logs?cert=/c\n",
			want: `FILE:6: audit_sink: "syslog+tls://logs?cert=/c": give both cert and key, or neither`},
		{name: "blob container", file: "audit_container: A\n",
			want: `FILE:6: audit_container: "A": use the name of a blob container: 3 to 63 lower-case letters, digits and ` +
				"single hyphens"},
		{name: "no duration as a flag", args: []string{"--shutdown-timeout=30"},
			want: `--shutdown-timeout: "30": use a duration with a unit such as 30s or 90d`},
		{name: "line break", file: "  registry_password: |\n    secret\n",
			want: "FILE:6: azf.registry_password: it holds a line break or another control character: remove it"},
		{name: "empty", args: []string{"--state-dir="},
			want: "--state-dir: it must not be empty; the default is /var/lib/sockerless-backend-azf"},
		{name: "empty in the environment", env: "SOCKERLESS_AZF_TIMEOUT=",
			want: "SOCKERLESS_AZF_TIMEOUT: it must not be empty; the default is 600"},

		// Variables.
		{name: "unknown variable, close", env: "SOCKERLESS_AZF_TIMEOUTS=1",
			want: "SOCKERLESS_AZF_TIMEOUTS: no setting has this environment variable: did you mean SOCKERLESS_AZF_TIMEOUT?"},
		{name: "unknown variable, not close", env: "SOCKERLESS_AZF_PIGMENT=blue",
			want: "SOCKERLESS_AZF_PIGMENT: no setting has this environment variable: remove it"},

		// Azure.
		{name: "required", raw: strings.Replace(baseConfig, "  resource_group: rg\n", "", 1),
			want: "azf.resource_group: it is required: set it in the file, as SOCKERLESS_AZF_RESOURCE_GROUP or as " +
				"--resource-group"},
		{name: "required and empty", raw: strings.Replace(baseConfig, ": westeurope", `: ""`, 1),
			want: "FILE:4: azf.location: it is required: set it in the file, as SOCKERLESS_AZF_LOCATION or as --location"},
		{name: "required and emptied by a flag", args: []string{"--storage-account="},
			want: "--storage-account: it is required: set it in the file, as SOCKERLESS_AZF_STORAGE_ACCOUNT or as " +
				"--storage-account"},
		{name: "subscription", args: []string{"--subscription-id", "production"},
			want: `--subscription-id: "production"` + noUUID},
		{name: "subscription in braces", args: []string{"--subscription-id={" + subscription + "}"},
			want: `--subscription-id: "{` + subscription + `}"` + noUUID},
		{name: "resource group", env: "SOCKERLESS_AZF_RESOURCE_GROUP=my group",
			want: `SOCKERLESS_AZF_RESOURCE_GROUP: "my group": use the name of a resource group: ` +
				"1 to 90 letters, digits, hyphens, underscores, periods and parentheses, no period at the end"},
		{name: "resource group that ends in a period", args: []string{"--resource-group=rg."},
			want: `--resource-group: "rg.": use the name of a resource group: ` +
				"1 to 90 letters, digits, hyphens, underscores, periods and parentheses, no period at the end"},
		{name: "location", args: []string{"--location", "West Europe"},
			want: `--location: "West Europe": use the short name of a region, such as westeurope`},
		{name: "storage account", args: []string{"--storage-account", "My-Store"},
			want: `--storage-account: "My-Store" cannot be the name of the storage account: use 3 to 24 lower-case letters ` +
				`and digits; or a resource id`},
		{name: "id of something else", args: []string{"--storage-account", id("rg", "Microsoft.Web/serverFarms", "plan")},
			want: `--storage-account: "` +
				id("rg", "Microsoft.Web/serverFarms", "plan") + `": "Microsoft.Web" does not belong there: use ` +
				form("Microsoft.Storage/storageAccounts")},
		{name: "id with a bad group",
			args: []string{"--storage-account", id("r g", "Microsoft.Storage/storageAccounts", "store")},
			want: `--storage-account: "` + id("r g", "Microsoft.Storage/storageAccounts", "store") +
				`": "r g" does not belong there: use ` + form("Microsoft.Storage/storageAccounts")},
		{name: "id with a bad name", args: []string{"--app-service-plan", id("rg", "Microsoft.Web/serverFarms", "p l")},
			want: `--app-service-plan: "` +
				id("rg", "Microsoft.Web/serverFarms", "p l") + `": "p l" does not belong there: use ` +
				form("Microsoft.Web/serverFarms")},
		{name: "id that is cut off", args: []string{"--log-analytics-workspace", "/subscriptions/" + subscription},
			want: `--log-analytics-workspace: "/subscriptions/` +
				subscription + `": use ` + form("Microsoft.OperationalInsights/workspaces")},
		{name: "id of another subscription",
			raw: strings.Replace(baseConfig, "store\n",
				"/subscriptions/"+clientID+"/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store\n", 1),
			want: "FILE:5: azf.storage_account: it is in subscription " + clientID + ", and the daemon works in " +
				subscription + ": use one there"},
		{name: "plan", file: "  app_service_plan: my plan\n",
			want: `FILE:6: azf.app_service_plan: "my plan" cannot be the name of the App Service plan: use 1 to 60 letters, ` +
				`digits, hyphens and underscores; or a resource id`},
		{name: "workspace", file: "  log_analytics_workspace: -logs\n",
			want: `FILE:6: azf.log_analytics_workspace: "-logs" cannot be the name of the Log Analytics workspace: ` +
				"use 4 to 63 letters, digits and hyphens, with a letter or digit at both ends; or a resource id"},
		{name: "insights", file: "  application_insights: what?\n",
			want: `FILE:6: azf.application_insights: "what?" cannot be the name of the Application Insights component: ` +
				`use 1 to 260 characters without %&\?/, no period or space at the end; or a resource id`},
		{name: "SKU", file: "  service_plan_sku: b1\n",
			want: `FILE:6: azf.service_plan_sku: "b1": use a SKU as Azure writes it, such as B1, EP1 or P1v3`},
		{name: "timeout of none", args: []string{"--timeout=0"},
			want: "--timeout: 0 is out of range: use 1 to 600 seconds, the most on a Consumption plan; for longer runs set " +
				"service_plan_sku to B1 or EP1, or app_service_plan"},
		{name: "timeout on Consumption", file: "  timeout: 601\n",
			want: "FILE:6: azf.timeout: 601 is out of range: use 1 to 600 seconds, the most on a Consumption plan; for longer " +
				"runs set service_plan_sku to B1 or EP1, or app_service_plan"},
		{name: "timeout on Y1", file: "  timeout: 601\n  service_plan_sku: Y1\n",
			want: "FILE:6: azf.timeout: 601 is out of range: use 1 to 600 seconds, the most on a Consumption plan; for longer " +
				"runs set service_plan_sku to B1 or EP1, or app_service_plan"},
		{name: "timeout elsewhere", env: "SOCKERLESS_AZF_TIMEOUT=3601", args: []string{"--service-plan-sku", "B1"},
			want: "SOCKERLESS_AZF_TIMEOUT: 3601 is out of range: use 1 to 3600 seconds, the most on any plan"},
		{name: "timeout on a named plan", file: "  timeout: 3601\n  app_service_plan: p\n",
			want: "FILE:6: azf.timeout: 3601 is out of range: use 1 to 3600 seconds, the most on any plan"},
		{name: "identity by name", file: "  identity_id: ci\n  identity_client_id: " + clientID + "\n",
			want: `FILE:6: azf.identity_id: "ci": use the resource id of a user-assigned identity, of the form ` +
				`/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME`},
		{name: "identity without client id", file: "  identity_id: " + identityID + "ci\n",
			want: "FILE:6: azf.identity_id: it is set without identity_client_id: set both or none"},
		{name: "client id without identity", env: "SOCKERLESS_AZF_IDENTITY_CLIENT_ID=" + clientID,
			want: "SOCKERLESS_AZF_IDENTITY_CLIENT_ID: it is set without identity_id: set both or none"},
		{name: "client id", file: "  identity_id: " + identityID + "ci\n  identity_client_id: ci\n",
			want: `FILE:7: azf.identity_client_id: "ci"` + noUUID},
		{name: "registry with a scheme", file: "  registry: https://r.io\n",
			want: `FILE:6: azf.registry: "https://r.io": use a host name with an optional port, such as ` +
				`myregistry.azurecr.io, without https:// and path`},
		{name: "user without password", file: "  registry: r.io\n  registry_username: ci\n",
			want: "FILE:7: azf.registry_username: it is set without registry_password: set both or none"},
		{name: "password without user", file: "  registry: r.io\n", env: "SOCKERLESS_AZF_REGISTRY_PASSWORD=secret",
			want: "SOCKERLESS_AZF_REGISTRY_PASSWORD: it is set without registry_username: set both or none"},
		{name: "references without identity", file: "  key_vault_references: true\n",
			want: "FILE:6: azf.key_vault_references: it is set without identity_id, the identity that reads the secrets"},
		{name: "user without registry", file: "  registry_username: ci\n  registry_password: secret\n",
			want: "FILE:6: azf.registry_username: it is set without registry, the host that it is for"},
		{name: "hidden password", file: "  registry: r.io\n  registry_username: ci\n  registry_password: (hidden)\n",
			want: "FILE:8: azf.registry_password: this is what config print shows in place of the secret: put the secret " +
				"itself here"},
		{name: "password that all can read", file: "  registry: r.io\n  registry_username: ci\n  registry_password: " +
			"secret\n", mode: 0o644,
			want: "FILE:8: azf.registry_password: every user of the machine can read this secret: run chmod 0600 FILE, or " +
				"give it as SOCKERLESS_AZF_REGISTRY_PASSWORD"},
		{name: "number for tags", file: "  tags: 12\n",
			want: "FILE:6: azf.tags: it must be a map: {name: value} in the file, name=value,name=value elsewhere"},
		{name: "tag that is a number", file: "  tags:\n    cost: 12\n",
			want: `FILE:6: azf.tags: the value of "cost" must be a string: put it in quotes`},
		{name: "name of a tag that is a number", file: "  tags: {12: a}\n",
			want: `FILE:6: azf.tags: the name 12 must be a string: put it in quotes`},
		{name: "tag twice", file: "  tags: {a: b, a: c}\n", want: `FILE:6: azf.tags: "a" is given twice: keep one`},
		{name: "name of a tag with =", file: "  tags: {a=b: c}\n",
			want: `FILE:6: azf.tags: the name "a=b" must not contain =`},
		{name: "tag without value", args: []string{"--tags", "a=b,c"}, want: `--tags: "c" has no =: use a map: ` +
			"{name: value} in the file, name=value,name=value elsewhere"},
		{name: "tag twice in a flag", args: []string{"--tags", "a=b,a=c"}, want: `--tags: "a" is given twice: use a map: ` +
			"{name: value} in the file, name=value,name=value elsewhere"},
		{name: "tags on two lines", env: "SOCKERLESS_AZF_TAGS=a=b\nc=d", want: "SOCKERLESS_AZF_TAGS: it has several " +
			"lines: use a map: {name: value} in the file, name=value,name=value elsewhere"},
		{name: "tag with a line break", file: "  tags: {a: \"b\\nc\"}\n",
			want: `FILE:6: azf.tags: tag "a": it has a line break or another control character`},
		{name: "tags that Azure and the daemon keep", env: "SOCKERLESS_AZF_TAGS=Azure-team=x,Sockerless-Owner=me,a/b=c",
			want: `SOCKERLESS_AZF_TAGS: tag "Azure-team": its name begins with azure, which Azure keeps for itself; ` +
				`tag "Sockerless-Owner": the daemon sets this tag itself; ` +
				`tag "a/b": its name has one of the characters <>%&\?/`},
		{name: "tag in two cases", args: []string{"--tags", "Team=a,team=b"},
			want: `--tags: tag "team": it is the same tag as "Team", because Azure ignores case`},
		{name: "owner", args: []string{"--owner", "Team A"},
			want: `--owner: "Team A": use 1 to 24 lower-case letters, digits and hyphens, with a letter or digit at both ends`},
		{name: "cloud", file: "  cloud: germany\n",
			want: `FILE:6: azf.cloud: "germany": use public, usgovernment or china, or the https URL of the cloud's ` +
				`Resource Manager, such as https://management.example.com`},
		{name: "cloud without TLS", args: []string{"--cloud=http://management.example.com"},
			want: `--cloud: "http://management.example.com": use public, usgovernment or china, or the https URL of the ` +
				`cloud's Resource Manager, such as https://management.example.com`},
		{name: "cloud with a path", args: []string{"--cloud=https://management.example.com/metadata"},
			want: `--cloud: "https://management.example.com/metadata": use public, usgovernment or china, or the https URL ` +
				`of the cloud's Resource Manager, such as https://management.example.com`},
		{name: "credential", file: "  credential: password\n",
			want: `FILE:6: azf.credential: "password" is none of auto, environment, workload-identity, managed-identity, ` +
				`azure-cli`},

		// The daemon.
		{name: "database", file: "database: mysql://u:hunter2@h/d\n",
			want: "FILE:6: database: use a URL such as postgres://user:password@host/database"},
		{name: "database as a flag", args: []string{"--database=postgres://h/d"}, want: "unknown flag: --database"},
		{name: "database that all can read", file: "database: postgres://u:hunter2@h/d\nterraform_backend: pg\n", mode: 0o644,
			want: "FILE:6: database: every user of the machine can read this secret: run chmod 0600 FILE, or give it as " +
				"SOCKERLESS_AZF_DATABASE"},
		{name: "local backend with PostgreSQL", env: "SOCKERLESS_AZF_DATABASE=postgres://h/d",
			want: "terraform_backend: with a PostgreSQL database, several daemons may work on " +
				"the same containers, so Terraform's states must be where all of them are: use azurerm, gcs, http, pg, s3"},
		{name: "backend", args: []string{"--terraform-backend=consul"},
			want: `--terraform-backend: "consul" is none of local, azurerm, gcs, http, pg, s3`},
		{name: "backend without its settings", file: "terraform_backend: azurerm\nterraform_backend_config:\n  " +
			"container_name: c\n",
			want: "FILE:6: terraform_backend: terraform_backend_config.storage_account_name is not given in the file: the " +
				"backend azurerm needs it"},
		{name: "backend pg without a database", args: []string{"--terraform-backend=pg"},
			want: "--terraform-backend: terraform_backend_config.conn_str is not given in the file: the backend pg needs it"},
		{name: "settings without a backend", file: "terraform_backend_config:\n  container_name: c\n",
			want: "FILE:7: terraform_backend_config.container_name: the backend local has no settings"},
		{name: "key of the backend", file: "terraform_backend: s3\nterraform_backend_config:\n  bucket: b\n  region: r\n  " +
			"key: k\n",
			want: "FILE:10: terraform_backend_config.key: it cannot be set: the daemon gives each container a key of its own"},
		{name: "credential of the backend", file: "terraform_backend: azurerm\nterraform_backend_config:\n  " +
			"storage_account_name: a\n  container_name: b\n  client_secret: hunter2\n",
			want: "FILE:10: terraform_backend_config.client_secret: it cannot be set: the daemon's own credential is used, " +
				"see credential; set use_azuread_auth to true"},
		{name: "http without key", file: "terraform_backend: http\nterraform_backend_config: {address: https://h/s}\n",
			want: "FILE:7: terraform_backend_config.address: it must hold {key}, which stands for the name of a state: " +
				"otherwise all containers would have the same"},
		{name: "backend secret that all can read", file: "terraform_backend: pg\nterraform_backend_config:\n  conn_str: " +
			"postgres://h/d\n", mode: 0o644,
			want: "FILE:8: terraform_backend_config.conn_str: every user of the machine can read this secret: run chmod 0600 " +
				"on the file"},
		{name: "hidden secret of the backend", file: "terraform_backend: pg\nterraform_backend_config:\n  conn_str: " +
			"(hidden)\n",
			want: "FILE:8: terraform_backend_config.conn_str: this is what config print shows in place of the secret: put the " +
				"secret itself here"},
		{name: "list for a setting of the backend", file: "terraform_backend: pg\nterraform_backend_config:\n  conn_str: " +
			"postgres://h/d\n  more: [a]\n",
			want: "FILE:9: terraform_backend_config.more: it must be a string, a whole number, true or false"},
		{name: "settings of the backend that are a text", file: "terraform_backend_config: pg\n",
			want: "FILE:6: terraform_backend_config holds the settings of Terraform's backend: indent them below it"},
		{name: "setting of the backend given twice", file: "terraform_backend: pg\nterraform_backend_config:\n  conn_str: " +
			"postgres://h/d\n  conn_str: x\n",
			want: "FILE:9: conn_str is given twice: keep one"},
		{name: "log level", args: []string{"--log-level", "trace"},
			want: `--log-level: "trace" is none of debug, info, warn, error`},
		{name: "negative stop timeout", file: "shutdown_timeout: -1s\n",
			want: "FILE:6: shutdown_timeout: -1s is negative: use 0s or more"},
		{name: "gc", args: []string{"--gc", "on"}, want: `--gc: "on" is none of report, delete`},
		{name: "no grace", file: "gc_grace: 59s\n", want: "FILE:6: gc_grace: 59s is out of range: use 1m or more"},
		{name: "foundation changes", args: []string{"--foundation-changes", "on"},
			want: `--foundation-changes: "on" is none of apply, hold, replace, refuse`},
		{name: "reconcile too often", file: "reconcile_interval: 100ms\n",
			want: "FILE:6: reconcile_interval: 100ms is out of range: use 1s or more"},
		{name: "no runs", args: []string{"--max-terraform-runs=0"},
			want: "--max-terraform-runs: 0 is out of range: use 1 or more"},
		{name: "no runs of a plan", file: "max_terraform_runs_per_service_plan: 0\n",
			want: "FILE:6: max_terraform_runs_per_service_plan: 0 is out of range: use 1 or more"},
		{name: "no writes", file: "max_azure_writes_per_minute: -1\n",
			want: "FILE:6: max_azure_writes_per_minute: -1 is out of range: use 1 or more"},
		{name: "no queue", env: "SOCKERLESS_AZF_MAX_QUEUE=0",
			want: "SOCKERLESS_AZF_MAX_QUEUE: 0 is out of range: use 1 or more"},
		{name: "provider pool", file: "provider_pool: false\n",
			want: "FILE:6: provider_pool: it must be a string: put it in quotes"},
		{name: "provider pool as a flag", args: []string{"--provider-pool=no"},
			want: `--provider-pool: "no" is none of on, off`},
		{name: "negative pool size", file: "provider_pool_size: -1\n",
			want: "FILE:6: provider_pool_size: -1 is out of range: use 0 or more"},
		{name: "no reuse", env: "SOCKERLESS_AZF_PROVIDER_REUSE=0",
			want: "SOCKERLESS_AZF_PROVIDER_REUSE: 0 is out of range: use 1 or more"},
		{name: "no age", args: []string{"--provider-max-age=0s"},
			want: "--provider-max-age: 0s is out of range: use more than 0s"},
		{name: "no eager runs", file: "eager_polling_terraform_runs: 0\n",
			want: "FILE:6: eager_polling_terraform_runs: 0 is out of range: use 1 or more"},
		{name: "address", env: "SOCKERLESS_AZF_LISTEN=http://localhost",
			want: `SOCKERLESS_AZF_LISTEN: "http://localhost" is not a valid address: use unix:///path, tcp://host:port or ` +
				`fd://`},
		{name: "plain TCP", file: "listen: tcp://0.0.0.0:2375\n",
			want: "FILE:6: listen: " + strings.Replace(plain, "%s", "tcp://0.0.0.0:2375", 1)},
		{name: "plain TCP as a flag", args: []string{"--listen", ":2375"},
			want: "--listen: " + strings.Replace(plain, "%s", ":2375", 1)},
		{name: "TLS on a unix socket", args: []string{"--tls-client-ca=ca.pem"},
			want: "--tls-client-ca: a unix socket is not served over TLS: remove it, or listen on tcp://host:port"},
		{name: "certificate without key", file: "listen: 127.0.0.1:0\ntls_cert: a.pem\n",
			want: "FILE:7: tls_cert: it needs tls_key, the private key of this certificate"},
		{name: "socket mode", file: "socket_mode: 0888\n",
			want: `FILE:6: socket_mode: "0888": use a file mode in octal digits such as 0660`},
		{name: "socket mode in the environment", env: "SOCKERLESS_AZF_SOCKET_MODE=rw",
			want: `SOCKERLESS_AZF_SOCKET_MODE: "rw": use a file mode in octal digits such as 0660`},
		{name: "socket mode with more bits", args: []string{"--socket-mode=2660"},
			want: "--socket-mode: 02660 is not a valid mode of a socket: use four octal digits such as 0660"},
		{name: "socket owner", file: "socket_owner: no-such-user\n",
			want: `FILE:6: socket_owner: no user "no-such-user" on this machine: create it, or give another name or a number`},
		{name: "socket group", file: "socket_group: no-such-group\n",
			want: `FILE:6: socket_group: no group "no-such-group" on this machine: create it, or give another name or a number`},
		{name: "socket group of TCP", args: []string{"--socket-group=0", "--listen=127.0.0.1:1"},
			want: "--socket-group: it is for unix sockets that the daemon creates, but the daemon listens on 127.0.0.1:1: " +
				"remove it"},
	} {
		t.Run(row.name, func(t *testing.T) {
			content := baseConfig + row.file
			if row.raw != "" {
				content = row.raw
			}
			path := writeConfig(t, content)
			if row.mode != 0 {
				if err := os.Chmod(path, row.mode); err != nil {
					t.Fatal(err)
				}
			}
			environ := []string{"PATH=/bin", "SOCKERLESS_AZF_CONFIG=" + path}
			if more, all := strings.CutPrefix(row.env, "ALL"); all {
				environ = append(environ, "SOCKERLESS_AZF_SUBSCRIPTION_ID="+subscription, "SOCKERLESS_AZF_RESOURCE_GROUP=rg",
					"SOCKERLESS_AZF_LOCATION=westeurope", "SOCKERLESS_AZF_STORAGE_ACCOUNT=store")
				row.env = strings.TrimSpace(more)
			}
			l, err := load(row.args, append(environ, row.env), "")
			if err == nil {
				err = l.Err()
			}
			if err == nil {
				t.Fatal("no problem")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	path := writeConfig(t,
		"listen: nowhere\nazf:\n  subscription_id: "+subscription+"\n  timeout: 9999\n  pigment: blue\n")
	environ := []string{"SOCKERLESS_AZF_CONFIG=" + path, "SOCKERLESS_AZF_OWNER=A", "SOCKERLESS_AZF_OWNR=a"}
	args := []string{"--location=West Europe"}
	want := `the configuration has 8 problems:
  FILE:5: there is no setting "pigment" here: remove it
  SOCKERLESS_AZF_OWNR: no setting has this environment variable: did you mean SOCKERLESS_AZF_OWNER?
  azf.resource_group: it is required: set it in the file, as SOCKERLESS_AZF_RESOURCE_GROUP or as --resource-group
  --location: "West Europe": use the short name of a region, such as westeurope
  azf.storage_account: it is required: set it in the file, as SOCKERLESS_AZF_STORAGE_ACCOUNT or as --storage-account
  SOCKERLESS_AZF_OWNER: "A": use 1 to 24 lower-case letters, digits and hyphens, with a letter or digit at both ends
  FILE:1: listen: "nowhere" is not a valid address: use unix:///path, tcp://host:port or fd://
  FILE:4: azf.timeout: 9999 is out of range: use 1 to 600 seconds, the most on a Consumption plan; ` +
		"for longer runs set service_plan_sku to B1 or EP1, or app_service_plan"
	l, err := load(args, environ, "")
	if err != nil || l.Err() == nil || strings.ReplaceAll(l.Err().Error(), path, "FILE") != want {
		t.Errorf("got %v, %v\nwant %s", err, l.Err(), want)
	}
	var printed bytes.Buffer
	if err := l.Print(&printed); err != nil {
		t.Fatal(err)
	}
	// What is there is shown all the same.
	for _, line := range []string{
		`listen: "nowhere" # file ` + path + ":1\n", "  timeout: 9999 # file " + path + ":4\n",
		`  location: "West Europe" # flag --location` + "\n", `  resource_group: "" # not given` + "\n",
	} {
		if !strings.Contains(printed.String(), line) {
			t.Errorf("%q is not in\n%s", line, &printed)
		}
	}
}

// TestOverriddenMistakes: a value that a flag or variable replaces is not checked, so that a file can be corrected
// for one run.
func TestOverriddenMistakes(t *testing.T) {
	path := writeConfig(t, baseConfig+"  owner: NOBODY\n")
	l, err := load([]string{"--config", path}, []string{"SOCKERLESS_AZF_OWNER=somebody"}, "")
	if err := errors.Join(err, l.Err()); err != nil || l.Config().Azure.Owner != "somebody" {
		t.Errorf("got %v", err)
	}
}

func TestPrintOnAFullDisk(t *testing.T) {
	l, err := load([]string{"--config", writeConfig(t, baseConfig)}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Print(failingWriter{}); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

var errFull = errors.New("no space left")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }
