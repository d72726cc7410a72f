package engine

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// Limits bound what a daemon does at once, so that Azure does not refuse it. Each is at least 1.
type Limits struct {
	// TerraformRuns is the number of Terraform runs at a time.
	TerraformRuns int
	// TerraformRunsPerServicePlan is the number of them that change Azure at a time: App Service locks a service plan
	// for each change of one of its apps, and answers others with 409.
	TerraformRunsPerServicePlan int
	// AzureWritesPerMinute is the number of writes to Azure Resource Manager in the long run.
	AzureWritesPerMinute int
	// Queue is the number of creates that may be under way or wait for others. More are refused.
	Queue int
}

// DefaultLimits returns the limits of a daemon that shares neither its principal nor its service plans.
func DefaultLimits() Limits {
	return Limits{TerraformRuns: 4, TerraformRunsPerServicePlan: 1, AzureWritesPerMinute: armWritesPerMinute, Queue: 100}
}

const (
	// armWritesPerMinute is the number of writes that Azure Resource Manager adds to the budget of a principal in a
	// subscription and region each minute. armWritesBurst is the number of writes that the budget holds.
	armWritesPerMinute = 600
	armWritesBurst     = 200
	// writesPerChange is the number of writes with which azurerm creates or destroys a function app: 4 PUT and 7 POST.
	writesPerChange = 11
)

// Gate delays applies until Limits allow them. Its methods are safe for concurrent use.
type Gate struct {
	changes lanes
	writes  *rate.Limiter
}

// lanes are limits of their own for each service plan.
type lanes struct {
	size int
	mu   sync.Mutex
	held map[string]*lane
}

// lane is the limit of one service plan, as long as somebody uses or wants it.
type lane struct {
	slots chan struct{}
	users int
}

// begin waits for a slot of a service plan. The caller must call end.
func (l *lanes) begin(ctx context.Context, plan string) (end func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lane{}
	}
	mine, ok := l.held[plan]
	if !ok {
		mine = &lane{slots: make(chan struct{}, l.size)}
		l.held[plan] = mine
	}
	mine.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(l.held, plan)
		}
	}
	select {
	case mine.slots <- struct{}{}:
		return func() {
			<-mine.slots
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

type servicePlanKey struct{}

// onServicePlan returns a context whose applies change a service plan, or an app on it.
func onServicePlan(ctx context.Context, plan string) context.Context {
	return context.WithValue(ctx, servicePlanKey{}, plan)
}

// NewGate returns the gate of one daemon.
func NewGate(l Limits) *Gate {
	burst := max(min(l.AzureWritesPerMinute, armWritesBurst), writesPerChange)
	interval := time.Minute / time.Duration(l.AzureWritesPerMinute)
	return &Gate{
		changes: lanes{size: l.TerraformRunsPerServicePlan},
		writes:  rate.NewLimiter(rate.Every(interval), burst),
	}
}

// BeforeApply blocks until a plan with these changes may be applied. The caller must call applied after the apply. The
// error is the cause of ctx's end.
func (g *Gate) BeforeApply(ctx context.Context, changes workspace.Changes) (applied func(), err error) {
	plan, _ := ctx.Value(servicePlanKey{}).(string)
	if applied, err = g.changes.begin(ctx, plan); err != nil {
		return nil, err
	}
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
	full := api.Errorf(api.Unavailable,
		"%d containers are being created already, and max_queue allows no more: try again later", counts[store.Creating])
	full.RetryAfter = queueRetryAfter
	return full
}
