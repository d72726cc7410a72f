package sockerless.request_test

import data.sockerless.request

asked(host) := {"sockerless": {"action": "create", "container": {"host_config": host}}}

test_nothing if {
	count(request.deny) == 0 with input as asked({"NetworkMode": "default", "CapAdd": null, "Binds": null, "Devices": []})
	count(request.deny) == 0 with input as asked({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/data"}]})
}

test_start_and_pull if {
	count(request.deny) == 0 with input as {"sockerless": {"action": "pull", "image": {"reference": "a:1"}}}
}

test_host_settings if {
	count(request.deny) == 1 with input as asked({"Privileged": true})
	count(request.deny) == 2 with input as asked({"CapAdd": ["SYS_ADMIN", "NET_ADMIN"]})
	count(request.deny) == 1 with input as asked({"Devices": [{"PathOnHost": "/dev/kvm"}]})
	count(request.deny) == 1 with input as asked({"Binds": ["/etc:/etc"]})
	count(request.deny) == 1 with input as asked({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/etc"}]})
	count(request.deny) == 1 with input as asked({"UsernsMode": "host"})
	count(request.deny) == 2 with input as asked({"NetworkMode": "host", "PidMode": "host"})
}
