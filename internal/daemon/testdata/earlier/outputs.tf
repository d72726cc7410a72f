output "id" {
  description = "Resource id of the function app."
  value       = azurerm_linux_function_app.this.id
}

output "name" {
  description = "Name of the function app."
  value       = azurerm_linux_function_app.this.name
}

output "default_hostname" {
  description = "Host name that the function app answers on, over HTTPS."
  value       = azurerm_linux_function_app.this.default_hostname
}
