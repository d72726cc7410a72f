package workspace

import "strings"

// passed are the variables of the daemon that terraform and its provider may see: where to find programs and folders, whom to
// trust, which proxy to use, and what the Azure CLI needs to find its login.
var passed = map[string]bool{
	"PATH": true, "HOME": true, "USER": true, "LANG": true, "TMPDIR": true, "TZ": true,
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true,
	"HTTP_PROXY": true, "HTTPS_PROXY": true, "NO_PROXY": true, "http_proxy": true, "https_proxy": true, "no_proxy": true,
	"AZURE_CONFIG_DIR": true, "XDG_CACHE_HOME": true, "XDG_CONFIG_HOME": true,
}

// environment is terraform's whole environment: the passed part of environ, and extra.
func environment(environ []string, extra map[string]string) map[string]string {
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
