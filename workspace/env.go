package workspace

import "strings"

// passed are the variables of the daemon that terraform, its provider and the Azure CLI may see. None of them holds a
// secret.
var passed = setOf(
	// Programs, folders and language.
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ",
	"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
	// Trust and proxies. The Azure CLI, which is written in Python, has its own variables for both.
	"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
	// What leads the Azure CLI to its login. The daemon's own calls of the CLI see the same.
	"AZURE_CONFIG_DIR", "AZURE_EXTENSION_DIR", "AZURE_CLOUD_NAME", "AZURE_CLI_DISABLE_CONNECTION_VERIFICATION",
	"AZUREPS_HOST_ENVIRONMENT", "ACC_CLOUD",
	"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_LIBRARY_PATH",
)

// passedPrefix begins the names of the options in section core of the Azure CLI's configuration.
const passedPrefix = "AZURE_CORE_"

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// Environment returns the whole environment of terraform and its provider: the allowed part of environ, and extra.
func Environment(environ []string, extra map[string]string) map[string]string {
	env := map[string]string{
		"CHECKPOINT_DISABLE": "1", // no calls home
	}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && (passed[name] || strings.HasPrefix(name, passedPrefix)) {
			env[name] = value
		}
	}
	for name, value := range extra {
		env[name] = value
	}
	return env
}

// EagerEnvironment returns the Environment of a provider that polls operations in Azure without delay.
func EagerEnvironment(environ []string, extra map[string]string) map[string]string {
	env := Environment(environ, extra)
	env[pollEagerly] = "true"
	return env
}
