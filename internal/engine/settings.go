package engine

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Settings describe the daemon's place in Azure.
type Settings struct {
	// SubscriptionID is the subscription of everything below. It is required.
	SubscriptionID string
	// ResourceGroup, Location and StorageAccount must exist and are required. StorageAccount, LogAnalyticsWorkspace and
	// ApplicationInsights are each a name in ResourceGroup or a resource id, and AppServicePlan is a list of such ones
	// with commas between. The engine creates the last three if they are empty.
	ResourceGroup  string
	Location       string
	StorageAccount string
	AppServicePlan string
	ServicePlanSKU string // of service plans that the engine creates; empty means Y1, the Consumption plan
	// AppsPerServicePlan is the number of apps on a service plan; 0 means that its SKU decides.
	AppsPerServicePlan int
	// MaxServicePlans is the number of service plans that the engine creates at most; 0 means 1. SpareServicePlans of them
	// are kept empty. ServicePlanIdle is the time for which it keeps an empty one; 0 keeps the oldest one, and no other.
	MaxServicePlans, SpareServicePlans int
	ServicePlanIdle                    time.Duration
	LogAnalyticsWorkspace              string
	ApplicationInsights                string
	// Identity, when set, is a user-assigned identity that opens the storage account.
	Identity *workspace.Identity
	// Registry is the host of a private registry. It needs RegistryUsername and RegistryPassword, or Identity if both are
	// empty.
	Registry         string
	RegistryUsername string
	RegistryPassword string
	// RegistrySuffix is the domain below which the cloud's container registries are, from which Identity pulls.
	RegistrySuffix string
	// KeyVaultReferences lets App Service put secrets in place of references in the environment.
	KeyVaultReferences bool
	// Owner distinguishes daemons that share a resource group. It is in the names and tags of what they create.
	Owner string
	// Tags are put on everything that the engine creates. CheckTags says which there may be.
	Tags map[string]string
	// Timeout is the longest run, in whole seconds.
	Timeout time.Duration
}

const (
	defaultSKU = "Y1"
	// consumptionMaxTimeout is the Functions host's limit on Consumption. Elsewhere the host has none, and maxTimeout
	// applies.
	consumptionMaxTimeout = 10 * time.Minute
	maxTimeout            = time.Hour
	// hostMargin lets the handler end a run before the host kills the handler.
	hostMargin = time.Minute
)

var ownerPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

func (s Settings) check() error {
	switch {
	case s.ResourceGroup == "" || s.Location == "" || s.StorageAccount == "":
		return api.Errorf(api.InvalidParameter, "resource group, location and storage account must be set")
	case !ownerPattern.MatchString(s.Owner):
		return api.Errorf(api.InvalidParameter, "owner %q: use 1 to 24 lower-case letters, digits and hyphens, "+
			"with a letter or digit at both ends", s.Owner)
	case s.Timeout < time.Second || s.Timeout%time.Second != 0 || s.Timeout > maxTimeout:
		return api.Errorf(api.InvalidParameter,
			"timeout %s: use whole seconds from 1 to %d", s.Timeout, int(maxTimeout/time.Second))
	}
	if err := CheckTags(s.Tags); err != nil {
		return api.Errorf(api.InvalidParameter, "%v", err)
	}
	if _, err := s.foundationSpec(); err != nil {
		return err
	}
	if _, err := s.existingPlans(); err != nil {
		return err
	}
	_, err := s.existing("storage_account", s.StorageAccount)
	return err
}

// sku returns the SKU of a service plan that the engine creates.
func (s Settings) sku() string {
	if s.ServicePlanSKU == "" {
		return defaultSKU
	}
	return s.ServicePlanSKU
}

// existing reads a name in the resource group, or a resource id. It returns nil for an empty value.
func (s Settings) existing(key, value string) (*workspace.Existing, error) {
	if value == "" {
		return nil, nil
	}
	if !strings.Contains(value, "/") {
		return &workspace.Existing{Name: value, ResourceGroupName: s.ResourceGroup}, nil
	}
	parts := strings.Split(strings.Trim(value, "/"), "/")
	if len(parts) == 8 && strings.EqualFold(parts[0], "subscriptions") && strings.EqualFold(parts[2], "resourceGroups") {
		return &workspace.Existing{Name: parts[7], ResourceGroupName: parts[3]}, nil
	}
	return nil, api.Errorf(api.InvalidParameter, "%s %q: give a name in resource group %s, or a resource id of the form "+
		"/subscriptions/ID/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME", key, value, s.ResourceGroup)
}

// foundationSpec returns the spec of what all containers share.
func (s Settings) foundationSpec() (workspace.Foundation, error) {
	f := workspace.Foundation{
		Name: "skls-" + s.Owner, ResourceGroupName: s.ResourceGroup, Location: s.Location, Tags: s.sharedTags(),
		AdoptedServicePlan: s.planID(s.ResourceGroup, s.planName(store.FirstServicePlan)),
	}
	var err error
	if f.LogAnalyticsWorkspace, err = s.existing("log_analytics_workspace", s.LogAnalyticsWorkspace); err != nil {
		return f, err
	}
	f.ApplicationInsights, err = s.existing("application_insights", s.ApplicationInsights)
	return f, err
}

// functionTimeout returns the host's limit as hh:mm:ss.
func (s Settings) functionTimeout(sku string) string {
	d := s.Timeout + hostMargin
	if strings.EqualFold(sku, "Y1") {
		d = min(d, consumptionMaxTimeout)
	}
	return fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// runsImages reports whether a service plan of this SKU runs custom images. Consumption and Flex Consumption do not.
func runsImages(sku string) bool {
	return !strings.EqualFold(sku, "Y1") && !strings.EqualFold(sku, "FC1")
}

func noImagesWarning(sku string) string {
	return fmt.Sprintf("service plan SKU %s does not run custom images: the container will never start. "+
		"Set service_plan_sku to B1 or EP1, or app_service_plan to such a service plan", sku)
}

// alwaysOn reports whether apps on a service plan of this SKU are kept loaded. Dedicated plans need it, the others
// refuse it.
func alwaysOn(sku string) bool {
	sku = strings.ToUpper(sku)
	return runsImages(sku) && !isElastic(sku)
}

// isElastic reports whether a SKU is one of Elastic Premium, whose service plans scale with the load of their apps.
func isElastic(sku string) bool {
	sku = strings.ToUpper(sku)
	return strings.HasPrefix(sku, "EP") || strings.HasPrefix(sku, "WS")
}
