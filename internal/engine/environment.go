package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

const (
	// maxVariable is Linux's limit on one entry NAME=value of an environment, without the NUL at its end (MAX_ARG_STRLEN).
	maxVariable = 128<<10 - 1
	// maxSetting keeps a setting within the same limit when App Service passes it with the prefix APPSETTING_.
	maxSetting = maxVariable - len("APPSETTING_")
	// maxSettings bounds the environment as app settings, in bytes. Beside it there is the spec: see protocol.MaxSpec.
	maxSettings = 256 << 10
	// maxSettingName is the length beyond which App Service on Linux cuts a name
	// (github.com/Azure/azure-functions-host/issues/6855).
	maxSettingName = 53
)

// settings are the app settings by which a container's environment and command reach its function app.
type settings struct {
	// Environment holds the variables as settings of their own, for images of which it is not known that their handler
	// reads a spec. For others, it holds freeSettings only.
	Environment map[string]string
	// Handler holds the spec, and the references in it.
	Handler map[string]string
	// Names are the names of the variables in the request.
	Names []string
}

// handlerProtocol returns the version of the protocol that the container's image promises by its label, "" without one.
func handlerProtocol(c store.Container) (string, error) {
	if c.Derived != nil {
		return protocol.Version, nil
	}
	if c.ImageConfig == nil {
		return "", nil
	}
	version, ok := c.ImageConfig.Labels[protocol.Label]
	if ok && !protocol.Known(version) {
		return "", api.Errorf(api.InvalidParameter, "the image has the label %s=%q, and this daemon speaks the versions 1 "+
			"to %s: build the image with the azf-handler of the daemon's release, or update the daemon",
			protocol.Label, version, protocol.Version)
	}
	return version, nil
}

// readsSpec reports whether the handler in the container's image reads a spec, and nothing else.
func readsSpec(c store.Container) bool {
	version, err := handlerProtocol(c)
	return err == nil && version != "" && version != "1"
}

// variable is one environment variable.
type variable struct {
	name, value string
	// own reports whether the request gives it: what the image gives is in the container anyway.
	own bool
	// unset reports whether the request takes it away.
	unset bool
}

