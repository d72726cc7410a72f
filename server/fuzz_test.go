package server

import (
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

// FuzzFilters holds any text to an InvalidParameter error or filters that have values.
func FuzzFilters(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"name":["a","b"]}`, `{"name":{"a":true,"b":false}}`, `{"label":["a=b"],"status":["exited"]}`, `{"a":[]}`, `{"a":null}`, `[]`, `{"a":7}`, `{"a":["b"]} x`,
	} {
		f.Add(seed)
	}
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
