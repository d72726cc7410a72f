variable "name" {
  description = "Prefix of the names of what is made here: skls- and the owner."
  type        = string
}

variable "resource_group_name" {
  description = "Name of the existing resource group that everything is made in."
  type        = string
}

variable "location" {
  description = "Azure region of everything made here."
  type        = string
}

variable "log_analytics_workspace" {
  description = "Existing Log Analytics workspace to use. Null: one is made."
  type = object({
    name                = string
    resource_group_name = string
  })
  default = null
}

variable "log_retention_in_days" {
  description = "How long a workspace that is made here keeps its logs, in days."
  type        = number
  default     = 30
}

variable "application_insights" {
  description = "Existing Application Insights component to use; it must be based on the workspace. Null: one is made."
  type = object({
    name                = string
    resource_group_name = string
  })
  default = null
}

variable "service_plan" {
  description = "Existing App Service plan to use; it must be a Linux plan. Null: one is made."
  type = object({
    name                = string
    resource_group_name = string
  })
  default = null
}

variable "service_plan_sku" {
  description = "SKU of a plan that is made here: Y1 is Consumption, B1 the cheapest that runs images, EP1 the smallest Elastic Premium."
  type        = string
  default     = "Y1"
}

variable "tags" {
  description = "Tags of everything made here."
  type        = map(string)
  default     = {}
}
