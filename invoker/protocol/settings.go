package protocol

import "strings"

// HostSettings are patterns, in the form of Match, for the names of the settings of the Functions host and of App
// Service that hold secrets, or lead to them. A container without a Spec cannot set them, and azf-handler hides them
// from its command. App Service passes each setting under its own name and a second time with a prefix.
//
// The names are those in the Functions host's EnvironmentSettingNames.cs
// (github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Environment/EnvironmentSettingNames.cs) and of
// App Service's reference (learn.microsoft.com/azure/app-service/reference-app-settings).
var HostSettings = []string{
	"FUNCTIONS_*", "AZF_*", "AzureWebJobs*", "AzureFunctionsJobHost__*", "AzureFunctionsWebHost__*",
	"APPINSIGHTS_*", "APPLICATIONINSIGHTS_*",
	"DOCKER_REGISTRY_SERVER_*", "WEBSITE_AUTH_*", "WEBSITE_CONTENT*", "WEBSITE_SLOT_*",
	"WEBSITES_ENABLE_APP_SERVICE_STORAGE", "WEBSITE_HTTPLOGGING_*", "WEBSITE_RUN_FROM_*", "DIAGNOSTICS_*",
	"CONTAINER_*", "POD_ENCRYPTION_KEY", "MESH_INIT_URI", "MACHINEKEY_*", "AzureWebEncryptionKey", "APPSETTING_*",
	"CUSTOMCONNSTR_*", "SQLCONNSTR_*", "SQLAZURECONNSTR_*", "MYSQLCONNSTR_*", "POSTGRESQLCONNSTR_*", "ASPNETCORE_*",
	"IDENTITY_*", "MSI_*",
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
