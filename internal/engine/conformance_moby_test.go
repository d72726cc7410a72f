package engine

import (
	"slices"
	"strings"
)

// occurrence tells how often moby sends a field.
type occurrence int

const (
	sometimes occurrence = iota
	always
	never
)

// versionedField is a field that moby's routers (daemon/server/router) add to an answer, or take out of it, by the
// version of the API. within is how often they send it from version 1.since to 1.until, otherwise in the others.
type versionedField struct {
	route, path       string
	since, until      int // until 0 means that there is no last version
	within, otherwise occurrence
}

// versioned are the fields that depend on the version in moby. moby's Go types, which are those of the newest version,
// have all others.
var versioned = versionedFields()

func versionedFields() (list []versionedField) {
	const (
		inspect, containers = "GET /containers/{id}/json", "GET /containers/json"
		image, images       = "GET /images/{name}/json", "GET /images/json"
		info, df, events    = "GET /info", "GET /system/df", "GET /events"
	)
	since := func(version int, within occurrence, route, below string, names ...string) {
		for _, name := range names {
			list = append(list, versionedField{route, below + "." + name, version, 0, within, never})
		}
	}
	until := func(version int, within, after occurrence, route, below string, names ...string) {
		for _, name := range names {
			list = append(list, versionedField{route, below + "." + name, 0, version, within, after})
		}
	}
	since(48, sometimes, inspect, "", "ImageManifestDescriptor")
	since(52, sometimes, inspect, "", "Storage")
	until(51, always, sometimes, inspect, "", "GraphDriver")
	until(51, sometimes, never, inspect, ".Config", "MacAddress")
	until(51, always, never, inspect, ".NetworkSettings", "EndpointID", "Gateway", "GlobalIPv6Address",
		"GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress")

	since(46, sometimes, containers, "[].HostConfig", "Annotations")
	since(48, sometimes, containers, "[]", "ImageManifestDescriptor")
	since(52, always, containers, "[]", "Health")

	until(43, always, never, images, "[]", "VirtualSize")
	since(48, sometimes, images, "[]", "Descriptor")

	until(43, always, never, image, "", "VirtualSize")
	until(43, always, sometimes, image, "", "Created")
	until(44, always, never, image, "", "Container", "ContainerConfig")
	until(51, always, sometimes, image, "", "Parent", "Comment", "DockerVersion", "Author", "GraphDriver")
	since(48, sometimes, image, "", "Descriptor")
	since(53, sometimes, image, "", "Identity")
	until(49, always, never, image, ".Config", "AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname",
		"Image", "OpenStdin", "StdinOnce", "Tty")
	until(51, always, sometimes, image, ".Config", "Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes",
		"WorkingDir")

	since(44, sometimes, info, ".Runtimes{}", "status")
	since(46, sometimes, info, "", "Containerd")
	since(49, sometimes, info, "", "FirewallBackend")
	since(50, sometimes, info, "", "DiscoveredDevices")
	since(53, sometimes, info, "", "NRI")
	until(46, always, never, info, ".RegistryConfig", "AllowNondistributableArtifactsCIDRs",
		"AllowNondistributableArtifactsHostnames")
	for _, commit := range []string{".ContainerdCommit", ".RuncCommit", ".InitCommit"} {
		until(48, always, never, info, commit, "Expected")
	}
	until(49, always, never, info, "", "BridgeNfIptables", "BridgeNfIp6tables")

	until(43, always, never, df, ".Images[]", "VirtualSize")

	until(51, always, never, events, "", "id", "status")
	until(51, sometimes, never, events, "", "from") // of containers
	return list
}

// filled are the fields that the documents let be null, and that moby always fills in. Templates of docker info -f look
// into them.
var filled = map[finding]bool{
	{route: "GET /info", path: ".RegistryConfig"}: true,
}

// versionedBelow returns the names of the versioned fields of an object.
func (c comparison) versionedBelow(path string) (names []string) {
	for _, v := range versioned {
		if name, ok := strings.CutPrefix(v.path, path+"."); ok && v.route == c.route && !strings.ContainsAny(name, ".[{") {
			names = append(names, name)
		}
	}
	return names
}

// sends returns how often moby sends a field in this version.
func (c comparison) sends(path string, f encodedField) occurrence {
	i := slices.IndexFunc(versioned, func(v versionedField) bool { return v.route == c.route && v.path == path })
	if i < 0 {
		return f.occurs
	}
	v, n := versioned[i], minor(c.version)
	if n < v.since || v.until > 0 && n > v.until {
		return v.otherwise
	}
	return v.within
}
