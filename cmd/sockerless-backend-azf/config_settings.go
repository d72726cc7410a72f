package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/uuid"

	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

var credentialMethods = []string{methodAuto, methodEnvironment, methodWorkloadIdentity, methodManagedIdentity, methodAzureCLI}

// What happens to things in Azure that have no container.
const (
	gcReport = "report"
	gcDelete = "delete"
)

// settings is the table of all settings, in the order in which they are shown.
func settings() []setting {
	return []setting{
		{key: "listen", fallback: "unix:///var/run/sockerless-backend.sock", field: func(c *config) any { return &c.Listen.Address },
			help: "`address` to answer on: unix:///path, tcp://host:port or fd:// (the socket that systemd passes)"},
		{key: "socket_mode", fallback: "0660", field: func(c *config) any { return &c.Listen.SocketMode },
			help: "octal `mode` of the unix socket"},
		{key: "socket_owner", number: true, field: func(c *config) any { return &c.Listen.SocketOwner },
			help: "`user` who owns the unix socket: name or number; empty means the daemon's own"},
		{key: "socket_group", number: true, field: func(c *config) any { return &c.Listen.SocketGroup },
			help: "`group` of the unix socket: name or number; empty means the daemon's own"},
		{key: "tls_cert", field: func(c *config) any { return &c.Listen.TLSCert },
			help: "PEM `file` with the certificate that TCP is served with"},
		{key: "tls_key", field: func(c *config) any { return &c.Listen.TLSKey },
			help: "PEM `file` with the private key of that certificate"},
		{key: "tls_client_ca", field: func(c *config) any { return &c.Listen.TLSClientCA },
			help: "PEM `file` with the authorities of client certificates; when set, clients need one"},
		{key: "insecure", fallback: "false", field: func(c *config) any { return &c.Listen.Insecure },
			help: "allow TCP without TLS beyond loopback"},
		{key: "state_dir", fallback: "/var/lib/sockerless-backend-azf", field: func(c *config) any { return &c.StateDir },
			help: "`folder` of database and Terraform workspaces"},
		{key: "shutdown_timeout", fallback: "30s", check: checkShutdownTimeout, field: func(c *config) any { return &c.ShutdownTimeout },
			help: "how long requests and Terraform runs may go on after a signal before they are interrupted, as a `duration`"},
		{key: "database", secret: true, check: store.CheckURL, field: func(c *config) any { return &c.Database },
			help: "URL of a PostgreSQL database, which several daemons may share; empty means SQLite in state_dir"},
		{key: "terraform_backend", fallback: "local", check: oneOf(workspace.BackendTypes()...), field: func(c *config) any { return &c.Backend.Type },
			help: "where Terraform keeps states: local, pg, azurerm, s3, gcs or http; its settings are in the file, below " + backendSection},
		{key: "gc", fallback: gcReport, check: oneOf(gcReport, gcDelete), field: func(c *config) any { return &c.GC },
			help: "report or delete: what happens to a function app or workspace of this daemon that has no container"},
		{key: "reconcile_interval", fallback: "5m", check: checkInterval, field: func(c *config) any { return &c.Reconcile },
			help: "how often containers, jobs, workspaces and Azure are compared and failed removals are tried again, as a `duration`"},
		{key: "max_terraform_runs", fallback: "4", check: atLeast(1), field: func(c *config) any { return &c.Limits.TerraformRuns },
			help: "how many Terraform runs go on at once"},
		{key: "max_terraform_runs_per_service_plan", fallback: "1", check: atLeast(1), field: func(c *config) any { return &c.Limits.TerraformRunsPerServicePlan },
			help: "how many of them change apps of the plan at once"},
		{key: "max_azure_writes_per_minute", fallback: "600", check: atLeast(1), field: func(c *config) any { return &c.Limits.AzureWritesPerMinute },
			help: "how many writes of Azure Resource Manager the daemon makes in a minute, in the long run"},
		{key: "max_queue", fallback: "100", check: atLeast(1), field: func(c *config) any { return &c.Limits.Queue },
			help: "how many containers may be in creation; more are refused with 503 and Retry-After"},
		{key: "terraform", field: func(c *config) any { return &c.Terraform },
			help: "`path` of the terraform or tofu binary; empty finds or installs one"},
		{key: "log_level", fallback: "info", check: oneOf("debug", "info", "warn", "error"), field: func(c *config) any { return &c.LogLevel },
			help: "debug, info, warn or error"},
		{key: "provider_pool", fallback: poolOn, check: oneOf(poolOn, poolOff), field: func(c *config) any { return &c.Providers.Pool },
			help: "on keeps azurerm processes started for Terraform runs; off lets each terraform command start its own"},
		{key: "provider_pool_size", fallback: "2", check: atLeast(0), field: func(c *config) any { return &c.Providers.Size },
			help: "`number` of azurerm processes that are started ahead"},
		{key: "provider_reuse", fallback: "1", check: atLeast(1), field: func(c *config) any { return &c.Providers.Reuse },
			help: "`number` of runs that one azurerm process serves, one after another; these share a correlation id"},
		{key: "provider_max_age", fallback: "30m", check: checkMaxAge, field: func(c *config) any { return &c.Providers.MaxAge },
			help: "how long after its start an azurerm process may be given to a run, as a `duration`; less than its login's tokens live"},
		{key: "eager_polling", fallback: "true", field: func(c *config) any { return &c.Providers.Eager },
			help: "look after operations in Azure without azurerm's delay of 10 seconds"},
		{key: "eager_polling_terraform_runs", fallback: "4", check: atLeast(1), field: func(c *config) any { return &c.Providers.EagerRuns },
			help: "`number` of runs that may do so at once; others wait as azurerm does by itself"},

		{section: azureSection, key: "subscription_id", required: true, check: checkUUID, field: func(c *config) any { return &c.SubscriptionID },
			help: "Azure subscription (required)"},
		{section: azureSection, key: "resource_group", required: true, check: checkResourceGroup, field: func(c *config) any { return &c.Azure.ResourceGroup },
			help: "existing resource group that everything is made in (required)"},
		{section: azureSection, key: "location", required: true, check: checkLocation, field: func(c *config) any { return &c.Azure.Location },
			help: "Azure region, such as westeurope (required)"},
		{section: azureSection, key: "storage_account", required: true, check: storageAccount.check, field: func(c *config) any { return &c.Azure.StorageAccount },
			help: "existing storage account of the Functions host: name or resource id (required)"},
		{section: azureSection, key: "app_service_plan", check: servicePlan.check, field: func(c *config) any { return &c.Azure.AppServicePlan },
			help: "existing Linux plan: name or resource id; empty makes one"},
		{section: azureSection, key: "service_plan_sku", check: checkSKU, field: func(c *config) any { return &c.Azure.ServicePlanSKU },
			help: "SKU of the plan that is made: B1 or EP1 run images; empty means Y1 (Consumption), which does not"},
		{section: azureSection, key: "timeout", fallback: "600", field: func(c *config) any { return &c.Timeout },
			help: "longest run in `seconds`, at most 600 on Consumption and 3600 elsewhere"},
		{section: azureSection, key: "log_analytics_workspace", check: logWorkspace.check, field: func(c *config) any { return &c.Azure.LogAnalyticsWorkspace },
			help: "existing workspace: name or resource id; empty makes one"},
		{section: azureSection, key: "application_insights", check: insights.check, field: func(c *config) any { return &c.Azure.ApplicationInsights },
			help: "existing component on that workspace: name or resource id; empty makes one"},
		{section: azureSection, key: "identity_id", check: checkIdentity, field: func(c *config) any { return &c.Identity.ID },
			help: "resource id of a user-assigned identity with access to the storage account"},
		{section: azureSection, key: "identity_client_id", check: checkUUID, field: func(c *config) any { return &c.Identity.ClientID },
			help: "client id of that identity"},
		{section: azureSection, key: "registry", check: checkRegistry, field: func(c *config) any { return &c.Azure.Registry },
			help: "host of a private registry; pulled from with the identity unless a user name is given"},
		{section: azureSection, key: "registry_username", field: func(c *config) any { return &c.Azure.RegistryUsername },
			help: "user name for that registry; its password is given in the environment or the file"},
		{section: azureSection, key: "registry_password", secret: true, field: func(c *config) any { return &c.Azure.RegistryPassword },
			help: "password for that registry"}, // no flag: every user of the machine can read a command line
		{section: azureSection, key: "credential", fallback: methodAuto, check: oneOf(credentialMethods...), field: func(c *config) any { return &c.Credential },
			help: "auto, environment, workload-identity, managed-identity or azure-cli"},
		{section: azureSection, key: "owner", fallback: "default", check: checkOwner, field: func(c *config) any { return &c.Azure.Owner },
			help: "name of this daemon in the names and tags of what it makes"},
	}
}

