// Package workspace turns one spec into one workspace (a Terraform working directory) and runs plan, apply and destroy
// in it. A call blocks until Terraform is done and leaves no goroutine behind. The package must not know of containers'
// states, of jobs or of HTTP.
//
//	m, err := workspace.New(workspace.Config{Dir: dir, Terraform: path, ...})
//	outputs, err := m.Provision(ctx, id, workspace.FunctionApp{...}, nil)
//	operation, err := m.Destroy(ctx, workspace.Container{...}, nil)
//
// A workspace is that of a container (Provision, Destroy), of a service plan (ProvisionServicePlan, DestroyServicePlan)
// or of the foundation, which all containers share. KindOf returns the kind by the name.
//
// # Files
//
// Config.Dir holds foundation, plans/ID for each service plan, containers/ID for each container and archive/ID for each
// removed one of both. A workspace keeps configuration and variables. Each operation has the folder
// operations/NUMBER-KIND for plan, masked plan JSON, output, verdict and what FunctionApp.DerivedImage holds, which no
// later one changes; the kind is apply, import or destroy. Plans, variables and state hold secrets in plain text:
// folders have mode 0700 and files 0600. The archive keeps none of the three, unless Config.KeepSecrets is set.
//
// No operation trusts these files. Each writes configuration and variables anew. A state file that does not hold a
// state is set aside (.damaged) and never taken for an empty state: what it should hold is looked for in Azure. A state
// that is encrypted, of a newer Terraform or another workspace's stays, and nothing is changed. Lineage and resource
// ids tell whose state it is.
//
// # Retries
//
// One loop (retry.go) retries an operation, for these reasons only, and for each at most once. It retries the whole
// operation.
//
//	reason      recognised by                                     before the retry
//	provider    the pool leases no process; the process or its    leave the pool: Terraform starts a provider of its own
//	            connection broke; a part of the schema is missing
//	killed      a signal ended terraform, or its provider by      end the provider that it left behind; repair the
//	            Terraform's message                               workspace
//	init        Terraform's message asks for terraform init       run terraform init
//	lock        a lock in a remote backend; DeadHolder reports    remove the lock
//	            that its holder is dead, or an attempt of this
//	            operation was killed while it held the lock
//	leftover    an apply failed; Azure holds a resource with our  plan the import of the resource
//	            tags that the state does not know
//	unreadable  the plan of a removal failed                      destroy from the state alone, without reading
//	gone        a destroy failed; Azure reports that the          take the resource out of the state
//	            resource does not exist
//
// Every other error ends the operation, and so does a reason that recurs. Waiting for a lock is not a retry: Terraform
// waits for Config.LockTimeout, and state pull, which cannot wait, is polled while PostgreSQL's lock is taken.
//
// # Imports
//
// A resource that Azure holds and the state does not know is imported by an import block in imports.tf.json. The plan
// shows it like any other change. An apply imports and completes the resource in one operation. A destroy takes no
// import blocks, so an operation of the kind import precedes it; that operation is refused when its plan would change
// anything in Azure.
//
// # Removals
//
// Destroy replaces the configuration by the module removal, which names the function app and reads nothing else: what
// the app was created with may be gone, and the version of azurerm another one. When its plan fails all the same,
// Destroy works from the state alone, and puts an app that it cannot import into the state by its id.
// DestroyServicePlan does the same with the module serviceplanremoval.
//
// # Service plans of earlier releases
//
// The foundation of earlier releases had the service plan. ProvisionServicePlan imports it, and the next Foundation
// takes it out of its state: neither changes anything in Azure, and a kill between the two leaves it in both states.
//
// The project's design fixes the packages at the root of the repository, this one too. They may change with any
// release: only invoker/protocol is a Go API that is promised to others.
package workspace
