package daemon

import (
	"context"

	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/workspace"
)

// Engine returns the engine of a daemon.
func Engine(d *Daemon) *engine.Engine { return d.engine }

// View is how a daemon sees what is in Azure.
type View interface {
	Find(ctx context.Context, id string) (workspace.Found, bool, error)
	FunctionApps(ctx context.Context, resourceGroup string) ([]workspace.Found, error)
}

// AzureView returns the view of a daemon with the configuration.
func AzureView(cfg Config) (View, error) { return cfg.newAzureView() }
