package workspace

import "strings"

// passed are the variables of the daemon that terraform and its provider may see: the paths of programs and folders,
// trusted certificates, proxies, and the variables that lead the Azure CLI to its login.
var passed = map[string]bool{
	"PATH": true, "HOME": true, "USER": true, "LANG": true, "TMPDIR": true, "TZ": true,
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true,
	"HTTP_PROXY": true, "HTTPS_PROXY": true, "NO_PROXY": true,
	"http_proxy": true, "https_proxy": true, "no_proxy": true,
	"AZURE_CONFIG_DIR": true, "XDG_CACHE_HOME": true, "XDG_CONFIG_HOME": true,
}

// Environment returns the whole environment of terraform and its provider: the allowed part of environ, and extra.
func Environment(environ []string, extra map[string]string) map[string]string {
	env := map[string]string{
		"CHECKPOINT_DISABLE": "1", // no calls home
	}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && passed[name] {
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