// variables returns the environment of a container: the image's and the request's. An entry without "=" unsets a
// variable of the image, and of two entries with one name the last one counts, as in Docker.
func variables(c store.Container) (out []variable, err error) {
	var imageEnv []string
	if c.ImageConfig != nil {
		imageEnv = c.ImageConfig.Env
	}
	at := map[string]int{}
	add := func(entry string, own bool) error {
		name, value, ok := strings.Cut(entry, "=")
		switch {
		case strings.ContainsRune(entry, 0):
			return api.Errorf(api.InvalidParameter, "environment variable %q has a NUL, which no variable can hold", name)
		case len(entry) > maxVariable:
			return api.Errorf(api.InvalidParameter, "environment variable %.40q has %d bytes with its name, and Linux takes "+
				"at most %d", name, len(entry), maxVariable)
		}
		v := variable{name: name, value: value, own: own, unset: !ok}
		if i, known := at[name]; known {
			out[i] = v
		} else {
			at[name], out = len(out), append(out, v)
		}
		return nil
	}
	for _, entry := range imageEnv {
		// The image's PATH is the handler's own.
		if strings.HasPrefix(entry, "PATH=") || !strings.Contains(entry, "=") {
			continue
		}
		if err := add(entry, false); err != nil {
			return nil, err
		}
	}
	for _, entry := range c.Config.Env {
		// Inspect shows the variables of the image too, and clients copy what it shows into the next create.
		if err := add(entry, !slices.Contains(imageEnv, entry)); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(out, func(v variable) bool { return v.unset }), nil
}

// appSettings returns the settings of a container, and warnings.
func (s Settings) appSettings(c store.Container) (settings, []string, error) {
	if _, err := handlerProtocol(c); err != nil {
		return settings{}, nil, err
	}
	given, err := variables(c)
	if err != nil {
		return settings{}, nil, err
	}
	config := merged(c)
	spec := protocol.Spec{
		Command: command(c), WorkingDir: config.WorkingDir, User: config.User, Groups: c.HostConfig.GroupAdd,
		PartialEnv: c.ImageConfig == nil, References: map[string]string{},
	}
	out := settings{Handler: map[string]string{}, Names: []string{}}
	for _, v := range given {
		if v.own {
			out.Names = append(out.Names, v.name)
		}
		if v.own && s.KeyVaultReferences && isReference(v.value) {
			setting := fmt.Sprintf("%s_%d", protocol.ReferenceEnv, len(spec.References))
			spec.References[v.name], out.Handler[setting] = setting, v.value
			continue
		}
		spec.Env = append(spec.Env, v.name+"="+v.value)
	}
	slices.Sort(out.Names)
	if longest := longest(spec.Command); longest > maxVariable {
		return settings{}, nil, api.Errorf(api.InvalidParameter,
			"the command has an argument of %d bytes, and Linux takes at most %d", longest, maxVariable)
	}
	encoded, err := spec.Encode()
	if err != nil {
		return settings{}, nil, api.Errorf(api.InvalidParameter, "%v", err)
	}
	maps.Copy(out.Handler, encoded)
	var warnings []string
	if readsSpec(c) {
		out.Environment = map[string]string{}
		for _, v := range given {
			if v.own && slices.Contains(freeSettings, v.name) {
				out.Environment[v.name] = v.value
			}
		}
	} else {
		if out.Environment, warnings, err = s.plainSettings(given); err != nil {
			return settings{}, nil, err
		}
		plain, err := json.Marshal(spec.Command)
		if err != nil || len(plain) > maxSetting {
			return settings{}, nil, api.Errorf(api.InvalidParameter, "the command is %d bytes long as JSON; at most %d fit "+
				"into an app setting: choose a shorter one, %s", len(plain), maxSetting, label)
		}
		warnings = append(warnings, commandWarnings(append(spec.Command, c.Config.WorkingDir))...)
	}
	return out, warnings, nil
}

func longest(texts []string) (bytes int) {
	for _, text := range texts {
		bytes = max(bytes, len(text))
	}
	return bytes
}

// isReference reports whether App Service resolves a value with the app's identity
// (learn.microsoft.com/azure/app-service/app-service-key-vault-references and -configuration-references).
func isReference(value string) bool {
	value = strings.ToLower(strings.TrimSpace(value))
	return strings.HasPrefix(value, "@microsoft.keyvault(") || strings.HasPrefix(value, "@microsoft.appconfiguration(")
}

// settingName matches the names that App Service takes.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// label is the advice for an image that has azf-handler.
const label = "or, if the image holds azf-handler, give it the label " + protocol.Label + "=" + protocol.Version

// plainSettings returns the request's variables as app settings of their own. They are the environment of the Functions
// host too, and App Service changes some: what would break the host or come out as something else is refused, and what
// may do so becomes a warning.
func (s Settings) plainSettings(given []variable) (map[string]string, []string, error) {
	plain, names := map[string]string{}, map[string]string{}
	var changed, passed, renamed []string
	size := 0
	refuse := func(format string, args ...any) (map[string]string, []string, error) {
		return nil, nil, api.Errorf(api.InvalidParameter, "environment variable "+format, args...)
	}
	for _, v := range given {
		if !v.own {
			continue
		}
		name, value := v.name, v.value
		if !settingName.MatchString(name) {
			return refuse("%q: app settings take letters, digits, underscores and periods in names: choose another name, %s",
				name, label)
		}
		if len(name) > maxSettingName {
			return refuse("%s: App Service cuts names longer than %d characters: choose a shorter name, %s",
				name, maxSettingName, label)
		}
		if pattern, ok := protocol.Match(name, reservedSettings); ok && !slices.Contains(freeSettings, name) {
			return refuse("%s is reserved for the Functions host (%s): choose another name, %s",
				name, pattern, label)
		}
		if isReference(value) && !s.KeyVaultReferences {
			return refuse("%s: App Service would put a secret in place of the reference, which key_vault_references does not "+
				"allow: choose another value, %s", name, label)
		}
		if len(name)+1+len(value) > maxSetting {
			return refuse("%s: at most %d bytes with the name fit into an app setting", name, maxSetting)
		}
		// App Service folds case, and makes underscores of periods.
		folded := strings.ToLower(strings.ReplaceAll(name, ".", "_"))
		other, taken := names[folded]
		switch {
		case taken && strings.EqualFold(other, name) && plain[other] == value:
			// Docker's clients send their proxies under both names, such as HTTP_PROXY and http_proxy. Some programs read
			// only the one in lower case.
			delete(plain, other)
			name = max(name, other)
		case taken:
			return refuse("%s: Azure takes one app setting for it and %s: choose another name, %s", name, other, label)
		}
		names[folded], plain[name] = name, value
		if size += len(name) + len(value); size > maxSettings {
			return refuse("%s: the environment is larger than %d bytes, %s", name, maxSettings, label)
		}
		if strings.Contains(name, ".") {
			renamed = append(renamed, name)
		}
		if rewritten(value) {
			changed = append(changed, name)
		}
		if _, ok := protocol.Match(name, sharedSettings); ok {
			passed = append(passed, name)
		}
	}
	var warnings []string
	warn := func(names []string, what string) {
		if len(names) > 0 {
			warnings = append(warnings, "environment "+strings.Join(names, ", ")+": "+what)
		}
	}
	warn(changed, "App Service may change $, \\ and control characters in values of app settings; "+label[len("or, "):])
	warn(renamed, "App Service makes underscores of the periods in names; "+label[len("or, "):])
	warn(passed, "the Functions host uses these variables too; "+label[len("or, "):])
	return plain, warnings, nil
}

// rewritten reports whether App Service may change a value. Its documentation says that special characters must be
// escaped as the operating system needs (learn.microsoft.com/azure/app-service/configure-common); sources differ on
// whether images get that.
func rewritten(value string) bool {
	return strings.ContainsAny(value, `$\`) || strings.ContainsFunc(value, unicode.IsControl)
}

// commandWarnings warns of a command, with its working folder, that may come out as another one.
func commandWarnings(command []string) []string {
	if !slices.ContainsFunc(command, func(arg string) bool { return strings.ContainsAny(arg, "$\\\"\n") }) {
		return nil
	}
	return []string{"App Service may change $, \\, quotes and line feeds in the command and its working directory; " +
		label[len("or, "):]}
}

// reservedSettings are patterns for the names of variables that belong to App Service, the Functions host, the module
// or the provider, or that change how the host runs: where it looks for functions, on which port it answers, which
// libraries it loads. The sources are those of protocol.HostSettings, and the environment variables of .NET
// (learn.microsoft.com/dotnet/core/tools/dotnet-environment-variables) and of the dynamic linker (ld.so(8)).
var reservedSettings = append([]string{
	"WEBSITE_*", "WEBSITES_*", "SCM_*", "DOCKER_*", "PORT", "HOME", "PATH", "USER_DATA_HOME", "TMPDIR",
	"AZURE_FUNCTIONS_*", "AzureWebJobs_*", "REMOTEDEBUGGINGPORT", "INITIALIZED_FROM_PLACEHOLDER", "RoleInstanceId",
	"LEGION_*", "MESH_*", "POD_*", "KUBERNETES_*", "HTTP_LEADER_ENDPOINT", "MANAGED_ENVIRONMENT", "Fabric_*", "CORS_*",
	"CONSOLE_LOGGING_*", "TARGET_BASED_SCALING_ENABLED", "LocalSitePackagesPath", "REGION_NAME", "PLATFORM_VERSION",
	"COMPUTERNAME", "APP_KIND", "OTEL_*",
	"DOTNET_*", "COMPlus_*", "CORECLR_*", "Kestrel__*", "Logging__*", "ConnectionStrings__*", "URLS",
	"LD_*", "GLIBC_TUNABLES", "GCONV_PATH", "MALLOC_*",
}, protocol.HostSettings...)

// freeSettings are settings of App Service that only say how long it waits for a container. A large image needs them.
var freeSettings = []string{"WEBSITES_CONTAINER_START_TIME_LIMIT", "WEBSITES_CONTAINER_STOP_TIME_LIMIT"}

// sharedSettings are variables that commands use often, and that .NET and its TLS library use too.
var sharedSettings = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_*", "TZ", "LANG", "LC_*"}
