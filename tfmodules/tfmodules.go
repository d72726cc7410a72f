// Package tfmodules holds the Terraform modules that the daemon carries: functionapp, one for each container;
// serviceplan, one for each service plan; removal and serviceplanremoval, which delete what these have created; and
// foundation, which all containers of a daemon share. They are root modules: a workspace copies the files as they are,
// and adds the values of the variables, the provider's exact version and the backend. The package must not know who
// fills in the variables.
//
//	files := tfmodules.FunctionApp() // main.tf, variables.tf, outputs.tf
//
// The project's design fixes the packages at the root of the repository, this one too. They may change with any
// release: only invoker/protocol is a Go API that is promised to others.
package tfmodules

import (
	"embed"
	"io/fs"
)

//go:embed functionapp/*.tf removal/*.tf serviceplan/*.tf serviceplanremoval/*.tf foundation/*.tf
var modules embed.FS

// Resource is a managed resource of a module whose id in Azure follows from the module's variables, so that recovery
// can import it.
type Resource struct {
	// Address is Terraform's, with the index of a resource that has a count.
	Address string
	// Type is Azure's: the resource provider and the type, as in a resource id.
	Type string
	// Suffix follows the variable name in the resource's name.
	Suffix string
	// Unless is the variable that names an existing resource to use instead; empty when the module always creates one.
	Unless string
}

// FunctionApp returns the files of the module of one container.
func FunctionApp() fs.FS { return sub("functionapp") }

// Removal returns the files of the module that deletes the resources of the module functionapp.
func Removal() fs.FS { return sub("removal") }

// FunctionAppResources returns every managed resource of the modules functionapp and removal.
func FunctionAppResources() []Resource {
	return []Resource{{Address: "azurerm_linux_function_app.this", Type: "Microsoft.Web/sites"}}
}

// ServicePlan returns the files of the module of one service plan.
func ServicePlan() fs.FS { return sub("serviceplan") }

// ServicePlanRemoval returns the files of the module that deletes the resources of the module serviceplan.
func ServicePlanRemoval() fs.FS { return sub("serviceplanremoval") }

// ServicePlanResources returns every managed resource of the modules serviceplan and serviceplanremoval.
func ServicePlanResources() []Resource {
	return []Resource{{Address: "azurerm_service_plan.this", Type: "Microsoft.Web/serverFarms"}}
}

// Foundation returns the files of the module of the resources that containers share: Log Analytics workspace and
// Application Insights.
func Foundation() fs.FS { return sub("foundation") }

// FoundationResources returns every managed resource of the module foundation, each after the ones that it needs.
func FoundationResources() []Resource {
	return []Resource{
		{
			Address: "azurerm_log_analytics_workspace.this[0]", Type: "Microsoft.OperationalInsights/workspaces",
			Suffix: "-logs", Unless: "log_analytics_workspace",
		}, {
			Address: "azurerm_application_insights.this[0]", Type: "Microsoft.Insights/components",
			Suffix: "-insights", Unless: "application_insights",
		},
	}
}

func sub(dir string) fs.FS {
	f, err := fs.Sub(modules, dir)
	if err != nil {
		panic(err) // the name is a constant and embedded
	}
	return f
}
