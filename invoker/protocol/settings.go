package protocol

import "strings"

// HostSettings are the app settings of the Functions host and of App Service, many of them secrets: a container cannot set them, and
// azf-handler hides them from the command. App Service passes each setting under its own name and, for some kinds, once more with a prefix.
// The form is that of Match.
var HostSettings = []string{
	"FUNCTIONS_*", "AZF_*", "AzureWebJobs*", "AzureFunctionsJobHost__*", "AzureFunctionsWebHost__*", "APPINSIGHTS_*", "APPLICATIONINSIGHTS_*",
	"DOCKER_REGISTRY_SERVER_*", "WEBSITE_AUTH_*", "WEBSITE_CONTENT*", "WEBSITE_SLOT_*", "WEBSITES_ENABLE_APP_SERVICE_STORAGE",
	"CONTAINER_ENCRYPTION_KEY", "MACHINEKEY_*", "APPSETTING_*", "ASPNETCORE_*", "IDENTITY_HEADER", "MSI_SECRET",
}

// Match finds the pattern that a setting's name is of, without case. A pattern that ends in * is a prefix.
func Match(name string, patterns []string) (pattern string, ok bool) {
	for _, pattern := range patterns {
		prefix, isPrefix := strings.CutSuffix(pattern, "*")
		if strings.EqualFold(name, pattern) || (isPrefix && len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)) {
			return pattern, true
		}
	}
	return "", false
}
