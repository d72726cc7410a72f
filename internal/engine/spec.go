package engine

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Settings is what the engine must know of its place in Azure.
type Settings struct {
	// ResourceGroup, Location and StorageAccount exist and are required. StorageAccount, AppServicePlan, LogAnalyticsWorkspace and
	// ApplicationInsights are each a name in ResourceGroup or a resource id; the last three are made when empty.
	ResourceGroup         string
	Location              string
	StorageAccount        string
	AppServicePlan        string
	ServicePlanSKU        string // of a plan that is made; empty means Y1, the Consumption plan
	LogAnalyticsWorkspace string
	ApplicationInsights   string
	// Identity, when set, is a user-assigned identity that opens the storage account.
	Identity *workspace.Identity
	// Registry is the host of a private registry that needs RegistryUsername and RegistryPassword, or the identity when both are empty.
	Registry         string
	RegistryUsername string
	RegistryPassword string
	// Owner tells daemons apart that share a resource group: it is in the names and tags of what they make.
	Owner string
	// Timeout is the longest run. Whole seconds.
	Timeout time.Duration
}

const (
	defaultSKU = "Y1"
	// maxTimeout is the Functions host's limit on Consumption; elsewhere it has none and ours applies.
	consumptionMaxTimeout = 10 * time.Minute
	maxTimeout            = time.Hour
	// hostMargin lets the handler end a run by itself before the host kills the handler.
	hostMargin = time.Minute
)

var ownerPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

func (s Settings) check() error {
	switch {
	case s.ResourceGroup == "" || s.Location == "" || s.StorageAccount == "":
		return api.Errorf(api.InvalidParameter, "resource group, location and storage account must be set")
	case !ownerPattern.MatchString(s.Owner):
		return api.Errorf(api.InvalidParameter, "owner %q: use 1 to 24 lower-case letters, digits and hyphens, with a letter or digit at both ends", s.Owner)
	case s.Timeout < time.Second || s.Timeout%time.Second != 0 || s.Timeout > maxTimeout:
		return api.Errorf(api.InvalidParameter, "timeout %s: use whole seconds from 1 to %d", s.Timeout, int(maxTimeout/time.Second))
	}
	if _, err := s.foundationSpec(); err != nil {
		return err
	}
	_, err := s.existing("storage_account", s.StorageAccount)
	return err
}

// sku is the SKU of a plan that is made.
func (s Settings) sku() string {
	if s.ServicePlanSKU == "" {
		return defaultSKU
	}
	return s.ServicePlanSKU
}

// existing understands a name in the resource group or a whole resource id. An empty value is nil.
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
	return nil, api.Errorf(api.InvalidParameter, "%s %q: give a name in resource group %s, or a resource id of the form /subscriptions/ID/resourceGroups/GROUP/providers/NAMESPACE/TYPE/NAME",
		key, value, s.ResourceGroup)
}

func (s Settings) foundationSpec() (workspace.Foundation, error) {
	f := workspace.Foundation{
		Name: "skls-" + s.Owner, ResourceGroupName: s.ResourceGroup, Location: s.Location,
		ServicePlanSKU: s.sku(), Tags: map[string]string{ownerTag: s.Owner},
	}
	var err error
	if f.LogAnalyticsWorkspace, err = s.existing("log_analytics_workspace", s.LogAnalyticsWorkspace); err != nil {
		return f, err
	}
	if f.ApplicationInsights, err = s.existing("application_insights", s.ApplicationInsights); err != nil {
		return f, err
	}
	f.ServicePlan, err = s.existing("app_service_plan", s.AppServicePlan)
	return f, err
}

// runsImages tells whether a plan of this SKU runs custom images: Consumption and Flex Consumption do not.
func runsImages(sku string) bool {
	return !strings.EqualFold(sku, "Y1") && !strings.EqualFold(sku, "FC1")
}

