output "id" {
  description = "Resource id of the service plan."
  value       = azurerm_service_plan.this.id
}

output "sku" {
  description = "SKU of the service plan. People may have scaled it."
  value       = azurerm_service_plan.this.sku_name
}

output "tagged_otherwise" {
  description = "Whether the service plan lacks one of the tags or has another value. People and policies may have set it."
  value = anytrue([
    for name, value in var.tags :
    lookup({ for n, v in coalesce(azurerm_service_plan.this.tags, {}) : lower(n) => v }, lower(name), null) != value
  ])
}
