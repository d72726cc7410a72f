package config

import (
	"github.com/sockerless/backend-azf/internal/audit/sink"
	"github.com/sockerless/backend-azf/internal/azurecloud"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Methods of finding a credential, in the order in which DefaultAzureCredential tries them. MethodAuto tries all.
const (
	MethodAuto             = "auto"
	MethodEnvironment      = "environment"
	MethodWorkloadIdentity = "workload-identity"
	MethodManagedIdentity  = "managed-identity"
	MethodAzureCLI         = "azure-cli"
)

// Methods returns all methods of finding a credential.
func Methods() []string {
	return []string{MethodAuto, MethodEnvironment, MethodWorkloadIdentity, MethodManagedIdentity, MethodAzureCLI}
}

// Values of gc: what happens to resources in Azure and workspaces that have no container.
const (
	GCReport = "report"
	GCDelete = "delete"
)

// Values of attach: whether every attach is refused, or shows the output of a run when the run ends.
const (
	AttachOff    = "off"
	AttachOutput = "output"
)

// Values of foundation_changes: what happens to a plan that changes what containers share. FoundationRefuse is the name
// of FoundationApply in earlier releases. Only FoundationReplace applies one that deletes, replaces or shrinks it.
const (
	FoundationApply   = "apply"
	FoundationHold    = "hold"
	FoundationRefuse  = "refuse"
	FoundationReplace = "replace"
)

// Values of archive_secrets: whether the archive keeps variables, plan files and states of removed containers.
const (
	ArchiveSecretsRemove = "remove"
	ArchiveSecretsKeep   = "keep"
)

// Values of audit_anchor: whether checkpoints of the audit trail are put into the storage account, too.
const (
	AnchorOff   = "off"
	AnchorAzure = "azure"
)

// Values of wrap: whether images without a Functions host are wrapped in one.
const (
	WrapAuto = "auto"
	WrapOff  = "off"
)

// Values of provider_pool. A boolean would not take YAML's off.
const (
	PoolOn  = "on"
	PoolOff = "off"
)

// settings returns the table of all settings, in the order in which they are shown.
func settings() []setting {
	return []setting{
		{key: "listen", fallback: "unix:///var/run/sockerless-backend.sock",
			field: func(g *given) any { return &g.Listen.Address },
			help:  "`address` to answer on: unix:///path, tcp://host:port or fd:// (the socket that systemd passes)"},
		{key: "socket_mode", fallback: "0660", field: func(g *given) any { return &g.Listen.SocketMode },
			help: "octal `mode` of the unix socket"},
		{key: "socket_owner", number: true, field: func(g *given) any { return &g.Listen.SocketOwner },
			help: "`user` who owns the unix socket: name or number; empty means the daemon's own"},
		{key: "socket_group", number: true, field: func(g *given) any { return &g.Listen.SocketGroup },
			help: "`group` of the unix socket: name or number; empty means the daemon's own"},
		{key: "tls_cert", field: func(g *given) any { return &g.Listen.TLSCert },
			help: "PEM `file` with the certificate that TCP is served with"},
		{key: "tls_key", field: func(g *given) any { return &g.Listen.TLSKey },
			help: "PEM `file` with the private key of that certificate"},
		{key: "tls_client_ca", field: func(g *given) any { return &g.Listen.TLSClientCA },
			help: "PEM `file` with the authorities of client certificates; when set, clients need one"},
		{key: "insecure", fallback: "false", field: func(g *given) any { return &g.Listen.Insecure },
			help: "allow TCP without TLS beyond loopback"},
		{key: "state_dir", fallback: "/var/lib/sockerless-backend-azf", field: func(g *given) any { return &g.StateDir },
			help: "`folder` of database and Terraform workspaces"},
		{key: "shutdown_timeout", fallback: "30s", check: checkNotNegative,
			field: func(g *given) any { return &g.ShutdownTimeout },
			help: "how long requests and Terraform runs may continue after a signal before they are " +
				"interrupted, as a `duration`"},
		{key: "database", secret: true, check: store.CheckURL, field: func(g *given) any { return &g.Database },
			help: "URL of a PostgreSQL database, which several daemons may share; empty means SQLite in state_dir"},
		{key: "terraform_backend", fallback: "local", check: oneOf(workspace.BackendTypes()...),
			field: func(g *given) any { return &g.backendType },
			help: "where Terraform keeps states: local, pg, azurerm, s3, gcs or http; its settings are in " +
				"the file, below " + backendSection},
		{key: "gc", fallback: GCReport, check: oneOf(GCReport, GCDelete), field: func(g *given) any { return &g.GC },
			help: "report or delete: what happens to a function app or workspace of this daemon that has no container"},
		{key: "gc_grace", fallback: "1h", check: checkGrace, field: func(g *given) any { return &g.GCGrace },
			help: "how long such an app or workspace must have been seen before gc deletes it, as a `duration`"},
		{key: "foundation_changes", fallback: FoundationApply,
			check: oneOf(FoundationApply, FoundationHold, FoundationReplace, FoundationRefuse),
			field: func(g *given) any { return &g.FoundationChanges },
			help: "apply, hold or replace: whether changes of what containers share are applied, wait for the command plan " +
				"--apply, or may delete, replace or shrink it once"},
		{key: "attach", fallback: AttachOff, check: oneOf(AttachOff, AttachOutput),
			field: func(g *given) any { return &g.Attach },
			help:  "off or output: whether an attach is refused, or shows the output of a run and takes no input"},
		{key: "archive_secrets", fallback: ArchiveSecretsRemove, check: oneOf(ArchiveSecretsRemove, ArchiveSecretsKeep),
			field: func(g *given) any { return &g.ArchiveSecrets },
			help:  "remove or keep: whether the archive keeps variables, plan files and states, which hold secrets"},
		{key: "archive_keep", fallback: "90d", check: checkKeep, field: func(g *given) any { return &g.ArchiveKeep },
			help: "how long the workspaces of removed containers are kept, as a `duration`; 0d keeps them for ever"},
		{key: "audit_keep", fallback: "400d", check: checkKeep, field: func(g *given) any { return &g.Audit.Keep },
			help: "how long records of the audit trail are kept, as a `duration`; 0d keeps them for ever"},
		{key: "audit_sink", check: sink.Check, field: func(g *given) any { return &g.Audit.Sinks },
			help: "where records of the audit trail are sent too: file:///path, syslog+tls://host:port or journald, " +
				"with commas between several"},
		{key: "audit_anchor", fallback: AnchorOff, check: oneOf(AnchorOff, AnchorAzure),
			field: func(g *given) any { return &g.Audit.Anchor },
			help:  "azure puts checkpoints of the audit trail into the storage account; off does not"},
		{key: "audit_container", fallback: "sockerless-audit", check: checkBlobContainer,
			field: func(g *given) any { return &g.Audit.Container },
			help:  "blob `container` of those checkpoints"},
		{key: "policy", check: checkAbsolute, field: func(g *given) any { return &g.policyPath },
			help: "`folder` of rules in Rego, or an OPA bundle, that can refuse plans; several sets, and their settings, are " +
				"in the file, below " + policiesSection},
		{key: "policy_digest", check: checkDigest, field: func(g *given) any { return &g.Policy.Digest },
			help: "`digest` that all rules together must have, as docker info shows it; empty takes any"},
		{key: "policy_contact", field: func(g *given) any { return &g.Policy.Contact },
			help: "`text` at the end of refusals by policies: whom to ask"},
		{key: "reconcile_interval", fallback: "5m", check: checkInterval,
			field: func(g *given) any { return &g.ReconcileInterval },
			help: "how often containers, jobs, workspaces and Azure are compared and failed removals are " +
				"retried, as a `duration`"},
		{key: "max_terraform_runs", fallback: "4", check: atLeast(1),
			field: func(g *given) any { return &g.Limits.TerraformRuns },
			help:  "how many Terraform runs there may be at once"},
		{key: "max_terraform_runs_per_service_plan", fallback: "1", check: atLeast(1),
			field: func(g *given) any { return &g.Limits.TerraformRunsPerServicePlan },
			help:  "how many of them may change apps of one service plan at once"},
		{key: "max_azure_writes_per_minute", fallback: "600", check: atLeast(1),
			field: func(g *given) any { return &g.Limits.AzureWritesPerMinute },
			help:  "how many writes of Azure Resource Manager the daemon makes in a minute, in the long run"},
		{key: "max_queue", fallback: "100", check: atLeast(1), field: func(g *given) any { return &g.Limits.Queue },
			help: "how many containers may be in creation; more are refused with 503 and Retry-After"},
		{key: "terraform", field: func(g *given) any { return &g.Terraform },
			help: "`path` of the terraform or tofu binary; empty finds or installs one"},
		{key: "log_level", fallback: "info", check: oneOf("debug", "info", "warn", "error"),
			field: func(g *given) any { return &g.LogLevel },
			help:  "debug, info, warn or error"},
		{key: "provider_pool", fallback: PoolOn, check: oneOf(PoolOn, PoolOff),
			field: func(g *given) any { return &g.Providers.Pool },
			help:  "on keeps azurerm processes started for Terraform runs; off lets each terraform command start its own"},
		{key: "provider_pool_size", fallback: "2", check: atLeast(0),
			field: func(g *given) any { return &g.Providers.Size },
			help:  "`number` of azurerm processes that are started ahead"},
		{key: "provider_reuse", fallback: "1", check: atLeast(1), field: func(g *given) any { return &g.Providers.Reuse },
			help: "`number` of Terraform runs that one azurerm process serves, one after another; " +
				"these share a correlation id"},
		{key: "provider_max_age", fallback: "30m", check: checkMaxAge,
			field: func(g *given) any { return &g.Providers.MaxAge },
			help: "how long after its start an azurerm process may be given to a Terraform run, as a `duration`; less " +
				"than the lifetime of its login's tokens"},
		{key: "eager_polling", fallback: "true", field: func(g *given) any { return &g.Providers.Eager },
			help: "poll long-running operations of Azure without azurerm's delay of 10 seconds"},
		{key: "eager_polling_terraform_runs", fallback: "4", check: atLeast(1),
			field: func(g *given) any { return &g.Providers.EagerTerraformRuns },
			help:  "`number` of Terraform runs that may do so at once; others wait as azurerm does by itself"},

		{section: azureSection, key: "subscription_id", required: true, check: checkUUID,
			field: func(g *given) any { return &g.SubscriptionID },
			help:  "Azure subscription (required)"},
		{section: azureSection, key: "resource_group", required: true, check: checkResourceGroup,
			field: func(g *given) any { return &g.Azure.ResourceGroup },
			help:  "existing resource group that everything is created in (required)"},
		{section: azureSection, key: "location", required: true, check: checkLocation,
			field: func(g *given) any { return &g.Azure.Location },
			help:  "Azure region, such as westeurope (required)"},
		{section: azureSection, key: "storage_account", required: true, check: storageAccount.check,
			field: func(g *given) any { return &g.Azure.StorageAccount },
			help:  "existing storage account of the Functions host: name or resource id (required)"},
		{section: azureSection, key: "app_service_plan", check: eachOf(servicePlan.check),
			field: func(g *given) any { return &g.Azure.AppServicePlan },
			help:  "existing Linux service plans, with commas between: names or resource ids; empty creates them"},
		{section: azureSection, key: "service_plan_sku", check: checkSKU,
			field: func(g *given) any { return &g.Azure.ServicePlanSKU },
			help: "SKU of the service plans that are created: B1 or EP1 run images; " +
				"empty means Y1 (Consumption), which does not"},
		{section: azureSection, key: "apps_per_service_plan", fallback: "0", check: atLeast(0),
			field: func(g *given) any { return &g.Azure.AppsPerServicePlan },
			help:  "`number` of containers that a service plan takes; 0 means what its SKU has memory for"},
		{section: azureSection, key: "max_service_plans", fallback: "4", check: atLeast(1),
			field: func(g *given) any { return &g.Azure.MaxServicePlans },
			help:  "how many service plans are created at most; containers that find no room wait"},
		{section: azureSection, key: "spare_service_plans", fallback: "0", check: atLeast(0),
			field: func(g *given) any { return &g.Azure.SpareServicePlans },
			help:  "`number` of empty service plans that are kept ready"},
		{section: azureSection, key: "service_plan_idle", fallback: "30m", check: checkIdle,
			field: func(g *given) any { return &g.Azure.ServicePlanIdle },
			help: "how long a service plan without containers is kept, as a `duration`; 0s keeps the oldest one for ever, " +
				"and no other"},
		{section: azureSection, key: "timeout", fallback: "600", field: func(g *given) any { return &g.timeout },
			help: "longest run in `seconds`, at most 600 on Consumption and 3600 elsewhere"},
		{section: azureSection, key: "log_analytics_workspace", check: logWorkspace.check,
			field: func(g *given) any { return &g.Azure.LogAnalyticsWorkspace },
			help:  "existing Log Analytics workspace: name or resource id; empty creates one"},
		{section: azureSection, key: "application_insights", check: insights.check,
			field: func(g *given) any { return &g.Azure.ApplicationInsights },
			help:  "existing component, whose workspace is used: name or resource id; empty creates one"},
		{section: azureSection, key: "identity_id", check: checkIdentity,
			field: func(g *given) any { return &g.identity.ID },
			help:  "resource id of a user-assigned identity with access to the storage account"},
		{section: azureSection, key: "identity_client_id", check: checkUUID,
			field: func(g *given) any { return &g.identity.ClientID },
			help:  "client id of that identity"},
		{section: azureSection, key: "key_vault_references", fallback: "false",
			field: func(g *given) any { return &g.Azure.KeyVaultReferences },
			help: "let App Service put secrets, read with that identity, in place of @Microsoft.KeyVault(...) and " +
				"@Microsoft.AppConfiguration(...) in environments"},
		{section: azureSection, key: "registry", check: checkRegistry,
			field: func(g *given) any { return &g.Azure.Registry },
			help:  "host of a private registry; pulled from with the identity unless a user name is given"},
		{section: azureSection, key: "registry_username", field: func(g *given) any { return &g.Azure.RegistryUsername },
			help: "user name for that registry; its password is given in the environment or the file"},
		// No flag: every user of the machine can read a command line.
		{section: azureSection, key: "registry_password", secret: true,
			field: func(g *given) any { return &g.Azure.RegistryPassword },
			help:  "password for that registry"},
		{section: azureSection, key: "wrap", fallback: WrapAuto, check: oneOf(WrapAuto, WrapOff),
			field: func(g *given) any { return &g.Wrap.Mode },
			help: "auto or off: whether images without a Functions host are wrapped in one, which takes a registry that the " +
				"daemon may push to"},
		{section: azureSection, key: "wrap_base", fallback: "mcr.microsoft.com/azure-functions/base:4", check: checkImage,
			field: func(g *given) any { return &g.Wrap.Base },
			help:  "`image` with the Functions host that images are wrapped in; a digest pins it"},
		{section: azureSection, key: "wrap_refresh", fallback: "24h", check: checkInterval,
			field: func(g *given) any { return &g.Wrap.Refresh },
			help:  "how often the tag of wrap_base is looked up again, as a `duration`"},
		{section: azureSection, key: "wrap_repository", fallback: "sockerless", check: checkRepository,
			field: func(g *given) any { return &g.Wrap.Repository },
			help:  "`prefix` of the repositories in registry that wrapped images are pushed to"},
		{section: azureSection, key: "wrap_max_size", fallback: "4GiB", check: checkSize,
			field: func(g *given) any { return &g.Wrap.MaxSize },
			help:  "largest compressed `size` of an image that is wrapped"},
		{section: azureSection, key: "wrap_handler", check: checkAbsolute,
			field: func(g *given) any { return &g.Wrap.Handler },
			help:  "`path` of azf-handler for wrapped images, for linux/amd64; empty means the one of this release"},
		{section: azureSection, key: "wrap_keep", fallback: "168h", check: checkNotNegative,
			field: func(g *given) any { return &g.Wrap.Keep },
			help:  "how long wrapped images are kept that no container uses, as a `duration`; 0s keeps them for ever"},
		{section: azureSection, key: "cloud", fallback: azurecloud.Public, check: azurecloud.Check,
			field: func(g *given) any { return &g.CloudName },
			help:  "public, usgovernment, china, or the https `URL` of another cloud's Resource Manager"},
		{section: azureSection, key: "credential", fallback: MethodAuto, check: oneOf(Methods()...),
			field: func(g *given) any { return &g.CredentialMethod },
			help:  "auto, environment, workload-identity, managed-identity or azure-cli"},
		{section: azureSection, key: "owner", fallback: "default", check: checkOwner,
			field: func(g *given) any { return &g.Azure.Owner },
			help:  "name of this daemon in the names and tags of the resources that it creates"},
		{section: azureSection, key: "tags", field: func(g *given) any { return &g.Azure.Tags },
			help: "`name=value,name=value` put as tags on everything that is created; they win over labels"},
	}
}
