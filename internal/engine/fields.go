package engine

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

// field is a part of a create request that Azure Functions cannot honour. The store keeps every field, and inspect
// shows it.
type field struct {
	// names are Docker's names of the fields, as docs/api.md lists them.
	names string
	// capability, when set, names what the refusal of a request that uses the field does not support. value returns the
	// field with its value in the request, such as HostConfig.Privileged, or "" when the request does not use it.
	capability string
	value      func(c *store.Container) string
	// Otherwise the request is accepted with warning when it uses the field.
	warning string
	used    func(c *store.Container) bool
}

// fields decides between refusal and warning. A field without which the command would do something else is refused. A
// field without which the command does the same by other means becomes a warning.
var fields = []field{
	{
		names:      "HostConfig.Binds, Mounts, Volumes, VolumesFrom, Tmpfs",
		capability: "volumes",
		value: func(c *store.Container) string {
			h := c.HostConfig
			var mounts []string
			for _, m := range h.Mounts {
				if m.Source != "" {
					mounts = append(mounts, m.Source+":"+m.Target) // clients look for the source to fall back
				} else {
					mounts = append(mounts, m.Target)
				}
			}
			return first(has("HostConfig.Binds", h.Binds), has("HostConfig.Mounts", mounts),
				has("Volumes", sortedKeys(c.Config.Volumes)), has("HostConfig.VolumesFrom", h.VolumesFrom),
				has("HostConfig.Tmpfs", sortedKeys(h.Tmpfs)))
		},
	},
	{
		names: "HostConfig.NetworkMode (other than default and bridge), Links; NetworkDisabled; " +
			"NetworkingConfig (other networks)",
		capability: "networks",
		value: func(c *store.Container) string {
			h := c.HostConfig
			if mode := string(h.NetworkMode); !defaultNetwork(mode) {
				return has("HostConfig.NetworkMode", []string{mode})
			}
			var others []string
			for _, name := range sortedKeys(c.Networking.EndpointsConfig) {
				if !defaultNetwork(name) {
					others = append(others, name)
				}
			}
			return first(has("NetworkingConfig.EndpointsConfig", others), has("HostConfig.Links", h.Links),
				set("NetworkDisabled", c.Config.NetworkDisabled))
		},
	},
	{
		names:      "Healthcheck (other than NONE)",
		capability: "health checks",
		value: func(c *store.Container) string {
			h := c.Config.Healthcheck
			if h == nil || reflect.ValueOf(*h).IsZero() || len(h.Test) > 0 && h.Test[0] == "NONE" {
				return ""
			}
			return "Healthcheck.Test " + quoted(h.Test)
		},
	},
	{
		names:      "HostConfig.Privileged",
		capability: "privileged containers",
		value:      func(c *store.Container) string { return set("HostConfig.Privileged", c.HostConfig.Privileged) },
	},
	{
		names:      "HostConfig.Devices, DeviceRequests, DeviceCgroupRules",
		capability: "devices",
		value: func(c *store.Container) string {
			h := c.HostConfig
			var devices, requests []string
			for _, d := range h.Devices {
				devices = append(devices, d.PathOnHost)
			}
			for _, d := range h.DeviceRequests {
				requests = append(requests, d.Driver)
			}
			return first(has("HostConfig.Devices", devices), has("HostConfig.DeviceRequests", requests),
				has("HostConfig.DeviceCgroupRules", h.DeviceCgroupRules))
		},
	},
	{
		names:      "HostConfig.CapAdd",
		capability: "added capabilities",
		value:      func(c *store.Container) string { return has("HostConfig.CapAdd", c.HostConfig.CapAdd) },
	},
	{
		names:      "HostConfig.PidMode, IpcMode, UTSMode, CgroupnsMode, Cgroup (host or another container's)",
		capability: "shared namespaces",
		value: func(c *store.Container) string {
			h := c.HostConfig
			for _, mode := range [][2]string{
				{"PidMode", string(h.PidMode)}, {"IpcMode", string(h.IpcMode)}, {"UTSMode", string(h.UTSMode)},
				{"CgroupnsMode", string(h.CgroupnsMode)}, {"Cgroup", string(h.Cgroup)},
			} {
				if mode[1] == "host" || strings.HasPrefix(mode[1], "container:") {
					return has("HostConfig."+mode[0], mode[1:])
				}
			}
			return ""
		},
	},
	{
		names:      "HostConfig.RestartPolicy (other than no)",
		capability: "restart policies",
		value: func(c *store.Container) string {
			if name := string(c.HostConfig.RestartPolicy.Name); name != "" && name != "no" {
				return has("HostConfig.RestartPolicy.Name", []string{name})
			}
			return ""
		},
	},

	{
		names:   "HostConfig.PortBindings, PublishAllPorts",
		warning: "ports are not published: a function app answers on its own host name only",
		used: func(c *store.Container) bool {
			return len(c.HostConfig.PortBindings) > 0 || c.HostConfig.PublishAllPorts
		},
	},
	{
		names: "NetworkingConfig (addresses, aliases and options on the default network)",
		warning: "network addresses, aliases and options are not applied: a function app has its own " +
			"host name",
		used: usesNetworkOptions,
	},
	{
		names: "HostConfig.Memory, NanoCpus, CpuShares, CpuQuota, CpusetCpus, PidsLimit, Ulimits, ShmSize " +
			"and other limits",
		warning: "resource limits are not applied: the service plan's SKU decides",
		used:    usesResourceLimits,
	},
	{
		names: "User, HostConfig.GroupAdd",
		warning: "the user is applied only by the azf-handler of this release: give an image that holds it the label " +
			protocol.Label + "=" + protocol.Version,
		used: func(c *store.Container) bool {
			return !readsSpec(*c) && (c.Config.User != "" || len(c.HostConfig.GroupAdd) > 0)
		},
	},
	{
		names:   "Hostname, Domainname",
		warning: "the host and domain name are not applied: they are Azure's",
		used:    func(c *store.Container) bool { return c.Config.Hostname != "" || c.Config.Domainname != "" },
	},
	{
		names:   "HostConfig.Dns, DnsOptions, DnsSearch, ExtraHosts",
		warning: "name resolution is Azure's: DNS servers and extra hosts are not applied",
		used: func(c *store.Container) bool {
			h := c.HostConfig
			return len(h.DNS)+len(h.DNSOptions)+len(h.DNSSearch)+len(h.ExtraHosts) > 0
		},
	},
	{
		names:   "HostConfig.CapDrop, SecurityOpt, ReadonlyRootfs, UsernsMode",
		warning: "security options are not applied: Azure isolates each function app its own way",
		used: func(c *store.Container) bool {
			h := c.HostConfig
			return len(h.CapDrop)+len(h.SecurityOpt) > 0 || h.ReadonlyRootfs || h.UsernsMode != ""
		},
	},
	{
		names: "HostConfig.Sysctls, Runtime, Init, OomScoreAdj, StorageOpt, VolumeDriver, CgroupParent, " +
			"Isolation, Annotations",
		warning: "kernel and runtime options are not applied",
		used: func(c *store.Container) bool {
			h := c.HostConfig
			return len(h.Sysctls)+len(h.StorageOpt)+len(h.Annotations) > 0 ||
				h.Runtime != "" && h.Runtime != defaultRuntime ||
				(h.Init != nil && *h.Init) || h.OomScoreAdj != 0 || h.VolumeDriver != "" || h.CgroupParent != "" ||
				!h.Isolation.IsDefault()
		},
	},
	{
		names:   "HostConfig.LogConfig (other than json-file)",
		warning: "the log driver is not applied: output goes to Log Analytics",
		used: func(c *store.Container) bool {
			return c.HostConfig.LogConfig.Type != "" && c.HostConfig.LogConfig.Type != defaultLogDriver
		},
	},
	{
		names:   "StopSignal, StopTimeout",
		warning: "stop does not end a run, so its signal and time-out are not applied",
		used:    func(c *store.Container) bool { return c.Config.StopSignal != "" || c.Config.StopTimeout != nil },
	},
}

