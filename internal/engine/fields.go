package engine

import (
	"reflect"
	"slices"
	"strings"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// field is a part of a create request that Azure Functions cannot honour. The store keeps every field, and inspect
// shows it.
type field struct {
	// names are Docker's names of the fields, as docs/api.md lists them.
	names string
	// capability, when set, names what the refusal of a request that uses the field does not support. Otherwise the
	// request is accepted with warning.
	capability string
	warning    string
	used       func(c *store.Container) bool
}

// fields decides between refusal and warning. A field without which the command would do something else is refused. A
// field without which the command does the same by other means becomes a warning.
var fields = []field{
	{
		names:      "HostConfig.Binds, Mounts, Volumes, VolumesFrom, Tmpfs",
		capability: "volumes",
		used: func(c *store.Container) bool {
			h := c.HostConfig
			return len(h.Binds)+len(h.Mounts)+len(c.Config.Volumes)+len(h.VolumesFrom)+len(h.Tmpfs) > 0
		},
	},
	{
		names: "HostConfig.NetworkMode (other than default and bridge), Links; NetworkDisabled; " +
			"NetworkingConfig (other networks)",
		capability: "networks",
		used: func(c *store.Container) bool {
			for name := range c.Networking.EndpointsConfig {
				if !defaultNetwork(name) {
					return true
				}
			}
			h := c.HostConfig
			return !defaultNetwork(string(h.NetworkMode)) || len(h.Links) > 0 || c.Config.NetworkDisabled
		},
	},
	{
		names:      "Healthcheck (other than NONE)",
		capability: "health checks",
		used: func(c *store.Container) bool {
			h := c.Config.Healthcheck
			return h != nil && !reflect.ValueOf(*h).IsZero() && (len(h.Test) == 0 || h.Test[0] != "NONE")
		},
	},
	{
		names:      "HostConfig.Privileged",
		capability: "privileged containers",
		used:       func(c *store.Container) bool { return c.HostConfig.Privileged },
	},
	{
		names:      "HostConfig.Devices, DeviceRequests, DeviceCgroupRules",
		capability: "devices",
		used: func(c *store.Container) bool {
			h := c.HostConfig
			return len(h.Devices)+len(h.DeviceRequests)+len(h.DeviceCgroupRules) > 0
		},
	},
	{
		names:      "HostConfig.CapAdd",
		capability: "added capabilities",
		used:       func(c *store.Container) bool { return len(c.HostConfig.CapAdd) > 0 },
	},
	{
		names:      "HostConfig.PidMode, IpcMode, UTSMode, CgroupnsMode, Cgroup (host or another container's)",
		capability: "shared namespaces",
		used: func(c *store.Container) bool {
			h := c.HostConfig
			modes := []string{
				string(h.PidMode), string(h.IpcMode), string(h.UTSMode), string(h.CgroupnsMode), string(h.Cgroup),
			}
			return slices.ContainsFunc(modes, func(mode string) bool {
				return mode == "host" || strings.HasPrefix(mode, "container:")
			})
		},
	},
	{
		names:      "HostConfig.RestartPolicy (other than no)",
		capability: "restart policies",
		used: func(c *store.Container) bool {
			name := string(c.HostConfig.RestartPolicy.Name)
			return name != "" && name != "no"
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
		names:   "User, HostConfig.GroupAdd",
		warning: "the user is not applied: the command runs as the image's own user",
		used:    func(c *store.Container) bool { return c.Config.User != "" || len(c.HostConfig.GroupAdd) > 0 },
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
			return len(h.Sysctls)+len(h.StorageOpt)+len(h.Annotations) > 0 || h.Runtime != "" ||
				(h.Init != nil && *h.Init) || h.OomScoreAdj != 0 || h.VolumeDriver != "" || h.CgroupParent != "" ||
				!h.Isolation.IsDefault()
		},
	},
	{
		names:   "HostConfig.LogConfig (other than json-file)",
		warning: "the log driver is not applied: output goes to Log Analytics",
		used: func(c *store.Container) bool {
			return c.HostConfig.LogConfig.Type != "" && c.HostConfig.LogConfig.Type != "json-file"
		},
	},
	{
		names:   "StopSignal, StopTimeout",
		warning: "stop does not end a run, so its signal and time-out are not applied",
		used:    func(c *store.Container) bool { return c.Config.StopSignal != "" || c.Config.StopTimeout != nil },
	},
}

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
	return h.Memory > 0 || h.MemoryReservation > 0 || h.MemorySwap > 0 || h.ShmSize > 0 ||
		h.NanoCPUs > 0 || h.CPUShares > 0 || h.CPUQuota > 0 || h.CPUPeriod > 0 || h.CpusetCpus != "" || h.CpusetMems != "" ||
		h.CPURealtimePeriod > 0 || h.CPURealtimeRuntime > 0 || h.CPUCount > 0 || h.CPUPercent > 0 ||
		(h.PidsLimit != nil && *h.PidsLimit > 0) || len(h.Ulimits) > 0 || h.IOMaximumIOps > 0 || h.IOMaximumBandwidth > 0 ||
		(h.MemorySwappiness != nil && *h.MemorySwappiness >= 0) || (h.OomKillDisable != nil && *h.OomKillDisable) ||
		h.BlkioWeight > 0 || len(h.BlkioWeightDevice) > 0 || len(h.BlkioDeviceReadBps)+len(h.BlkioDeviceWriteBps) > 0 ||
		len(h.BlkioDeviceReadIOps)+len(h.BlkioDeviceWriteIOps) > 0
}

// checkFields returns a warning for each field that has no effect, or the error for a field that is refused.
func checkFields(c *store.Container) (warnings []string, err error) {
	for _, f := range fields {
		switch {
		case !f.used(c):
		case f.capability != "":
			return nil, api.NotSupported(f.capability)
		default:
			warnings = append(warnings, f.warning)
		}
	}
	return warnings, nil
}
