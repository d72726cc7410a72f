variable "name" {
  description = "Name of the service plan: skls-, the owner and -plan, followed by the id of the plan unless it is the first one."
  type        = string
}

variable "resource_group_name" {
  description = "Name of the existing resource group of the service plan."
  type        = string
}

variable "location" {
  description = "Azure region of the service plan, and of its function apps."
  type        = string
}

variable "sku" {
  description = "SKU: Y1 is Consumption, B1 is the cheapest that runs images, EP1 is the smallest Elastic Premium."
  type        = string
}

variable "per_site_scaling" {
  description = "Whether each app says on how many instances it runs, where a Dedicated plan has several. Otherwise an app runs on all of them."
  type        = bool
  default     = false
}

variable "maximum_elastic_workers" {
  description = "Instances to which an Elastic Premium plan scales out at most. Null: Azure's default."
  type        = number
  default     = null
}

variable "tags" {
  description = "Tags of the service plan."
  type        = map(string)
  default     = {}
}
