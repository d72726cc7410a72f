package engine

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// merged returns a container's configuration, with what its image adds to it: the rules of moby's merge
// (daemon/commit.go). The row keeps the request as it was, because the environment of the image is in the container
// anyway.
func merged(c store.Container) api.Config {
	config := c.Config
	if config.Hostname == "" && len(c.ID) >= shortID {
		config.Hostname = c.ID[:shortID]
	}
	config.Labels = map[string]string{}
	config.Env = slices.Clone(config.Env)
	config.ExposedPorts = maps.Clone(config.ExposedPorts)
	if image := c.ImageConfig; image != nil {
		maps.Copy(config.Labels, image.Labels)
		config.User = or(config.User, image.User)
		config.WorkingDir = or(config.WorkingDir, image.WorkingDir)
		config.StopSignal = or(config.StopSignal, image.StopSignal)
		for _, entry := range image.Env {
			name, _, _ := strings.Cut(entry, "=")
			own := func(entry string) bool { return entry == name || strings.HasPrefix(entry, name+"=") }
			if !slices.ContainsFunc(config.Env, own) {
				config.Env = append(config.Env, entry)
			}
		}
		for text := range image.ExposedPorts {
			port, err := api.ParsePort(text)
			if err != nil {
				continue // an image may say anything
			}
			if config.ExposedPorts == nil {
				config.ExposedPorts = api.PortSet{}
			}
			config.ExposedPorts[port] = struct{}{}
		}
		config.Entrypoint, config.Cmd = inherited(c.Config, image.Entrypoint, image.Cmd)
	}
	maps.Copy(config.Labels, c.Config.Labels)
	if len(config.Env) == 0 {
		config.Env = []string{}
	}
	if config.Volumes == nil {
		config.Volumes = map[string]struct{}{}
	}
	if noEntrypoint(config) {
		config.Entrypoint = nil
	}
	return config
}

// shortID is the length of the short form of a container's id, which is also its host name in Docker.
const shortID = 12

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}

// noEntrypoint reports whether a request asks for no entrypoint: clients send [""] for it.
func noEntrypoint(config api.Config) bool { return slices.Equal(config.Entrypoint, []string{""}) }

// inherited returns the entrypoint and the command of a request, completed by those of its image. An entrypoint in the
// request drops the image's command.
func inherited(config api.Config, imageEntrypoint, imageCmd []string) (entrypoint, cmd []string) {
	entrypoint, cmd = config.Entrypoint, config.Cmd
	if len(entrypoint) > 0 {
		return entrypoint, cmd
	}
	if len(cmd) == 0 {
		cmd = imageCmd
	}
	if entrypoint == nil {
		entrypoint = imageEntrypoint
	}
	return entrypoint, cmd
}

// command returns what a run executes: entrypoint and command, as Docker joins them. A command of the image that starts
// the Functions host is none: Azure starts it, and what is executed then is up to host.json. The result is never nil.
func command(c store.Container) []string {
	var imageEntrypoint, imageCmd []string
	if c.ImageConfig != nil {
		imageEntrypoint, imageCmd = c.ImageConfig.Entrypoint, c.ImageConfig.Cmd
		if startsHost(imageEntrypoint) || startsHost(imageCmd) && len(c.Config.Cmd) == 0 {
			imageEntrypoint, imageCmd = nil, nil
		}
	}
	entrypoint, cmd := inherited(c.Config, imageEntrypoint, imageCmd)
	if noEntrypoint(c.Config) {
		entrypoint = nil
	}
	return append(append([]string{}, entrypoint...), cmd...)
}

// hostStarters are the programs by which Microsoft's images start the Functions host
// (github.com/Azure/azure-functions-docker).
var hostStarters = []string{"Microsoft.Azure.WebJobs.Script.WebHost", "start_nonappservice.sh"}

func startsHost(argv []string) bool {
	return slices.ContainsFunc(argv, func(arg string) bool {
		return strings.Contains(arg, "/azure-functions-host/") ||
			slices.Contains(hostStarters, strings.TrimSuffix(path.Base(arg), ".dll"))
	})
}

// Docker's defaults for what a request leaves open (moby's daemon/daemon_unix.go, daemon/logs.go and
// daemon/config).
const (
	defaultShmSize   = 64 << 20
	defaultRuntime   = "runc"
	defaultLogDriver = "json-file"
	bridge           = "bridge"
)

// withDefaults returns a host configuration in which what is not set has Docker's default.
func withDefaults(h api.HostConfig) api.HostConfig {
	if defaultNetwork(string(h.NetworkMode)) {
		h.NetworkMode = bridge
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = defaultLogDriver
	}
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = "no"
	}
	if h.PortBindings == nil {
		h.PortBindings = api.PortMap{}
	}
	if h.IpcMode == "" {
		h.IpcMode = "private"
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = "private"
	}
	if h.ShmSize == 0 {
		h.ShmSize = defaultShmSize
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.OomKillDisable == nil {
		h.OomKillDisable = new(false)
	}
	if h.MaskedPaths == nil {
		h.MaskedPaths = slices.Clone(maskedPaths)
	}
	if h.ReadonlyPaths == nil {
		h.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
	h.Runtime = or(h.Runtime, defaultRuntime)
	api.NoNulls(&h)
	return h
}

// The paths in /proc and /sys that Docker hides from a container, and those that are read-only in it
// (daemon/pkg/oci/defaults.go).
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
		"/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// networks returns the networks of a container under their real names.
func networks(c store.Container) map[string]*api.EndpointSettings {
	out := map[string]*api.EndpointSettings{bridge: {}}
	for _, name := range sortedKeys(c.Networking.EndpointsConfig) {
		endpoint := c.Networking.EndpointsConfig[name]
		if defaultNetwork(name) {
			name = bridge
		}
		if endpoint != nil {
			out[name] = endpoint.Copy()
		}
	}
	for _, endpoint := range out {
		api.NoNulls(endpoint)
	}
	return out
}

// exposedPorts returns the ports of a running container, in order. None is published.
func exposedPorts(c store.Container, config api.Config) []api.Port {
	if c.State != store.Running {
		return nil
	}
	return slices.SortedFunc(maps.Keys(config.ExposedPorts), func(a, b api.Port) int {
		return strings.Compare(a.String(), b.String())
	})
}