// checkTogether finds what is wrong with values that are each fine. A setting that has a problem already gets no second one.
func (l *loaded) checkTogether() {
	c := l.config
	fine := func(key string) bool { return !l.values[key].bad }
	given := func(key string) bool { return l.values[key].text != "" }
	report := func(key string, err error) {
		if fine(key) {
			l.problem(l.row(key), err)
		}
	}
	for _, problem := range c.Listen.Check() {
		report(problem.Field, problem.Err)
	}
	l.checkBackend()
	limit, plan := 3600, "any plan"
	if c.Azure.AppServicePlan == "" && (c.Azure.ServicePlanSKU == "" || strings.EqualFold(c.Azure.ServicePlanSKU, "Y1")) {
		limit, plan = 600, "a Consumption plan; for longer runs set service_plan_sku to B1 or EP1, or app_service_plan"
	}
	if (c.Timeout < 1 || c.Timeout > limit) && fine("service_plan_sku") && fine("app_service_plan") {
		report("timeout", fmt.Errorf("%d is out of range: use 1 to %d seconds, the most on %s", c.Timeout, limit, plan))
	}
	for _, pair := range [][2]string{
		{"identity_id", "identity_client_id"}, {"identity_client_id", "identity_id"},
		{"registry_username", "registry_password"}, {"registry_password", "registry_username"},
	} {
		if given(pair[0]) && !given(pair[1]) {
			report(pair[0], fmt.Errorf("it is set without %s: set both or none", pair[1]))
		}
	}
	if given("application_insights") && !given("log_analytics_workspace") {
		report("application_insights", errors.New("it is set without log_analytics_workspace, the workspace that its logs are read from: set both or none"))
	}
	if given("registry_username") && !given("registry") {
		report("registry_username", errors.New("it is set without registry, the host that it is for"))
	}
	if !fine("subscription_id") {
		return
	}
	for _, key := range []string{"storage_account", "app_service_plan", "log_analytics_workspace", "application_insights"} {
		if parts := strings.Split(l.values[key].text, "/"); len(parts) > 2 && !strings.EqualFold(parts[2], c.SubscriptionID) {
			report(key, fmt.Errorf("it is in subscription %s, and the daemon works in %s: use one there", parts[2], c.SubscriptionID))
		}
	}
}

