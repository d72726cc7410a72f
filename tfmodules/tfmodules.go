// Package tfmodules holds the Terraform modules that the daemon carries: functionapp, one per container, and foundation,
// shared by all containers of a daemon. They are root modules: a workspace copies the files as they are and adds only
// terraform.tfvars.json. The package knows nothing of who fills in the variables.
//
//	files := tfmodules.FunctionApp() // main.tf, variables.tf, outputs.tf
package tfmodules

import (
	"embed"
	"io/fs"
)

//go:embed functionapp/*.tf foundation/*.tf
var modules embed.FS

// FunctionApp is the module of one container: one azurerm_linux_function_app. Its files lie at the root.
func FunctionApp() fs.FS { return sub("functionapp") }

// Foundation is the module of what containers share: Log Analytics workspace, Application Insights and plan. Its files lie at the root.
func Foundation() fs.FS { return sub("foundation") }

func sub(dir string) fs.FS {
	f, err := fs.Sub(modules, dir)
	if err != nil {
		panic(err) // the name is a constant and embedded
	}
	return f
}
