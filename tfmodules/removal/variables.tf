variable "name" {
  description = "Name of the function app."
  type        = string
}

variable "resource_group_name" {
  description = "Name of the resource group of the function app."
  type        = string
}

variable "service_plan_id" {
  description = "Any resource id of a service plan. It is never read."
  type        = string
}
