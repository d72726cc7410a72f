package handler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// originalEnv holds the container's variables that the Functions host does not get, as a JSON array of NAME=value.
const originalEnv = "AZF_ORIG_ENV"

// hostVariables are patterns, in the form of protocol.Match, for the variables that the Functions host gets from Host
// alone: what dynamic linker, .NET and OpenSSL read would lead the host to the files of the user's image.
var hostVariables = []string{
	"LD_*", "DOTNET_*", "COMPlus_*", "CORECLR_*", "PATH", "HOME", "TMPDIR", "TZDIR", "SSL_CERT_*",
}

// hostEnv returns the environment of the Functions host below dir, for a container with the environment environ, whose
// home folder would be home.
func hostEnv(dir string, environ []string, home string) ([]string, error) {
	own, err := ownHostEnv(dir, environ)
	if err != nil {
		return nil, err
	}
	var env []string
	original := []string{} // "[]" and not "null" in JSON
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		_, hidden := protocol.Match(name, hostVariables)
		switch {
		// Docker gives these two to every container, so the user has not set them.
		case entry == "PATH="+dockerPath, entry == "HOME="+home:
		case hidden:
			original = append(original, entry)
		case name != originalEnv && lookup(own, name) == "":
			env = append(env, entry)
		}
	}
	hidden, err := json.Marshal(original)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", originalEnv, err)
	}
	if lookup(env, "FUNCTIONS_WORKER_RUNTIME") == "" {
		own = append(own, "FUNCTIONS_WORKER_RUNTIME=custom")
	}
	return slices.Concat(env, own, []string{originalEnv + "=" + string(hidden)}), nil
}

// ownHostEnv returns the variables that Microsoft's image of the Functions host sets, for files below dir. See
// github.com/Azure/azure-functions-docker/blob/dev/host/4/bookworm/dotnet/dotnet8.Dockerfile and
// github.com/dotnet/dotnet-docker/blob/main/src/runtime-deps/8.0/bookworm-slim/amd64/Dockerfile.
func ownHostEnv(dir string, environ []string) ([]string, error) {
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	var folders []string
	for _, folder := range filepath.SplitList(dockerPath) {
		folders = append(folders, in(protocol.HostFolder, folder))
	}
	env := []string{
		"PATH=" + strings.Join(folders, ":"), "HOME=" + in("home"), "TMPDIR=" + in("tmp"),
		"DOTNET_USE_POLLING_FILE_WATCHER=true", "DOTNET_RUNNING_IN_CONTAINER=true",
		"ASPNETCORE_URLS=http://*:" + cmp.Or(lookup(environ, "PORT"), "80"),
		"ASPNETCORE_CONTENTROOT=" + in(protocol.HostFolder, "azure-functions-host"),
		"AzureWebJobsScriptRoot=" + in("home", "site", "wwwroot"),
	}
	for _, file := range []struct{ name, path string }{
		{"SSL_CERT_FILE", in(protocol.HostFolder, "etc/ssl/certs/ca-certificates.crt")},
		{"SSL_CERT_DIR", in(protocol.HostFolder, "etc/ssl/certs")},
		{"TZDIR", in(protocol.HostFolder, "usr/share/zoneinfo")},
	} {
		if _, err := os.Stat(file.path); err == nil {
			env = append(env, file.name+"="+file.path)
		}
	}
	libraries, err := libraries(dir)
	if err != nil || len(libraries) == 0 {
		return env, err
	}
	return append(env, "LD_LIBRARY_PATH="+strings.Join(libraries, ":")), nil
}

// libraries returns the folders in protocol.LibrariesFile, which may be missing. They are written as for
// protocol.InstallFolder.
func libraries(dir string) (folders []string, err error) {
	content, err := os.ReadFile(filepath.Join(dir, protocol.LibrariesFile))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, line := range strings.Fields(string(content)) {
		if below, ok := strings.CutPrefix(line, protocol.InstallFolder+"/"); ok {
			line = filepath.Join(dir, below)
		}
		folders = append(folders, line)
	}
	return folders, nil
}

// containerEnv returns the container's environment, for a handler with the environment environ that Host's Functions
// host has started.
func containerEnv(environ []string) ([]string, error) {
	env := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, hidden := protocol.Match(name, hostVariables)
		return hidden
	})
	value := lookup(environ, originalEnv)
	if value == "" {
		return env, nil
	}
	var original []string
	if err := json.Unmarshal([]byte(value), &original); err != nil {
		return env, fmt.Errorf("%s is not a valid JSON array of strings: %w", originalEnv, err)
	}
	return append(env, original...), nil
}
