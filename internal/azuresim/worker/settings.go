package worker

import (
	"maps"
	"slices"
	"strings"
)

// maxName is the length to which App Service cuts the name of a variable on Linux. Reports have 53, 64 and 100; the
// shortest is taken (github.com/Azure/azure-functions-host/issues/6855, and issues 36178 and 71126 of
// github.com/MicrosoftDocs/azure-docs).
const maxName = 53

// variables returns the environment variables that a container gets for its app settings. Values are un-escaped
// (learn.microsoft.com/azure/app-service/configure-common: pa$$w0rd\ must be given as pa\$\$w0rd\\), periods in names
// become underscores and long names are cut. Each setting comes a second time with a prefix.
func variables(settings map[string]string) map[string]string {
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := unescape(settings[name])
		name = strings.ReplaceAll(name, ".", "_")
		name = name[:min(len(name), maxName)]
		out[name], out["APPSETTING_"+name] = value, value
	}
	return out
}

// unescape reads a value as a shell does between double quotes. No variable is set there.
func unescape(value string) string {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value) && strings.IndexByte("$\\\"`\n", value[i+1]) >= 0:
			i++
			if value[i] != '\n' {
				out.WriteByte(value[i])
			}
		case c == '$' && i+1 < len(value) && isName(value[i+1]):
			for i+1 < len(value) && isName(value[i+1]) {
				i++
			}
		case c == '$' && i+1 < len(value) && value[i+1] == '$':
			i++ // the id of a shell
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

func isName(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// environment returns the variables of a container: the image's, the app settings over them, and what App Service sets.
func (a *App) environment(image []string, own map[string]string) []string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} // Docker's
	for _, entry := range image {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	maps.Copy(env, variables(a.cfg.Settings))
	maps.Copy(env, a.cfg.Platform)
	maps.Copy(env, own)
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
