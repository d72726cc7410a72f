# Rules for requests. They are asked before there is a plan, and before anything is recorded of a container.
# The daemon itself refuses what Azure Functions cannot honour, before it asks: of the settings below, it takes
# UsernsMode alone. The other rules hold for a release that takes more.
package sockerless.request

host := input.sockerless.container.host_config

deny contains "privileged containers are not allowed: leave out --privileged" if host.Privileged

deny contains msg if {
	some capability in host.CapAdd
	msg := sprintf("capability %s is not allowed: leave out --cap-add", [capability])
}

deny contains msg if {
	some device in host.Devices
	msg := sprintf("device %s is not allowed: leave out --device", [device.PathOnHost])
}

deny contains msg if {
	some bind in host.Binds
	msg := sprintf("folder %s of the host is not allowed: leave out --volume", [bind])
}

deny contains msg if {
	some mount in host.Mounts
	mount.Type == "bind"
	msg := sprintf("folder %s of the host is not allowed: leave out --mount", [mount.Source])
}

deny contains msg if {
	some name in ["NetworkMode", "PidMode", "IpcMode", "UTSMode", "UsernsMode"]
	host[name] == "host"
	msg := sprintf("%s: containers may not share the host's namespaces", [name])
}