func noImagesWarning(sku string) string {
	return fmt.Sprintf("plan SKU %s does not run custom images: the container will never start. Set service_plan_sku to B1 or EP1, or app_service_plan to such a plan", sku)
}

// alwaysOn tells whether apps on a plan of this SKU are kept loaded: Dedicated plans need it, the others refuse it.
func alwaysOn(sku string) bool {
	sku = strings.ToUpper(sku)
	return runsImages(sku) && !strings.HasPrefix(sku, "EP") && !strings.HasPrefix(sku, "WS")
}

// Tags of a function app. Labels do not override them.
const (
	idTag    = workspace.IDTag
	nameTag  = "sockerless-container-name"
	ownerTag = workspace.OwnerTag
)

// appName is the function app of a container: at most 32 characters count for the Functions host.
func appName(id string) string { return "skls-" + id[:20] }

// validate checks what can be checked before Azure is asked, and returns what the client should be warned of.
func (e *Engine) validate(c store.Container) ([]string, error) {
	warnings := []string{}
	sku := e.cfg.Settings.sku()
	if e.cfg.Settings.AppServicePlan == "" && !runsImages(sku) {
		warnings = append(warnings, noImagesWarning(sku))
	}
	if dir := c.Config.WorkingDir; dir != "" && !path.IsAbs(dir) {
		return nil, api.Errorf(api.InvalidParameter, "the working directory '%s' is invalid, it needs to be an absolute path", dir)
	}
	unhonoured, err := checkFields(&c)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, unhonoured...)
	_, more, err := e.cfg.Settings.functionAppSpec(c, workspace.FoundationOutputs{})
	return append(warnings, more...), err
}

// functionAppSpec is the workspace's spec of a container, and what in it Azure cannot honour.
func (s Settings) functionAppSpec(c store.Container, shared workspace.FoundationOutputs) (workspace.FunctionApp, []string, error) {
	storage, err := s.existing("storage_account", s.StorageAccount)
	if err != nil {
		return workspace.FunctionApp{}, nil, err
	}
	spec := workspace.FunctionApp{
		Name: c.FunctionApp, ResourceGroupName: s.ResourceGroup, Location: s.Location,
		ServicePlanID: shared.ServicePlanID, AlwaysOn: alwaysOn(shared.ServicePlanSKU),
		StorageAccountName: storage.Name, StorageAccountResourceGroupName: storage.ResourceGroupName,
		Identity: s.Identity, ApplicationInsightsConnectionString: shared.InsightsConnection,
		Command:    append(append([]string{}, c.Config.Entrypoint...), c.Config.Cmd...), // never null
		WorkingDir: c.Config.WorkingDir, FunctionTimeout: s.functionTimeout(shared.ServicePlanSKU),
	}
	if err := s.image(&spec, c.Config.Image); err != nil {
		return spec, nil, err
	}
	if spec.Environment, err = appSettings(c.Config.Env); err != nil {
		return spec, nil, err
	}
	if command, err := json.Marshal(spec.Command); err != nil || len(command) > maxSettingBytes {
		return spec, nil, api.Errorf(api.InvalidParameter, "the command is %d bytes long as JSON; at most %d fit into an app setting", len(command), maxSettingBytes)
	}
	var warnings []string
	spec.Tags, warnings = tags(c.Config.Labels)
	spec.Tags[idTag], spec.Tags[nameTag], spec.Tags[ownerTag] = c.ID, c.Name, s.Owner
	return spec, warnings, nil
}