func oneOf(values ...string) func(string) error {
	return func(text string) error {
		if !slices.Contains(values, text) {
			return fmt.Errorf("%q is none of %s", text, strings.Join(values, ", "))
		}
		return nil
	}
}

func matching(pattern *regexp.Regexp, text, want string) error {
	if !pattern.MatchString(text) {
		return fmt.Errorf("%q: use %s", text, want)
	}
	return nil
}

// Values of provider_pool. A boolean would not take YAML's off.
const (
	poolOn  = "on"
	poolOff = "off"
)

func atLeast(least int) func(string) error {
	return func(text string) error {
		if n, err := strconv.Atoi(text); err == nil && n < least {
			return fmt.Errorf("%d is out of range: use %d or more", n, least)
		}
		return nil
	}
}

func checkMaxAge(text string) error {
	if d, err := time.ParseDuration(text); err == nil && d <= 0 {
		return fmt.Errorf("%s is out of range: use more than 0s", text)
	}
	return nil
}

func checkInterval(text string) error {
	if d, err := time.ParseDuration(text); err == nil && d < time.Second {
		return fmt.Errorf("%s is out of range: use 1s or more", text)
	}
	return nil
}

func checkShutdownTimeout(text string) error {
	if d, err := time.ParseDuration(text); err == nil && d < 0 {
		return fmt.Errorf("%s is negative: use 0s or more", text)
	}
	return nil
}