// has returns a field with its values, or "" without any.
func has(name string, values []string) string {
	if len(values) == 0 {
		return ""
	}
	return name + " " + quoted(values)
}

// set returns the name of a field that is true.
func set(name string, value bool) string {
	if !value {
		return ""
	}
	return name
}

func first(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

func quoted(values []string) string {
	out := make([]string, 0, len(values))
	for _, value := range values {
		out = append(out, strconv.Quote(value))
	}
	return strings.Join(out, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// defaultNetwork reports whether a network's name stands for the default network.
func defaultNetwork(name string) bool { return name == "" || name == "default" || name == "bridge" }

func usesNetworkOptions(c *store.Container) bool {
	for _, endpoint := range c.Networking.EndpointsConfig {
		if endpoint == nil {
			continue
		}
		if endpoint.IPAMConfig != nil && !reflect.ValueOf(*endpoint.IPAMConfig).IsZero() ||
			len(endpoint.MacAddress) > 0 || len(endpoint.Links)+len(endpoint.Aliases)+len(endpoint.DriverOpts) > 0 {
			return true
		}
	}
	return false
}

func usesResourceLimits(c *store.Container) bool {
	h := c.HostConfig
	return h.Memory > 0 || h.MemoryReservation > 0 || h.MemorySwap > 0 ||
		h.ShmSize > 0 && h.ShmSize != defaultShmSize ||
		h.NanoCPUs > 0 || h.CPUShares > 0 || h.CPUQuota > 0 || h.CPUPeriod > 0 || h.CpusetCpus != "" || h.CpusetMems != "" ||
		h.CPURealtimePeriod > 0 || h.CPURealtimeRuntime > 0 || h.CPUCount > 0 || h.CPUPercent > 0 ||
		(h.PidsLimit != nil && *h.PidsLimit > 0) || len(h.Ulimits) > 0 || h.IOMaximumIOps > 0 || h.IOMaximumBandwidth > 0 ||
		(h.MemorySwappiness != nil && *h.MemorySwappiness >= 0) || (h.OomKillDisable != nil && *h.OomKillDisable) ||
		h.BlkioWeight > 0 || len(h.BlkioWeightDevice) > 0 || len(h.BlkioDeviceReadBps)+len(h.BlkioDeviceWriteBps) > 0 ||
		len(h.BlkioDeviceReadIOps)+len(h.BlkioDeviceWriteIOps) > 0
}

// checkFields returns a warning for each field that has no effect, or the error for a field that is refused. The error
// names the field and its value, so that a client can tell which of its options to leave out.
func checkFields(c *store.Container) (warnings []string, err error) {
	for _, f := range fields {
		if f.capability == "" {
			if f.used(c) {
				warnings = append(warnings, f.warning)
			}
		} else if value := f.value(c); value != "" {
			refusal := api.NotSupported(f.capability)
			refusal.Message += " The request has " + value + "."
			return nil, refusal
		}
	}
	return warnings, nil
}
