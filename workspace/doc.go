// Package workspace turns one spec into one workspace (a Terraform working directory) and runs plan, apply and destroy
// in it. A call blocks until Terraform is done and leaves no goroutine behind. The package must not know of containers'
// states, of jobs or of HTTP.
//
//	m, err := workspace.New(workspace.Config{Dir: dir, Terraform: path, ...})
//	outputs, err := m.Provision(ctx, id, workspace.FunctionApp{...}, nil)
//	operation, err := m.Destroy(ctx, id, nil)
//
// # Files
//
// Config.Dir holds foundation, containers/ID for each container and archive/ID for each removed one. A workspace keeps
// configuration and variables, and of the last operation of each kind plan, masked plan JSON, output and verdict. The
// names of an operation's files begin with its kind: apply, import or destroy. Plans, variables and state hold secrets
// in plain text: folders have mode 0700 and files 0600.
//
// # Retries
//
// One loop (retry.go) retries an operation, for these reasons only, and for each at most once. It retries the whole
// operation.
//
//	reason    recognised by                                       before the retry
//	provider  the pool leases no process; the process or its      leave the pool: Terraform starts a provider of its own
//	          connection broke; a part of the schema is missing
//	init      Terraform's message asks for terraform init         run terraform init
//	lock      a lock in a remote backend; DeadHolder reports that  remove the lock
//	          its holder is dead
//	leftover  an apply failed; Azure holds a resource with our    plan the import of the resource
//	          tags that the state does not know
//
// Every other error ends the operation, and so does a reason that recurs. Waiting for a lock is not a retry: Terraform
// waits for Config.LockTimeout, and state pull, which cannot wait, is polled while PostgreSQL's lock is taken.
//
// # Imports
//
// A resource that a killed or failed apply left in Azure is imported by an import block in imports.tf.json. The plan
// shows it like any other change. An apply imports and completes the resource in one operation. A destroy takes no
// import blocks, so an operation of the kind import precedes it; that operation is refused when its plan would change
// anything in Azure.
//
// The project's design fixes the packages at the root of the repository, this one too. They may change with any
// release: only invoker/protocol is a Go API that is promised to others.
package workspace