// functionTimeout is the host's limit as hh:mm:ss.
func (s Settings) functionTimeout(sku string) string {
	d := s.Timeout + hostMargin
	if strings.EqualFold(sku, "Y1") {
		d = min(d, consumptionMaxTimeout)
	}
	return fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// image fills in the image and the way to its registry.
func (s Settings) image(spec *workspace.FunctionApp, image string) error {
	if image == "" {
		return api.Errorf(api.InvalidParameter, "no image given: set Image to a reference such as registry.example.com/team/app:1.0")
	}
	named, err := api.ParseReference(image)
	if err != nil {
		return err
	}
	host := reference.Domain(named)
	spec.RegistryURL = "https://" + host
	if host == "docker.io" {
		spec.RegistryURL = "https://index.docker.io"
	}
	spec.ImageName = reference.Path(named)
	switch r := named.(type) {
	case reference.Digested:
		// The provider joins name and tag with a colon and takes no digest of its own, so the algorithm goes with the name.
		spec.ImageName += "@" + r.Digest().Algorithm().String()
		spec.ImageTag = r.Digest().Encoded()
	case reference.Tagged:
		spec.ImageTag = r.Tag()
	}
	if s.Registry != "" && strings.EqualFold(host, s.Registry) {
		if s.RegistryUsername == "" && s.RegistryPassword == "" {
			spec.RegistryUsesIdentity = s.Identity != nil
		} else {
			spec.RegistryUsername, spec.RegistryPassword = &s.RegistryUsername, &s.RegistryPassword
		}
	}
	return nil
}

// maxSettingBytes keeps a setting within what Linux takes as one environment variable (MAX_ARG_STRLEN, 128 KiB, with its name).
const maxSettingBytes = 128<<10 - 256

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// reservedSettings belong to the Functions host, the module or the provider.
var reservedSettings = append([]string{"WEBSITE_HEALTHCHECK_MAXPINGFAILURES", "WEBSITE_HTTPLOGGING_RETENTION_DAYS"}, protocol.HostSettings...)

// appSettings is the environment as app settings. An entry without "=" asks Docker to unset a variable of the image, and says
// nothing here; of two entries with one name the last one counts, as in Docker.
func appSettings(env []string) (map[string]string, error) {
	settings, names := map[string]string{}, map[string]string{}
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok && name != "" {
			continue
		}
		if !settingName.MatchString(name) {
			return nil, api.Errorf(api.InvalidParameter, "invalid environment variable name %q: app settings take letters, digits, underscores and periods", name)
		}
		if reserved, ok := protocol.Match(name, reservedSettings); ok {
			return nil, api.Errorf(api.InvalidParameter, "environment variable %s is reserved for the Functions host (%s): choose another name", name, reserved)
		}
		folded := strings.ToLower(name)
		if other, ok := names[folded]; ok && other != name {
			return nil, api.Errorf(api.InvalidParameter, "environment variables %s and %s differ in case only, and Azure takes one app setting for both: choose another name", other, name)
		}
		names[folded] = name
		if strings.ContainsRune(value, 0) || len(value) > maxSettingBytes {
			return nil, api.Errorf(api.InvalidParameter, "environment variable %s: at most %d bytes without NUL fit into an app setting", name, maxSettingBytes)
		}
		settings[name] = value
	}
	return settings, nil
}

// Azure's limits on tags.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

// tags are the labels that Azure takes as tags, and a warning for each other label, which inspect still shows.
func tags(labels map[string]string) (map[string]string, []string) {
	out := map[string]string{}
	seen := map[string]bool{idTag: true, nameTag: true, ownerTag: true} // Azure compares names without case
	var left []string
	names := make([]string, 0, len(labels))
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value, folded := labels[name], strings.ToLower(name)
		if name == "" || len(name) > maxTagName || strings.ContainsAny(name, `<>%&\?/`) || len(value) > maxTagValue || seen[folded] || len(seen) == maxTags {
			left = append(left, name)
			continue
		}
		seen[folded] = true
		out[name] = value
	}
	var warnings []string
	for _, name := range left {
		warnings = append(warnings, fmt.Sprintf("label %.64q is kept but is not an Azure tag: Azure takes %d tags, names of %d characters without <>%%&\\?/ and values of %d", name, maxTags, maxTagName, maxTagValue))
	}
	return out, warnings
}
