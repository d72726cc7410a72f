package engine

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// maxSettingBytes keeps a setting, with its name, within Linux's limit on one environment variable (MAX_ARG_STRLEN, 128
// KiB).
const maxSettingBytes = 128<<10 - 256

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// reservedSettings belong to the Functions host, the module or the provider.
var reservedSettings = append(
	[]string{"WEBSITE_HEALTHCHECK_MAXPINGFAILURES", "WEBSITE_HTTPLOGGING_RETENTION_DAYS"}, protocol.HostSettings...)

// appSettings returns the environment as app settings. It ignores an entry without "=", with which Docker unsets a
// variable of the image, and an entry of the image, which is in the container anyway: inspect shows these, and clients
// copy what it shows into the next create. Of two entries with one name the last one counts, as in Docker.
func appSettings(env, imageEnv []string) (map[string]string, error) {
	settings, names := map[string]string{}, map[string]string{}
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok && name != "" {
			continue
		}
		if slices.Contains(imageEnv, entry) {
			delete(settings, name)
			continue
		}
		if !settingName.MatchString(name) {
			return nil, api.Errorf(api.InvalidParameter, "invalid environment variable name %q: app settings take letters, "+
				"digits, underscores and periods", name)
		}
		if reserved, ok := protocol.Match(name, reservedSettings); ok {
			return nil, api.Errorf(api.InvalidParameter,
				"environment variable %s is reserved for the Functions host (%s): choose another name", name, reserved)
		}
		folded := strings.ToLower(name)
		if other, ok := names[folded]; ok && other != name && settings[other] == value {
			// Docker's clients send their proxies under both names, such as HTTP_PROXY and http_proxy. Some programs read
			// only the one in lower case.
			delete(settings, other)
			name = max(name, other)
		} else if ok && other != name {
			return nil, api.Errorf(api.InvalidParameter, "environment variables %s and %s differ in case only, and Azure "+
				"takes one app setting for both: choose another name", other, name)
		}
		names[folded] = name
		if strings.ContainsRune(value, 0) || len(value) > maxSettingBytes {
			return nil, api.Errorf(api.InvalidParameter,
				"environment variable %s: at most %d bytes without NUL fit into an app setting", name, maxSettingBytes)
		}
		settings[name] = value
	}
	return settings, nil
}
