package main_test

import data.main

# change is the input of a create whose app has these tags and this image.
change(tags, image) := {
	"resource_changes": [{
		"address": "azurerm_linux_function_app.this", "type": "azurerm_linux_function_app",
		"change": {"actions": ["create"], "after": {
			"location": "westeurope", "tags": tags,
			"site_config": [{"application_stack": [{"docker": [image]}]}],
		}},
	}],
	"sockerless": {
		"action": "create", "requester": {"kind": "unix", "groups": ["ci"]},
		"counts": {"containers": 1, "by_requester": 1, "created_last_hour": 0},
	},
}

good := {"registry_url": "https://team.azurecr.io", "image_name": "team/job", "image_tag": "1.0"}

allowed := change({"team": "x"}, good)

# service_plan is the input of the plan of a service plan of this SKU in this region.
service_plan(sku, location) := {
	"resource_changes": [{
		"address": "azurerm_service_plan.this", "type": "azurerm_service_plan",
		"change": {"actions": ["create"], "after": {"location": location, "sku_name": sku}},
	}],
	"sockerless": {"action": "service-plan", "counts": {"containers": 1, "by_requester": 1, "created_last_hour": 0}},
}

# quiet holds when nothing is refused.
quiet if {
	count(main.deny_tags) == 0
	count(main.deny_registry) == 0
	count(main.deny_digest) == 0
	count(main.deny_location) == 0
	count(main.deny_sku) == 0
	count(main.deny_limit) == 0
}

test_allowed if {
	quiet with input as allowed
}

test_missing_tag if {
	main.deny_tags == {"tag \"team\" is missing: run with --label team=..."} with input as change({}, good)
	count(main.deny_tags) == 1 with input as change({"team": ""}, good)
	count(main.deny_tags) == 1 with input as change(null, good)
}

test_registry if {
	other := object.union(good, {"registry_url": "https://evil.example.com"})
	count(main.deny_registry) == 1 with input as change({"team": "x"}, other)
	hub := object.union(good, {"registry_url": "https://index.docker.io"})
	quiet with input as change({"team": "x"}, hub)
	nearly := object.union(good, {"registry_url": "https://azurecr.io.example.com"})
	count(main.deny_registry) == 1 with input as change({"team": "x"}, nearly)
}

# A * stands for dots too.
test_registry_patterns if {
	mcr := object.union(good, {"registry_url": "https://mcr.microsoft.com"})
	any_registry := object.union(data.rules, {"registries": ["*"]})
	quiet with input as change({"team": "x"}, mcr) with data.rules as any_registry
	azure := object.union(data.rules, {"registries": ["*.azurecr.io"]})
	quiet with input as allowed with data.rules as azure
	regional := object.union(good, {"registry_url": "https://team.westeurope.azurecr.io"})
	quiet with input as change({"team": "x"}, regional) with data.rules as azure
	count(main.deny_registry) == 1 with input as change({"team": "x"}, mcr) with data.rules as azure
}

test_digests_only if {
	strict := object.union(data.rules, {"digests_only": true})
	count(main.deny_digest) == 1 with input as allowed with data.rules as strict
	named := object.union(good, {"image_name": "team/job@sha256", "image_tag": "0123"})
	count(main.deny_digest) == 0 with input as change({"team": "x"}, named) with data.rules as strict
}

# wrapping is the input of a create of an image without a Functions host.
wrapping(reference, source) := object.union(
	change({"team": "x"}, {
		"registry_url": "https://team.azurecr.io", "image_name": "sockerless/wrapped@sha256", "image_tag": "0123",
	}),
	{"sockerless": {"container": {"image": {"reference": reference, "derived": {"source": source}}}}},
)

# The registry of wrapped images is not where they come from.
test_wrapped if {
	quiet with input as wrapping("team.azurecr.io/job:1", "team.azurecr.io/job@sha256:4567")
	quiet with input as wrapping("alpine", "docker.io/library/alpine@sha256:4567")
	evil := wrapping("evil.example.com/job:1", "evil.example.com/job@sha256:4567")
	count(main.deny_registry) == 1 with input as evil
	strict := object.union(data.rules, {"digests_only": true})
	count(main.deny_digest) == 1 with input as evil with data.rules as strict
	named := wrapping("team.azurecr.io/job@sha256:4567", "team.azurecr.io/job@sha256:4567")
	count(main.deny_digest) == 0 with input as named with data.rules as strict
	count(main.warn_tag) == 0 with input as named
	every reference in ["alpine", "alpine:latest", "127.0.0.1:5000/alpine"] {
		count(main.warn_tag) == 1 with input as wrapping(reference, "docker.io/library/alpine@sha256:4567")
	}
}

# A removal is not about where an image comes from.
test_removal if {
	removal := [{"op": "replace", "path": "/resource_changes/0/change/actions", "value": ["delete"]}]
	quiet with input as json.patch(wrapping("evil.example.com/job:1", "evil.example.com/job@sha256:4567"), removal)
}

test_service_plan if {
	quiet with input as service_plan("B1", "westeurope")
	count(main.deny_location) == 1 with input as service_plan("B1", "eastus")
	count(main.deny_sku) == 1 with input as service_plan("I1v2", "westeurope")
}

test_limits if {
	counts := {"containers": 60, "by_requester": 51, "created_last_hour": 0}
	many := object.union(allowed, {"sockerless": {"counts": counts}})
	main.deny_limit == {"you have 50 containers already, and 50 are allowed: remove some"} with input as many
	busy := object.union(allowed, {"sockerless": {"counts": object.union(counts, {"by_requester": 1, "created_last_hour": 500})}})
	count(main.deny_limit) == 1 with input as busy
}

test_latest_warns if {
	count(main.warn_tag) == 1 with input as change({"team": "x"}, object.union(good, {"image_tag": "latest"}))
	by_digest := object.union(good, {"image_name": "team/job@sha256", "image_tag": "0123"})
	count(main.warn_tag) == 0 with input as change({"team": "x"}, by_digest)
	count(main.warn_tag) == 0 with input as allowed
}

test_trusted_group if {
	trusted := object.union(allowed, {"sockerless": {"requester": {"groups": ["platform"]}}})
	some names in main.exception with input as trusted
	"registry" in names
	count(main.exception) == 0 with input as allowed
}

test_no_image if {
	some msg in main.deny_registry with input as change({"team": "x"}, {})
	contains(msg, "which image")
	count(main.deny_registry) == 0 with input as service_plan("B1", "westeurope")
}
