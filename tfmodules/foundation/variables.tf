variable "name" {
  description = "Prefix of the names of the resources created here: skls- and the owner."
  type        = string
}

variable "resource_group_name" {
  description = "Name of the existing resource group of all resources created here."
  type        = string
}

variable "location" {
  description = "Azure region of all resources created here."
  type        = string
}

variable "log_analytics_workspace" {
  description = "Existing Log Analytics workspace to use. Null: one is created."
  type = object({
    name                = string
    resource_group_name = string
  })
  default = null
}

variable "log_retention_in_days" {
  description = "Days that a Log Analytics workspace created here keeps its logs."
  type        = number
  default     = 30
}

variable "application_insights" {
  description = "Existing Application Insights component to use. It must send its data to that Log Analytics workspace. Null: one is created."
  type = object({
    name                = string
    resource_group_name = string
  })
  default = null
}

variable "remove_generated_rule" {
  description = "Whether the alert rule \"Failure Anomalies\" is deleted with the Application Insights component. True makes the creation of the component wait until Azure has created the rule, half a minute or more."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of all resources created here."
  type        = map(string)
  default     = {}
}
