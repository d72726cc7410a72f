package main

import input.plan as tfplan

resource_types := {"azurerm_linux_function_app"}

changes[resource] {
	resource := tfplan.resource_changes[_]
	resource_types[resource.type]
}

deny[msg] {
	changes[resource]
	not resource.change.after.tags.team
	msg := sprintf("%s has no tag team", [resource.address])
}

violation[{"msg": msg, "details": {"address": resource.address}}] {
	changes[resource]
	resource.change.after.location != "westeurope"
	msg := sprintf("%s is in %s", [resource.address, resource.change.after.location])
}

deny_names[msg] {
	changes[resource]
	not startswith(resource.change.after.name, "team-")
	msg := sprintf("the name %s does not begin with team-", [resource.change.after.name])
}

warn_latest[msg] {
	changes[resource]
	image := resource.change.after.site_config[_].application_stack[_].docker[_]
	image.image_tag == "latest"
	msg := "the image is the latest"
}

exception[rules] {
	input.sockerless.owner == "demo"
	rules := ["names"]
}
