# All containers of one daemon share these: the Log Analytics workspace, Application Insights and the service plan.
# Each is created only when no existing one is named.

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

resource "azurerm_log_analytics_workspace" "this" {
  count               = var.log_analytics_workspace == null ? 1 : 0
  name                = "${var.name}-logs"
  resource_group_name = var.resource_group_name
  location            = var.location
  sku                 = "PerGB2018"
  retention_in_days   = var.log_retention_in_days
  tags                = var.tags
}

data "azurerm_log_analytics_workspace" "existing" {
  count               = var.log_analytics_workspace == null ? 0 : 1
  name                = var.log_analytics_workspace.name
  resource_group_name = var.log_analytics_workspace.resource_group_name
}

resource "azurerm_application_insights" "this" {
  count               = var.application_insights == null ? 1 : 0
  name                = "${var.name}-insights"
  resource_group_name = var.resource_group_name
  location            = var.location
  application_type    = "other"
  workspace_id        = one(concat(azurerm_log_analytics_workspace.this[*].id, data.azurerm_log_analytics_workspace.existing[*].id))
  # Sampling would drop log lines.
  sampling_percentage = 100
  tags                = var.tags
}

data "azurerm_application_insights" "existing" {
  count               = var.application_insights == null ? 0 : 1
  name                = var.application_insights.name
  resource_group_name = var.application_insights.resource_group_name
}

resource "azurerm_service_plan" "this" {
  count               = var.service_plan == null ? 1 : 0
  name                = "${var.name}-plan"
  resource_group_name = var.resource_group_name
  location            = var.location
  os_type             = "Linux"
  sku_name            = var.service_plan_sku
  tags                = var.tags
}

data "azurerm_service_plan" "existing" {
  count               = var.service_plan == null ? 0 : 1
  name                = var.service_plan.name
  resource_group_name = var.service_plan.resource_group_name

  lifecycle {
    postcondition {
      condition     = self.os_type == "Linux"
      error_message = "The service plan must be a Linux plan: set app_service_plan to one, or leave it empty to have one created."
    }
  }
}
