package engine

import "strings"

// appsBySKU is the number of function apps with images that a service plan with one instance takes. For B, S, P and
// P*v3 it is what Microsoft recommends at most (App Service FAQ, "How many apps can I host in a single App Service
// plan"); each app has a Functions host of its own, and shares the instance's memory. Isolated v2 and P*v4 have the
// instances of P*v3, and EP those of P*v2. Elastic Premium and Consumption are limited to 100 apps in any case, and
// Flex Consumption to one (azure-docs, includes/functions-limits.md).
var appsBySKU = map[string]int{
	"B1": 8, "B2": 16, "B3": 32,
	"S1": 8, "S2": 16, "S3": 32,
	"P1V2": 8, "P2V2": 16, "P3V2": 32,
	"P0V3": 8, "P1V3": 16, "P2V3": 32, "P3V3": 64,
	"P1MV3": 16, "P2MV3": 32, "P3MV3": 64, "P4MV3": 64, "P5MV3": 64,
	"P0V4": 8, "P1V4": 16, "P2V4": 32, "P3V4": 64,
	"P1MV4": 16, "P2MV4": 32, "P3MV4": 64, "P4MV4": 64, "P5MV4": 64,
	"I1": 8, "I2": 16, "I3": 32,
	"I1V2": 16, "I2V2": 32, "I3V2": 64, "I4V2": 64, "I5V2": 64, "I6V2": 64,
	"I1MV2": 16, "I2MV2": 32, "I3MV2": 64, "I4MV2": 64, "I5MV2": 64,
	"EP1": 8, "EP2": 16, "EP3": 32,
	"Y1": 100, "FC1": 1,
}

// fewestApps is what a service plan of an unknown SKU takes.
const fewestApps = 8

// capacity returns the number of apps that a service plan of a SKU takes.
func (s Settings) capacity(sku string) int {
	if s.AppsPerServicePlan > 0 {
		return s.AppsPerServicePlan
	}
	if n, ok := appsBySKU[strings.ToUpper(sku)]; ok {
		return n
	}
	return fewestApps
}
