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
		inspect, containers, df = "GET /containers/{id}/json", "GET /containers/json", "GET /system/df"
		image, info, events     = "GET /images/{name}/json", "GET /info", "GET /events"
		noValue                 = "moby answers null if neither the create nor the image has it"
		noAddress               = "moby answers null without a fixed address; the documents say so since 1.32"
		noConfig                = "moby fills in null for what the image does not have"
	)
	return []deviation{
		// Nulls of moby that the document does not have.
		{reason: "moby answers null unless the create has it", route: inspect, what: "null",
			paths: []string{".HostConfig.MemorySwappiness"}},
		{reason: "moby answers null unless the create has it; the documents say so since 1.39", route: inspect,
			what: "null", until: 38, paths: []string{".HostConfig.PidsLimit"}},
		{reason: noValue, route: inspect, what: "null", paths: []string{".Config.Cmd", ".Config.Entrypoint"}},
		{reason: "moby answers null while there is no exec; the documents say so since 1.38", route: inspect, what: "null",
			until: 37, paths: []string{".ExecIDs"}},
		{reason: "moby answers null for ports that are not published; the documents say so since 1.39", route: inspect,
			what: "null", until: 38, paths: []string{".NetworkSettings.Ports{}"}},
		{reason: noAddress, route: inspect, what: "null", until: 31,
			paths: []string{".NetworkSettings.Networks{}.IPAMConfig"}},
		{reason: noAddress, route: containers, what: "null", until: 31,
			paths: []string{"[].NetworkSettings.Networks{}.IPAMConfig"}},
		{reason: noAddress, route: df, what: "null", until: 39,
			paths: []string{".Containers[].NetworkSettings.Networks{}.IPAMConfig"}},
		{reason: "moby answers null without a fixed address; the documents say nothing of the elements here", route: df,
			what: "null", since: 52, paths: []string{
				".ContainerUsage.Items[].NetworkSettings.Networks{}.IPAMConfig",
				".Containers[].NetworkSettings.Networks{}.IPAMConfig",
			}},
		{reason: noConfig, route: image, what: "null", until: 51, paths: []string{
			".Config.Cmd", ".Config.Entrypoint", ".Config.Env", ".Config.Labels", ".Config.Volumes",
		}},
		{reason: noConfig, route: image, what: "null", until: 44, paths: []string{
			".ContainerConfig.Cmd", ".ContainerConfig.Entrypoint", ".ContainerConfig.Env", ".ContainerConfig.Labels",
			".ContainerConfig.Volumes",
		}},
		{reason: noConfig + "; the documents say so since 1.39", route: image, what: "null", until: 38, paths: []string{
			".Config.OnBuild", ".ContainerConfig.OnBuild",
		}},

		// Answers of moby that contradict the document.
		{reason: "moby answers an object of ports in every version", route: inspect, what: "got object, want array",
			until: 31, paths: []string{".NetworkSettings.Ports"}},
		{reason: "moby answers a list of bindings in every version", route: inspect, what: "got array, want object",
			until: 34, paths: []string{".HostConfig.PortBindings{}"}},
		{reason: "moby answers the policy no in every version", route: inspect,
			what: "value must be one of 'always', 'unless-stopped', 'on-failure'", until: 29,
			paths: []string{".HostConfig.RestartPolicy.Name"}},
		{reason: "moby answers the policy no in every version", route: inspect,
			what: "value must be one of '', 'always', 'unless-stopped', 'on-failure'", until: 39,
			paths: []string{".HostConfig.RestartPolicy.Name"}},
		{reason: "moby answers a list of containers: the document has a list of lists", route: df,
			what: "got object, want array", until: 39, paths: []string{".Containers[]"}},
		{reason: "moby's netip.Addr is never omitted, and empty for a port that is not published", route: containers,
			what: "'' is not valid ip-address: not an address", paths: []string{"[].Ports[].IP"}},
		{reason: "moby's netip.Addr is never omitted, and empty for a port that is not published", route: df,
			what: "'' is not valid ip-address: not an address", since: 40, until: 51,
			paths: []string{".Containers[].Ports[].IP"}},
		{reason: "moby sends JSON lines since 1.52: the document forgets them", route: events, since: 52, until: 52,
			what:  `content type "application/jsonl", the document has ["application/x-ndjson" "application/json-seq"]`,
			paths: []string{""}},
		{reason: "there is no driver of cgroups; the documents have none since 1.40", route: info,
			what: "value must be one of 'cgroupfs', 'systemd'", until: 39, paths: []string{".CgroupDriver"}},

		// What differs from moby.
		{reason: "moby sent it up to Docker 28, and the documents have it from 1.32 to 1.51", route: inspect,
			what: "neither in the document nor in moby's type", until: 31, paths: []string{
				".NetworkSettings.HairpinMode", ".NetworkSettings.LinkLocalIPv6Address",
				".NetworkSettings.LinkLocalIPv6PrefixLen",
			}},
		{reason: "clients of Docker up to 20.10 warn without it; not every document has it", route: info,
			what: "neither in the document nor in moby's type", until: 39, paths: []string{".KernelMemory"}},
		{reason: "there is no builder", route: "GET /_ping", what: "no header Builder-Version", paths: []string{""}},
		{reason: "there is no builder", route: "HEAD /_ping", what: "no header Builder-Version", paths: []string{""}},
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
