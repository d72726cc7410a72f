output "service_plan_id" {
  description = "Resource id of the service plan that runs the function apps."
  value       = one(concat(azurerm_service_plan.this[*].id, data.azurerm_service_plan.existing[*].id))
}

output "service_plan_sku" {
  description = "SKU of that service plan."
  value       = one(concat(azurerm_service_plan.this[*].sku_name, data.azurerm_service_plan.existing[*].sku_name))
}

output "requested_service_plan_sku" {
  description = "SKU that the settings asked for when this was applied. People may have scaled the service plan since."
  value       = var.service_plan_sku
}

output "log_analytics_workspace_id" {
  description = "Id of the Log Analytics workspace that log queries name (a UUID, also called customer id)."
  value       = one(concat(azurerm_log_analytics_workspace.this[*].workspace_id, data.azurerm_log_analytics_workspace.existing[*].workspace_id))
}

output "application_insights_connection_string" {
  description = "Connection string that the function apps send their telemetry to."
  value       = one(concat(azurerm_application_insights.this[*].connection_string, data.azurerm_application_insights.existing[*].connection_string))
  sensitive   = true
}
