# One service plan, on which function apps run.

terraform {
  required_version = ">= 1.9"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.0"
    }
  }
}

provider "azurerm" {
  features {}
  resource_provider_registrations = "none"
}

locals {
  # Consumption, Elastic Premium and Workflow scale by themselves, so that Azure sets the number of their instances.
  dedicated = !can(regex("^(Y|FC|EP|WS)", upper(var.sku)))
}

resource "azurerm_service_plan" "this" {
  name                         = var.name
  resource_group_name          = var.resource_group_name
  location                     = var.location
  os_type                      = "Linux"
  sku_name                     = var.sku
  worker_count                 = local.dedicated ? 1 : null
  per_site_scaling_enabled     = var.per_site_scaling
  maximum_elastic_worker_count = var.maximum_elastic_workers
  tags                         = var.tags

  # The settings make it. What people and Azure Policy set afterwards stays, and a changed SKU is that of later ones.
  lifecycle {
    ignore_changes = [
      maximum_elastic_worker_count, per_site_scaling_enabled, premium_plan_auto_scale_enabled, sku_name, tags,
      worker_count, zone_balancing_enabled,
    ]
  }
}
