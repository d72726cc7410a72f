package server

import (
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// FuzzFilters expects, for any string, an InvalidParameter error or filters that have values.
func FuzzFilters(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		filters, err := parseFilters(text)
		if err != nil {
			if api.KindOf(err) != api.InvalidParameter || filters != nil {
				t.Fatalf("got %v, %v", filters, err)
			}
			return
		}
		for name, values := range filters {
			if len(values) == 0 {
				t.Fatalf("%q has no values", name)
			}
		}
	})
}