func checkUUID(text string) error {
	if len(text) != 36 || uuid.Validate(text) != nil {
		return fmt.Errorf("%q is no UUID such as 00000000-0000-0000-0000-000000000000", text)
	}
	return nil
}

var (
	resourceGroupPattern = regexp.MustCompile(`^[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]$`)
	locationPattern      = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	ownerPattern         = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)
	registryPattern      = regexp.MustCompile("^" + reference.DomainRegexp.String() + "$")
	skuPattern           = regexp.MustCompile(`^(F1|D1|SHARED|[BS][1-3]|Y1|FC1|EP[1-3]|P[0-5]m?v[2-4]|I[1-3]|I[1-6]m?v2|WS[1-3])$`)
)

func checkResourceGroup(text string) error {
	return matching(resourceGroupPattern, text, "the name of a resource group: 1 to 90 letters, digits, hyphens, underscores, periods and parentheses, no period at the end")
}

func checkLocation(text string) error {
	return matching(locationPattern, text, "the short name of a region, such as westeurope")
}

func checkOwner(text string) error {
	return matching(ownerPattern, text, "1 to 24 lower-case letters, digits and hyphens, with a letter or digit at both ends")
}

func checkRegistry(text string) error {
	return matching(registryPattern, text, "a host name with an optional port, such as myregistry.azurecr.io, without https:// and path")
}

func checkSKU(text string) error {
	return matching(skuPattern, text, "a SKU as Azure writes it, such as B1, EP1 or P1v3")
}

// resource is a kind of thing in Azure that is named by its name or by its resource id.
type resource struct {
	what, provider, kind string
	name                 *regexp.Regexp // nil: only a resource id will do
	rule                 string
}

var (
	storageAccount = resource{"storage account", "Microsoft.Storage", "storageAccounts",
		regexp.MustCompile(`^[a-z0-9]{3,24}$`), "3 to 24 lower-case letters and digits"}
	servicePlan = resource{"App Service plan", "Microsoft.Web", "serverFarms",
		regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`), "1 to 60 letters, digits, hyphens and underscores"}
	logWorkspace = resource{"Log Analytics workspace", "Microsoft.OperationalInsights", "workspaces",
		regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]$`), "4 to 63 letters, digits and hyphens, with a letter or digit at both ends"}
	insights = resource{"Application Insights component", "Microsoft.Insights", "components",
		regexp.MustCompile(`^[^%&\\?/]{0,259}[^%&\\?/. ]$`), `1 to 260 characters without %&\?/, no period or space at the end`}
	identity = resource{"user-assigned identity", "Microsoft.ManagedIdentity", "userAssignedIdentities",
		nil, ""}
)

func (r resource) check(text string) error {
	form := fmt.Sprintf("/subscriptions/ID/resourceGroups/GROUP/providers/%s/%s/NAME", r.provider, r.kind)
	if !strings.Contains(text, "/") {
		switch {
		case r.name == nil:
			return fmt.Errorf("%q: use the resource id of a %s, of the form %s", text, r.what, form)
		case !r.name.MatchString(text):
			return fmt.Errorf("%q cannot be the name of the %s: use %s; or a resource id", text, r.what, r.rule)
		}
		return nil
	}
	parts, want := strings.Split(text, "/"), strings.Split(form, "/")
	if len(parts) != len(want) {
		return fmt.Errorf("%q: use a resource id of the form %s", text, form)
	}
	for i, part := range parts {
		fits := strings.EqualFold(part, want[i])
		switch want[i] {
		case "ID":
			fits = checkUUID(part) == nil
		case "GROUP":
			fits = checkResourceGroup(part) == nil
		case "NAME":
			fits = part != "" && (r.name == nil || r.name.MatchString(part))
		}
		if !fits {
			return fmt.Errorf("%q: %q does not belong there: use a resource id of the form %s", text, part, form)
		}
	}
	return nil
}

func checkIdentity(text string) error { return identity.check(text) }
