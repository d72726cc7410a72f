variable "name" {
  description = "Name of the function app: skls- and 20 hex digits of the container id. At most 32 characters, because the Functions host id is the name cut to 32."
  type        = string

  validation {
    condition     = can(regex("^skls-[0-9a-f]{20}$", var.name))
    error_message = "The name must be skls- followed by 20 hex digits."
  }
}

variable "resource_group_name" {
  description = "Name of the existing resource group of the function app."
  type        = string
}

variable "location" {
  description = "Azure region of the function app: the region of its service plan."
  type        = string
}

variable "service_plan_id" {
  description = "Resource id of the service plan that runs the function app."
  type        = string
}

variable "always_on" {
  description = "Whether the app stays loaded: true on Dedicated service plans, which need it, false on Elastic Premium and Consumption, which refuse it."
  type        = bool
}

variable "storage_account_name" {
  description = "Name of the existing storage account of the Functions host."
  type        = string
}

variable "storage_account_resource_group_name" {
  description = "Name of the resource group that holds the storage account."
  type        = string
}

variable "identity" {
  description = "User-assigned managed identity of the app, with access to the storage account. Null: the app uses the storage account's key, which is then part of the state."
  type = object({
    id        = string
    client_id = string
  })
  default = null
}

variable "application_insights_connection_string" {
  description = "Connection string of the Application Insights component that receives the app's telemetry."
  type        = string
  sensitive   = true
}

variable "registry_url" {
  description = "URL of the image's registry, with https:// and without a trailing slash."
  type        = string
}

variable "registry_username" {
  description = "User name for the registry. Null: anonymous, or the managed identity."
  type        = string
  default     = null
}

variable "registry_password" {
  description = "Password for the registry. Null: anonymous, or the managed identity."
  type        = string
  sensitive   = true
  default     = null
}

variable "registry_uses_identity" {
  description = "Whether App Service pulls the image with the managed identity, which then needs AcrPull on the registry."
  type        = bool
  default     = false

  validation {
    condition     = !var.registry_uses_identity || var.identity != null
    error_message = "To pull with the managed identity, identity must be set."
  }
}

variable "image_name" {
  description = "Repository of the image within its registry."
  type        = string
}

variable "image_tag" {
  description = "Tag of the image."
  type        = string
}

variable "command" {
  description = "Entrypoint and arguments that azf-handler runs. Empty: the default of azf-handler."
  type        = list(string)
  default     = []
}

variable "working_dir" {
  description = "Folder in which azf-handler runs the command. Empty: the folder of azf-handler."
  type        = string
  default     = ""
}

variable "function_timeout" {
  description = "Longest run that the Functions host allows, as hh:mm:ss."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{2}:[0-5][0-9]:[0-5][0-9]$", var.function_timeout))
    error_message = "The time-out must have the form hh:mm:ss."
  }
}

variable "environment" {
  description = "Environment of the container, as app settings."
  type        = map(string)
  sensitive   = true
  default     = {}
}

variable "tags" {
  description = "Tags of the function app: container id, name and owner, and the container's labels that Azure accepts as tags."
  type        = map(string)
  default     = {}
}
