package azuresim

import (
	"crypto/rand"
	"maps"
	"net/http"
	"regexp"
	"strings"
)

// settingName matches the names of app settings that App Service takes on Linux
// (learn.microsoft.com/azure/app-service/configure-common).
var settingName = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)

// maxSettingsSize is Resource Manager's limit on a request, in bytes.
const maxSettingsSize = 4 << 20

// appSettings reads the app settings of a request. Of names that differ in case only, the last one counts.
func appSettings(list []any) (map[string]string, error) {
	settings, spelt, size := make(map[string]string, len(list)), map[string]string{}, 0
	for _, item := range list {
		name, value := text(object(item)["name"]), text(object(item)["value"])
		if !settingName.MatchString(name) {
			return nil, refusal(http.StatusBadRequest, "BadRequest", "AppSetting with name '%s' is not allowed.", name)
		}
		if size += len(name) + len(value); size > maxSettingsSize {
			return nil, refusal(http.StatusRequestEntityTooLarge, "RequestContentTooLarge",
				"The size of the request content is larger than %d bytes.", maxSettingsSize)
		}
		delete(settings, spelt[strings.ToLower(name)])
		settings[name], spelt[strings.ToLower(name)] = value, name
	}
	return settings, nil
}

// SetSecret gives the secret that a reference stands for, in the form @Microsoft.KeyVault(...) or
// @Microsoft.AppConfiguration(...). Apps whose identity for references exists may read it. It counts for hosts that are
// started afterwards.
func (s *Sim) SetSecret(reference, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.secrets[reference] = value
}

// reference matches the values that App Service resolves.
var reference = regexp.MustCompile(`(?i)^@Microsoft\.(KeyVault|AppConfiguration)\(.*\)$`)

// resolved returns a site's app settings with secrets in place of references. A reference stays as it is when there is
// no such secret, or when the site does not have the identity that it names for references. By default that is the
// system-assigned one, which no site has here (learn.microsoft.com/azure/app-service/app-service-key-vault-references).
// The caller holds Sim.mu.
func (s *Sim) resolved(r *resource) map[string]string {
	settings := maps.Clone(r.site.settings)
	identity, by := object(r.body["identity"]), text(object(r.body["properties"])["keyVaultReferenceIdentity"])
	may := false
	for id := range object(identity["userAssignedIdentities"]) {
		may = may || strings.EqualFold(by, id)
	}
	for name, value := range settings {
		if secret, ok := s.state.secrets[value]; ok && may && reference.MatchString(value) {
			settings[name] = secret
		}
	}
	return settings
}

// platform returns variables that App Service sets itself, some of them secrets
// (learn.microsoft.com/azure/app-service/reference-app-settings, and EnvironmentSettingNames.cs in
// github.com/Azure/azure-functions-host). The caller holds Sim.mu.
func platform(r *resource) map[string]string {
	if r.site.platform == nil {
		r.site.platform = map[string]string{
			"PORT": "80", "WEBSITE_SITE_NAME": r.name, "WEBSITE_HOSTNAME": strings.ToLower(r.name) + appDomain,
			"WEBSITE_INSTANCE_ID": rand.Text(), "REGION_NAME": text(r.body["location"]), "WEBSITE_AUTH_ENABLED": "False",
			"WEBSITE_AUTH_ENCRYPTION_KEY": rand.Text(), "WEBSITE_AUTH_SIGNING_KEY": rand.Text(),
			"CONTAINER_ENCRYPTION_KEY": rand.Text(), "MACHINEKEY_DecryptionKey": rand.Text(),
			"CONTAINER_START_CONTEXT_SAS_URI": "https://start.blob.core.windows.net/context?sig=" + rand.Text(),
		}
		if len(object(object(r.body["identity"])["userAssignedIdentities"])) > 0 {
			secret := rand.Text()
			maps.Copy(r.site.platform, map[string]string{
				"IDENTITY_ENDPOINT": "http://127.0.0.1:41741/msi/token", "IDENTITY_HEADER": secret,
				"MSI_ENDPOINT": "http://127.0.0.1:41741/msi/token", "MSI_SECRET": secret,
			})
		}
	}
	return r.site.platform
}
