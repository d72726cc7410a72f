package api_test

import (
	"context"
	"slices"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

func TestCorrelations(t *testing.T) {
	outer, outerIDs := api.WithCorrelations(t.Context())
	inner, ids := api.WithCorrelations(context.WithoutCancel(outer))
	api.Correlated(inner, "a", "", "b", "a")
	api.Correlated(inner, "b", "c")
	api.Correlated(t.Context(), "nobody collects")
	if got := ids(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %q", got)
	}
	if got := outerIDs(); len(got) != 0 {
		t.Errorf("the outer collector got %q", got)
	}
}
