package server

import (
	"encoding/json"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// FuzzFilters expects, for any string, an InvalidParameter error, or each filter that the string has.
func FuzzFilters(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		filters, err := parseFilters(text)
		if err != nil {
			if api.KindOf(err) != api.InvalidParameter || filters != nil {
				t.Fatalf("got %v, %v", filters, err)
			}
			return
		}
		var given map[string]any
		if err := json.Unmarshal([]byte(text), &given); text != "" && err != nil {
			t.Fatalf("accepted, although %v", err)
		}
		for name := range given {
			if _, ok := filters[name]; !ok {
				t.Fatalf("%q is lost", name)
			}
		}
	})
}
