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
  features {
    application_insights {
      # Azure creates the alert rule "Failure Anomalies" for each component. It stays when the component is deleted, and
      # then keeps the resource group from being deleted.
      disable_generated_rule = var.remove_generated_rule
    }
  }
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

  # The settings make it. What people and Azure Policy set afterwards stays.
  lifecycle {
    ignore_changes = [
      allow_resource_only_permissions, cmk_for_query_forced, daily_quota_gb, data_collection_rule_id, identity,
      internet_ingestion_access_type, internet_query_access_type, local_authentication_enabled,
      reservation_capacity_in_gb_per_day, retention_in_days, sku, tags,
    ]
  }
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

  lifecycle {
    ignore_changes = [
      daily_data_cap_in_gb, daily_data_cap_notifications_enabled, force_customer_storage_for_profiler,
      internet_ingestion_enabled, internet_query_enabled, ip_masking_enabled, local_authentication_enabled,
      retention_in_days, sampling_percentage, tags,
    ]
  }
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

  # The daemon takes sku_name out of the list when the setting changes.
  lifecycle {
    ignore_changes = [
      maximum_elastic_worker_count, per_site_scaling_enabled, premium_plan_auto_scale_enabled, sku_name, tags,
      worker_count, zone_balancing_enabled,
    ]
  }
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
