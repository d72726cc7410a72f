// Command sockerless-backend-azf runs containers as Azure Function Apps, created and destroyed by Terraform, behind a
// Docker-shaped API on a unix socket or TCP. Its package has the commands and nothing else.
//
//	sockerless-backend-azf serve --subscription-id ID --resource-group NAME --location REGION --storage-account NAME
//	sockerless-backend-azf config print
//	sockerless-backend-azf demo
package main

import "github.com/sockerless/backend-azf/internal/command"

func main() { command.Main("sockerless-backend-azf", run) }
