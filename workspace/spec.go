package workspace

// FunctionApp is the spec of one container's workspace: the variables of the module functionapp. The module describes
// each of them.
type FunctionApp struct {
	Name                                string            `json:"name"`
	ResourceGroupName                   string            `json:"resource_group_name"`
	Location                            string            `json:"location"`
	ServicePlanID                       string            `json:"service_plan_id"`
	AlwaysOn                            bool              `json:"always_on"`
	StorageAccountName                  string            `json:"storage_account_name"`
	StorageAccountResourceGroupName     string            `json:"storage_account_resource_group_name"`
	Identity                            *Identity         `json:"identity"`
	ApplicationInsightsConnectionString string            `json:"application_insights_connection_string"`
	RegistryURL                         string            `json:"registry_url"`
	RegistryUsername                    *string           `json:"registry_username"`
	RegistryPassword                    *string           `json:"registry_password"`
	RegistryUsesIdentity                bool              `json:"registry_uses_identity"`
	ImageName                           string            `json:"image_name"`
	ImageTag                            string            `json:"image_tag"`
	Command                             []string          `json:"command"`
	WorkingDir                          string            `json:"working_dir"`
	User                                string            `json:"user"`
	HandlerReadsSpec                    bool              `json:"handler_reads_spec"`
	HandlerSettings                     map[string]string `json:"handler_settings"`
	EnvironmentNames                    []string          `json:"environment_names"`
	KeyVaultReferences                  bool              `json:"key_vault_references"`
	FunctionTimeout                     string            `json:"function_timeout"`
	Environment                         map[string]string `json:"environment"`
	Tags                                map[string]string `json:"tags"`
	// DerivedImage is kept as image.json beside each plan, unless it is nil: from what the image was derived.
	DerivedImage any `json:"-"`
}

// Identity is a user-assigned managed identity.
type Identity struct {
	ID       string `json:"id"`
	ClientID string `json:"client_id"`
}

// Foundation is the spec of the shared workspace: the variables of the module foundation. A resource
// whose Existing is nil is created.
type Foundation struct {
	Name                  string            `json:"name"`
	ResourceGroupName     string            `json:"resource_group_name"`
	Location              string            `json:"location"`
	LogAnalyticsWorkspace *Existing         `json:"log_analytics_workspace"`
	ApplicationInsights   *Existing         `json:"application_insights"`
	Tags                  map[string]string `json:"tags"`
	// RemoveGeneratedRule is set by Foundation.
	RemoveGeneratedRule bool `json:"remove_generated_rule"`
	// Replace allows one plan that deletes, replaces or shrinks resources.
	Replace bool `json:"-"`
	// Hold keeps a change from what is there, until Approved is the digest of the plan with it (Step.Change). What is not
	// there is created.
	Hold     bool   `json:"-"`
	Approved string `json:"-"`
	// AdoptedServicePlan is the resource id of a service plan that has a workspace of its own. A state of an earlier
	// release that holds it, too, forgets it without a change in Azure. It forgets no other one.
	AdoptedServicePlan string `json:"-"`
}

// ServicePlan is the spec of the workspace of one service plan: the variables of the module serviceplan. They count
// when the service plan is created, and change no service plan that exists.
type ServicePlan struct {
	Name              string `json:"name"`
	ResourceGroupName string `json:"resource_group_name"`
	Location          string `json:"location"`
	SKU               string `json:"sku"`
	PerSiteScaling    bool   `json:"per_site_scaling"`
	// MaximumElasticWorkers is for Elastic Premium alone. Nil leaves it to Azure.
	MaximumElasticWorkers *int              `json:"maximum_elastic_workers"`
	Tags                  map[string]string `json:"tags"`
	// Adopt is FoundationOutputs.EarlierServicePlan: when that is this service plan, it is ours whatever its tags are.
	Adopt string `json:"-"`
}

// Existing names a resource that others created.
type Existing struct {
	Name              string `json:"name"`
	ResourceGroupName string `json:"resource_group_name"`
}
