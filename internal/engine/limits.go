package engine

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Limits keep Azure from refusing what a daemon does too much of. Each is at least 1.
type Limits struct {
	// TerraformRuns is how many Terraform runs go on at once.
	TerraformRuns int
	// TerraformRunsPerServicePlan is how many of them change Azure at once: App Service locks a plan for each change of one of its apps, and answers others
	// with 409. All apps of a daemon are on one plan.
	TerraformRunsPerServicePlan int
	// AzureWritesPerMinute is how many writes of Azure Resource Manager the daemon makes in the long run.
	AzureWritesPerMinute int
	// Queue is how many creates may be under way or wait for others; more are refused.
	Queue int
}

// DefaultLimits are those of a daemon that has its principal and its plan for itself.
func DefaultLimits() Limits {
	return Limits{TerraformRuns: 4, TerraformRunsPerServicePlan: 1, AzureWritesPerMinute: armWritesPerMinute, Queue: 100}
}

const (
	// armWritesPerMinute is what Azure Resource Manager refills for each principal, subscription and region, armWritesBurst what it lets
	// through at once.
	armWritesPerMinute = 600
	armWritesBurst     = 200
	// writesPerChange is what azurerm takes to make or destroy one function app: 4 PUT and 7 POST.
	writesPerChange = 11
)

// Gate lets applies through as Limits say. Its methods are safe for concurrent use.
type Gate struct {
	plan   chan struct{}
	writes *rate.Limiter
}

// NewGate returns the gate of one daemon.
func NewGate(l Limits) *Gate {
	burst := max(min(l.AzureWritesPerMinute, armWritesBurst), writesPerChange)
	return &Gate{plan: make(chan struct{}, l.TerraformRunsPerServicePlan), writes: rate.NewLimiter(rate.Every(time.Minute/time.Duration(l.AzureWritesPerMinute)), burst)}
}

// BeforeApply blocks until a run with these changes may be applied, and returns what must be called when it has been. Its error is ctx's.
func (g *Gate) BeforeApply(ctx context.Context, changes workspace.Changes) (applied func(), err error) {
	select {
	case g.plan <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	applied = func() { <-g.plan }
	n := min(writesPerChange*max(changes.Add+changes.Change+changes.Destroy, 1), g.writes.Burst())
	if err := g.writes.WaitN(ctx, n); err != nil {
		applied()
		return nil, err
	}
	return applied, nil
}

// queueRetryAfter is the delay after which a create that found the queue full may be sent again.
const queueRetryAfter = 30 * time.Second

// admit refuses a create while the queue is full.
func (e *Engine) admit(ctx context.Context) error {
	counts, err := e.cfg.Store.CountContainers(ctx)
	if err != nil || counts[store.Creating] < e.cfg.Limits.Queue {
		return err
	}
	full := api.Errorf(api.Unavailable, "%d containers are being created already, and max_queue allows no more: try again later", counts[store.Creating])
	full.RetryAfter = queueRetryAfter
	return full
}
