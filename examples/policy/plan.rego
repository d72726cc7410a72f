# Rules for Terraform plans. Each is asked before the plan is applied.
package main

# The function app of a container, as the plan leaves it.
app := resource.change.after if {
	some resource in input.resource_changes
	resource.type == "azurerm_linux_function_app"
	creates(resource)
}

# The service plan that all containers share.
service_plan := resource.change.after if {
	some resource in input.resource_changes
	resource.type == "azurerm_service_plan"
	creates(resource)
}

creates(resource) if "create" in resource.change.actions

creates(resource) if "update" in resource.change.actions

image := app.site_config[0].application_stack[0].docker[0]

# The image that was asked for, when Azure runs a wrapped one in its place: the plan names only that.
wrapped := input.sockerless.container.image if {
	app
	input.sockerless.container.image.derived
}

reference := wrapped.reference if wrapped

else := sprintf("%s:%s", [image.image_name, image.image_tag])

registry := split(wrapped.derived.source, "/")[0] if wrapped

else := trim_prefix(image.registry_url, "https://")

deny_tags contains msg if {
	some name in data.rules.required_tags
	app
	not has_tag(name)
	msg := sprintf("tag %q is missing: run with --label %s=...", [name, name])
}

has_tag(name) if app.tags[name] != ""

# What a rule reads may be missing. Then the rule would say nothing, so that another one must.
deny_registry contains "the plan does not say which image the container runs" if {
	app
	not registry
}

deny_registry contains msg if {
	not allowed_registry
	msg := sprintf("images from %s are not allowed: use %s", [registry, concat(" or ", data.rules.registries)])
}

allowed_registry if {
	some pattern in data.rules.registries
	glob.match(pattern, null, registry)
}

deny_digest contains msg if {
	data.rules.digests_only
	not contains(reference, "@sha256:")
	msg := sprintf("image %s is named by a tag, which may change: name it by its digest, NAME@sha256:...", [reference])
}

deny_location contains msg if {
	some resource in input.resource_changes
	creates(resource)
	location := resource.change.after.location
	not location in data.rules.locations
	msg := sprintf("%s is in %s: use %s", [resource.address, location, concat(" or ", data.rules.locations)])
}

deny_sku contains msg if {
	not allowed_sku
	msg := sprintf("SKU %s is not allowed: set service_plan_sku to %s", [
		service_plan.sku_name, concat(" or ", data.rules.skus),
	])
}

allowed_sku if {
	some pattern in data.rules.skus
	glob.match(pattern, null, service_plan.sku_name)
}

deny_limit contains msg if {
	input.sockerless.action == "create"
	input.sockerless.counts.by_requester > data.rules.containers_per_requester
	msg := sprintf("you have %d containers already, and %d are allowed: remove some", [
		input.sockerless.counts.by_requester - 1, data.rules.containers_per_requester,
	])
}

deny_limit contains msg if {
	input.sockerless.action == "create"
	input.sockerless.counts.created_last_hour >= data.rules.creates_per_hour
	msg := sprintf("%d containers were created in the last hour, and no more are allowed: try again later", [
		input.sockerless.counts.created_last_hour,
	])
}

warn_tag contains msg if {
	regex.match(`(^|/)[^/:]+(:latest)?$`, reference)
	msg := sprintf("image %s may be another one tomorrow: name a version or a digest", [reference])
}

# Whoever is in a trusted group may use images of any registry, by tag or digest.
exception contains ["registry", "digest"] if {
	some group in input.sockerless.requester.groups
	group in data.rules.trusted_groups
}
