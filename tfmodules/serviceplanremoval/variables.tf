variable "name" {
  description = "Name of the service plan."
  type        = string
}

variable "resource_group_name" {
  description = "Name of the resource group of the service plan."
  type        = string
}
