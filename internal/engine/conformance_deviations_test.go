package engine

import (
	"fmt"
	"slices"
)

// deviation is a kind of finding that stays. It fails the test once it matches nothing.
type deviation struct {
	reason, route, what string
	since, until        int // the minor versions; until 0 means that the newest has it too
	paths               []string
}

// deviations returns the findings that stay.
func deviations() []deviation {
	const (
		inspect, info = "GET /containers/{id}/json", "GET /info"
		leftOut       = "moby answers null for what a create leaves out"
		noValue       = "moby answers null if neither the create nor the image has it"
		network       = "moby answers null on the default network, where there are no links and no names"
	)
	return []deviation{
		// Nulls that moby answers as well, without saying so in the document.
		{reason: leftOut, route: inspect, what: "null", paths: []string{
			".HostConfig.Binds", ".HostConfig.BlkioDeviceReadBps", ".HostConfig.BlkioDeviceReadIOps",
			".HostConfig.BlkioDeviceWriteBps", ".HostConfig.BlkioDeviceWriteIOps", ".HostConfig.BlkioWeightDevice",
			".HostConfig.CapAdd", ".HostConfig.CapDrop", ".HostConfig.DeviceCgroupRules", ".HostConfig.DeviceRequests",
			".HostConfig.Devices", ".HostConfig.Dns", ".HostConfig.DnsOptions", ".HostConfig.DnsSearch",
			".HostConfig.ExtraHosts", ".HostConfig.GroupAdd", ".HostConfig.Links", ".HostConfig.MemorySwappiness",
			".HostConfig.SecurityOpt", ".HostConfig.Ulimits", ".HostConfig.VolumesFrom",
		}},
		{reason: leftOut + "; the documents say so since 1.39", route: inspect, what: "null", until: 38, paths: []string{
			".HostConfig.PidsLimit",
		}},
		{reason: "moby answers null on hosts with cgroup v2, which has no such option", route: inspect, what: "null",
			paths: []string{".HostConfig.OomKillDisable"}},
		{reason: noValue, route: inspect, what: "null", paths: []string{
			".Config.Cmd", ".Config.Entrypoint", ".Config.Env", ".Config.Volumes",
		}},
		{reason: "moby answers null while there is no exec; the documents say so since 1.38", route: inspect, what: "null",
			until: 37, paths: []string{".ExecIDs"}},
		{reason: network, route: inspect, what: "null", paths: []string{
			".NetworkSettings.Networks{}.DNSNames", ".NetworkSettings.Networks{}.Links",
		}},
		{reason: network, route: "GET /containers/json", what: "null", paths: []string{
			"[].NetworkSettings.Networks{}.DNSNames", "[].NetworkSettings.Networks{}.Links",
		}},
		{reason: network, route: "GET /system/df", what: "null", paths: []string{
			".Containers[].NetworkSettings.Networks{}.DNSNames", ".Containers[].NetworkSettings.Networks{}.Links",
			".ContainerUsage.Items[].NetworkSettings.Networks{}.DNSNames",
			".ContainerUsage.Items[].NetworkSettings.Networks{}.Links",
		}},
		{reason: "moby answers null for layers without a tag", route: "GET /images/{name}/history", what: "null",
			paths: []string{"[].Tags"}},
		{reason: "moby answers null if no image was deleted", route: "POST /images/prune", what: "null",
			paths: []string{".ImagesDeleted"}},
		{reason: "moby answers null unless it is configured", route: info, what: "null", paths: []string{
			".GenericResources", ".Plugins.Authorization",
		}},
		{reason: "moby answers null without a swarm; the documents say so since 1.32", route: info, what: "null", until: 31,
			paths: []string{".Swarm.RemoteManagers"}},

		{reason: "there is no builder", route: "GET /_ping", what: "no header Builder-Version", paths: []string{""}},
		{reason: "there is no builder", route: "HEAD /_ping", what: "no header Builder-Version", paths: []string{""}},

		// Mistakes in documents.
		{reason: "moby answers a list of bindings in every version", route: inspect, what: "got array, want object",
			until: 34, paths: []string{".HostConfig.PortBindings{}"}},
		{reason: "moby answers the policy no in every version", route: inspect,
			what: "value must be one of 'always', 'unless-stopped', 'on-failure'", until: 29,
			paths: []string{".HostConfig.RestartPolicy.Name"}},
		{reason: "moby answers the policy no in every version", route: inspect,
			what: "value must be one of '', 'always', 'unless-stopped', 'on-failure'", until: 39,
			paths: []string{".HostConfig.RestartPolicy.Name"}},
		{reason: "moby answers a list of containers: the document has a list of lists", route: "GET /system/df",
			what: "got object, want array", until: 39, paths: []string{".Containers[]"}},
	}
}

// accept removes the deviations from the findings. It returns those that are not among the findings.
func (f findings) accept(list []deviation) (unused []string) {
	for _, d := range list {
		for _, path := range d.paths {
			key := finding{d.route, path, d.what}
			at, accepted := f[key], false
			if at != nil {
				at.versions = slices.DeleteFunc(at.versions, func(version string) bool {
					n := minor(version)
					matches := n >= d.since && (d.until == 0 || n <= d.until)
					accepted = accepted || matches
					return matches
				})
				if len(at.versions) == 0 {
					delete(f, key)
				}
			}
			if !accepted {
				unused = append(unused, fmt.Sprintf("no longer a deviation: %s | %s | %s: %s", d.route, path, d.what, d.reason))
			}
		}
	}
	return unused
}
