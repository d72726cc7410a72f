package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/google/uuid"

	"github.com/sockerless/backend-azf/internal/api"
)

// checkTogether reports problems of values that are each fine. A setting that has a problem already gets no second
// one.
func (l *Loaded) checkTogether() {
	c := l.given
	fine := func(key string) bool { return !l.values[key].bad }
	given := func(key string) bool { return l.values[key].text != "" }
	report := func(key string, err error) {
		if fine(key) {
			l.problem(l.row(key), err)
		}
	}
	// Without a default, the command chooses an address and checks it.
	if c.Listen.Address != "" || l.row("listen").fallback != "" {
		for _, problem := range c.Listen.Check() {
			report(problem.Field, problem.Err)
		}
	}
	l.checkBackend()
	l.checkPolicies()
	limit, plan := 3600, "any plan"
	if sku := c.Azure.ServicePlanSKU; c.Azure.AppServicePlan == "" && (sku == "" || strings.EqualFold(sku, "Y1")) {
		limit, plan = 600, "a Consumption plan; for longer runs set service_plan_sku to B1 or EP1, or app_service_plan"
	}
	if (c.timeout < 1 || c.timeout > limit) && fine("service_plan_sku") && fine("app_service_plan") {
		report("timeout", fmt.Errorf("%d is out of range: use 1 to %d seconds, the most on %s", c.timeout, limit, plan))
	}
	for _, pair := range [][2]string{
		{"identity_id", "identity_client_id"}, {"identity_client_id", "identity_id"},
		{"registry_username", "registry_password"}, {"registry_password", "registry_username"},
	} {
		if given(pair[0]) && !given(pair[1]) {
			report(pair[0], fmt.Errorf("it is set without %s: set both or none", pair[1]))
		}
	}
	if c.Azure.KeyVaultReferences && !given("identity_id") {
		report("key_vault_references", errors.New("it is set without identity_id, the identity that reads the secrets"))
	}
	if given("registry_username") && !given("registry") {
		report("registry_username", errors.New("it is set without registry, the host that it is for"))
	}
	if !fine("subscription_id") {
		return
	}
	for _, key := range []string{
		"storage_account", "app_service_plan", "log_analytics_workspace", "application_insights",
	} {
		for id := range strings.SplitSeq(l.values[key].text, ",") {
			parts := strings.Split(strings.TrimSpace(id), "/")
			if len(parts) > 2 && !strings.EqualFold(parts[2], c.SubscriptionID) {
				report(key, fmt.Errorf("it is in subscription %s, and the daemon works in %s: use one there",
					parts[2], c.SubscriptionID))
			}
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

func atLeast(least int) func(string) error {
	return func(text string) error {
		if n, err := strconv.Atoi(text); err == nil && n < least {
			return fmt.Errorf("%d is out of range: use %d or more", n, least)
		}
		return nil
	}
}

// eachOf checks the parts of a list with commas between. An empty list is fine.
func eachOf(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "" {
			return check(text)
		}
		seen := map[string]bool{}
		for part := range strings.SplitSeq(text, ",") {
			part = strings.TrimSpace(part)
			if part == "" {
				return errors.New("it has an empty part: remove the comma")
			}
			if err := check(part); err != nil {
				return err
			}
			if key := strings.ToLower(part); seen[key] {
				return fmt.Errorf("it names %s twice: remove one", part)
			} else {
				seen[key] = true
			}
		}
		return nil
	}
}

func checkIdle(text string) error {
	if d, err := parseDuration(text); err == nil && d < 0 {
		return fmt.Errorf("%s is out of range: use 0s or more", text)
	}
	return nil
}

func checkMaxAge(text string) error {
	if d, err := parseDuration(text); err == nil && d <= 0 {
		return fmt.Errorf("%s is out of range: use more than 0s", text)
	}
	return nil
}

func checkGrace(text string) error {
	if d, err := parseDuration(text); err == nil && d < time.Minute {
		return fmt.Errorf("%s is out of range: use 1m or more", text)
	}
	return nil
}

func checkInterval(text string) error {
	if d, err := parseDuration(text); err == nil && d < time.Second {
		return fmt.Errorf("%s is out of range: use 1s or more", text)
	}
	return nil
}

// checkKeep refuses what would remove today's records. 0 keeps all.
func checkKeep(text string) error {
	if d, err := parseDuration(text); err == nil && d != 0 && d < 24*time.Hour {
		return fmt.Errorf("%s is out of range: use 1d or more, or 0d to keep all", text)
	}
	return nil
}

func checkNotNegative(text string) error {
	if d, err := parseDuration(text); err == nil && d < 0 {
		return fmt.Errorf("%s is negative: use 0s or more", text)
	}
	return nil
}

func checkUUID(text string) error {
	if len(text) != 36 || uuid.Validate(text) != nil {
		return fmt.Errorf("%q is not a UUID such as 00000000-0000-0000-0000-000000000000", text)
	}
	return nil
}

var (
	resourceGroupPattern = regexp.MustCompile(`^[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]$`)
	// https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
	blobContainerPattern = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	locationPattern      = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	ownerPattern         = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)
	registryPattern      = regexp.MustCompile("^" + reference.DomainRegexp.String() + "$")
	skuPattern           = regexp.MustCompile(
		`^(F1|D1|SHARED|[BS][1-3]|Y1|FC1|EP[1-3]|P[0-5]m?v[2-4]|I[1-3]|I[1-6]m?v2|WS[1-3])$`)
)

func checkBlobContainer(text string) error {
	return matching(blobContainerPattern, text, "the name of a blob container: 3 to 63 lower-case letters, digits and "+
		"single hyphens")
}

func checkResourceGroup(text string) error {
	return matching(resourceGroupPattern, text, "the name of a resource group: 1 to 90 letters, digits, hyphens, "+
		"underscores, periods and parentheses, no period at the end")
}

func checkLocation(text string) error {
	return matching(locationPattern, text, "the short name of a region, such as westeurope")
}

func checkOwner(text string) error {
	return matching(ownerPattern, text,
		"1 to 24 lower-case letters, digits and hyphens, with a letter or digit at both ends")
}

func checkRegistry(text string) error {
	return matching(registryPattern, text,
		"a host name with an optional port, such as myregistry.azurecr.io, without https:// and path")
}

func checkImage(text string) error {
	if _, err := api.ParseReference(text); err != nil {
		return fmt.Errorf("%q is not a reference of an image, such as mcr.microsoft.com/azure-functions/base:4", text)
	}
	return nil
}

func checkRepository(text string) error {
	if _, err := reference.WithName("registry.example/" + text); err != nil {
		return fmt.Errorf("%q is not the name of a repository: use lower-case letters, digits and hyphens, and / between "+
			"parts", text)
	}
	return nil
}

func checkSize(text string) error {
	if size, err := units.RAMInBytes(text); err != nil || size <= 0 {
		return fmt.Errorf("%q is not a size, such as 512MiB or 4GiB", text)
	}
	return nil
}

func checkSKU(text string) error {
	return matching(skuPattern, text, "a SKU as Azure writes it, such as B1, EP1 or P1v3")
}

// resource is a kind of resource of Azure that a setting names by its name or by its resource id.
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
		regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]$`),
		"4 to 63 letters, digits and hyphens, with a letter or digit at both ends"}
	insights = resource{"Application Insights component", "Microsoft.Insights", "components",
		regexp.MustCompile(`^[^%&\\?/]{0,259}[^%&\\?/. ]$`),
		`1 to 260 characters without %&\?/, no period or space at the end`}
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
