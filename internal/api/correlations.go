package api

import (
	"context"
	"slices"
	"sync"
)

type correlationsKey struct{}

type correlations struct {
	mu  sync.Mutex
	ids []string
}

// WithCorrelations returns a context that collects the correlation ids of the Azure calls made under it. It also
// returns a function that returns the ids collected so far, each once, in the order of their arrival. Both are safe
// for use by several goroutines.
func WithCorrelations(ctx context.Context) (context.Context, func() []string) {
	c := &correlations{}
	return context.WithValue(ctx, correlationsKey{}, c), func() []string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Clone(c.ids)
	}
}

// Correlated adds ids to the innermost collector of ctx, if there is one. It ignores empty ids and those already
// collected.
func Correlated(ctx context.Context, ids ...string) {
	c, ok := ctx.Value(correlationsKey{}).(*correlations)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if id != "" && !slices.Contains(c.ids, id) {
			c.ids = append(c.ids, id)
		}
	}
}
