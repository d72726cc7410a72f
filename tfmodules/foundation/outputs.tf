output "log_analytics_workspace_id" {
  description = "Id of the Log Analytics workspace that log queries name (a UUID, also called customer id)."
  value       = one(concat(azurerm_log_analytics_workspace.this[*].workspace_id, data.azurerm_log_analytics_workspace.existing[*].workspace_id))
}

output "application_insights_connection_string" {
  description = "Connection string that the function apps send their telemetry to."
  value       = one(concat(azurerm_application_insights.this[*].connection_string, data.azurerm_application_insights.existing[*].connection_string))
  sensitive   = true
}

output "tagged_otherwise" {
  description = "Resource ids, with blanks between, of the resources that lack one of the tags or have another value. People and policies may have set it."
  value = join(" ", [
    for r in concat(
      [for r in azurerm_log_analytics_workspace.this : { id = r.id, tags = r.tags }],
      [for r in azurerm_application_insights.this : { id = r.id, tags = r.tags }],
    ) : r.id if anytrue([
      for name, value in var.tags : lookup({ for n, v in coalesce(r.tags, {}) : lower(n) => v }, lower(name), null) != value
    ])
  ])
}
