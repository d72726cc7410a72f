package protocol

import "strings"

// HostSettings are patterns, in the form of Match, for the names of the app settings of the Functions host and of
// App Service. Many of these settings are secrets. A container cannot set them, and azf-handler hides them from the
// command. App Service passes each setting under its own name and, for some kinds, a second time with a prefix.
var HostSettings = []string{
	"FUNCTIONS_*", "AZF_*", "AzureWebJobs*", "AzureFunctionsJobHost__*", "AzureFunctionsWebHost__*",
	"APPINSIGHTS_*", "APPLICATIONINSIGHTS_*",
	"DOCKER_REGISTRY_SERVER_*", "WEBSITE_AUTH_*", "WEBSITE_CONTENT*", "WEBSITE_SLOT_*",
	"WEBSITES_ENABLE_APP_SERVICE_STORAGE",
	"CONTAINER_ENCRYPTION_KEY", "MACHINEKEY_*", "APPSETTING_*", "ASPNETCORE_*", "IDENTITY_HEADER", "MSI_SECRET",
}

// Match returns the first pattern that a setting's name matches, ignoring case. A pattern that ends in * matches
// every name with that prefix.
func Match(name string, patterns []string) (pattern string, ok bool) {
	for _, pattern := range patterns {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		if strings.EqualFold(name, pattern) {
			return pattern, true
		}
		if isPrefix && len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return pattern, true
		}
	}
	return "", false
}
