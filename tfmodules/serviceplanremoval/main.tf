# The removal of one service plan: it deletes the service plan, and needs to know only its name.

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

resource "azurerm_service_plan" "this" {
  name                = var.name
  resource_group_name = var.resource_group_name

  # Required by the provider. Nothing is created or changed with them.
  location = "unknown"
  os_type  = "Linux"
  sku_name = "B1"

  lifecycle {
    ignore_changes = all
  }
}
