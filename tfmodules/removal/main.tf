# The removal of one container: it deletes the function app and reads nothing else in Azure, so that it works when what
# the app was created with is gone, or may not be read any more.

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

resource "azurerm_linux_function_app" "this" {
  name                = var.name
  resource_group_name = var.resource_group_name

  # Required by the provider. Nothing is created or changed with them.
  location                      = "unknown"
  service_plan_id               = var.service_plan_id
  storage_account_name          = "unknown"
  storage_uses_managed_identity = true
  site_config {}

  lifecycle {
    ignore_changes = all
  }
}
