# One container: one Linux function app that runs the container's image.

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
  # Without an identity the Functions host needs the storage account's key.
  storage_by_key = var.identity == null

  # Each value is a secret, and the names are shown.
  environment      = { for name in nonsensitive(keys(var.environment)) : name => var.environment[name] }
  handler_settings = { for name in nonsensitive(keys(var.handler_settings)) : name => var.handler_settings[name] }

  # An older azf-handler does not read handler_settings, and would run its default command. So it gets one that it cannot
  # find, whose name it reports.
  older_handler = ["azf-handler is older than the image's label says: build the image with the daemon's release"]
}

data "azurerm_storage_account" "this" {
  count               = local.storage_by_key ? 1 : 0
  name                = var.storage_account_name
  resource_group_name = var.storage_account_resource_group_name
}

resource "azurerm_linux_function_app" "this" {
  name                = var.name
  resource_group_name = var.resource_group_name
  location            = var.location
  service_plan_id     = var.service_plan_id
  tags                = var.tags

  storage_account_name          = var.storage_account_name
  storage_account_access_key    = local.storage_by_key ? data.azurerm_storage_account.this[0].primary_access_key : null
  storage_uses_managed_identity = local.storage_by_key ? null : true

  https_only                                     = true
  builtin_logging_enabled                        = false
  content_share_force_disabled                   = true
  ftp_publish_basic_authentication_enabled       = false
  webdeploy_publish_basic_authentication_enabled = false

  key_vault_reference_identity_id = var.key_vault_references && var.identity != null ? var.identity.id : null

  dynamic "identity" {
    for_each = var.identity == null ? [] : [var.identity]
    content {
      type         = "UserAssigned"
      identity_ids = [identity.value.id]
    }
  }

  site_config {
    always_on                                     = var.always_on
    minimum_tls_version                           = "1.2"
    scm_minimum_tls_version                       = "1.2"
    ftps_state                                    = "Disabled"
    application_insights_connection_string        = var.application_insights_connection_string
    container_registry_use_managed_identity       = var.registry_uses_identity ? true : null
    container_registry_managed_identity_client_id = var.registry_uses_identity ? var.identity.client_id : null

    # A run is known only to the handler that started it, so there is one instance. On Dedicated service plans, an app
    # runs on all instances of the service plan, unless that has per-site scaling.
    app_scale_limit = var.always_on ? null : 1
    worker_count    = var.always_on ? 1 : null

    application_stack {
      docker {
        registry_url      = var.registry_url
        registry_username = var.registry_username
        registry_password = var.registry_password
        image_name        = var.image_name
        image_tag         = var.image_tag
      }
    }
  }

  app_settings = merge(
    local.environment,
    local.handler_settings,
    local.storage_by_key ? {} : {
      AzureWebJobsStorage__credential = "managedidentity"
      AzureWebJobsStorage__clientId   = var.identity.client_id
    },
    {
      # Unset, the shared /home mount would hide the image's /home/site/wwwroot.
      WEBSITES_ENABLE_APP_SERVICE_STORAGE = "false"
      # The provider does not set the runtime for images.
      FUNCTIONS_WORKER_RUNTIME = "custom"
      # Sampling would drop log lines.
      AzureFunctionsJobHost__logging__applicationInsights__samplingSettings__isEnabled = "false"

      AzureFunctionsJobHost__functionTimeout = var.function_timeout

      # Read by azf-handler of protocol 1.
      AZF_COMMAND     = jsonencode(var.handler_reads_spec ? local.older_handler : var.command)
      AZF_WORKING_DIR = var.working_dir
    },
  )

  lifecycle {
    # azurerm 5.2.0 does not read it back, so every later plan would show a change.
    ignore_changes = [content_share_force_disabled]
  }
}
