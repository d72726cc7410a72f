package azuresim

import (
	"regexp"
	"strings"
)

// sku holds the properties of a service plan's SKU that azuresim needs.
type sku struct {
	tier     string
	alwaysOn bool // the plan can keep apps loaded
	images   bool // the plan runs apps that are images
	zones    bool // the plan's instances can be spread over zones
	workers  int  // the most instances that a plan can have
	// memory is that of an instance, in GB; in the table below that of the smallest size.
	memory float64
}

// skus holds the SKUs that azurerm 5.2 accepts (internal/services/appservice/helpers/service_plan.go), with their
// memory after azure.microsoft.com/pricing/details/app-service/linux and
// learn.microsoft.com/azure/azure-functions/functions-premium-plan#available-instance-skus, and their numbers of
// instances after learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits. Of
// the 20 to 100 instances that regions give a Linux plan of tier ElasticPremium, it has the least.
var skus = []struct {
	names *regexp.Regexp
	first byte // the smallest size; 0 if there is only one
	sku
}{
	{skuNames(`F1`), 0, sku{"Free", false, false, false, 1, 1}},
	{skuNames(`D1|SHARED`), 0, sku{"Shared", false, false, false, 1, 1}},
	{skuNames(`B[1-3]`), '1', sku{"Basic", true, true, false, 3, 1.75}},
	{skuNames(`S[1-3]`), '1', sku{"Standard", true, true, false, 10, 1.75}},
	{skuNames(`P[1-3]v2`), '1', sku{"PremiumV2", true, true, true, 30, 3.5}},
	{skuNames(`P[0-3]v3`), '0', sku{"PremiumV3", true, true, true, 30, 4}},
	{skuNames(`P[1-5]mv3`), '1', sku{"PremiumMV3", true, true, true, 30, 16}},
	{skuNames(`P[0-3]v4`), '0', sku{"PremiumV4", true, true, true, 30, 4}},
	{skuNames(`P[1-5]mv4`), '1', sku{"PremiumMV4", true, true, true, 30, 16}},
	{skuNames(`I[1-3]`), '1', sku{"Isolated", true, true, false, 100, 3.5}},
	{skuNames(`I[1-6]v2`), '1', sku{"IsolatedV2", true, true, true, 100, 8}},
	{skuNames(`I[1-5]mv2`), '1', sku{"IsolatedMV2", true, true, true, 100, 16}},
	{skuNames(`Y1`), 0, sku{"Dynamic", false, false, true, 0, 1.5}},
	{skuNames(`FC1`), 0, sku{"FlexConsumption", false, false, true, 0, 2}},
	{skuNames(`EP[1-3]`), '1', sku{"ElasticPremium", false, true, true, 20, 3.5}},
	{skuNames(`WS[1-3]`), '1', sku{"WorkflowStandard", false, false, true, 20, 3.5}},
}

func skuNames(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?i)^(` + pattern + `)$`) }

// skuOf reads a SKU's name; ok is false for a name that App Service does not have.
func skuOf(name string) (result sku, ok bool) {
	for _, s := range skus {
		if s.names.MatchString(name) {
			if s.first != 0 { // each size has twice the memory of the one before
				s.memory *= float64(int(1) << (name[strings.IndexAny(name, "0123456")] - s.first))
			}
			return s.sku, true
		}
	}
	return sku{}, false
}

// familyOf returns a SKU's name without its size: Pv3 for P1v3.
func familyOf(name string) string {
	if i := strings.IndexAny(name, "0123456"); i >= 0 {
		return name[:i] + name[i+1:]
	}
	return name
}

// elastic reports whether each app of the plan has as many instances as it needs, up to a limit of its own.
func (s sku) elastic() bool { return s.tier == "ElasticPremium" }

// consumption reports whether the plan has no instances of its own.
func (s sku) consumption() bool { return s.workers == 0 }

func (r *resource) sku() sku {
	result, _ := skuOf(text(object(r.body["sku"])["name"]))
	return result
}
