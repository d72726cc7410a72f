package api_test

import (
	"encoding/json"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
)

func TestNoNulls(t *testing.T) {
	type Inner struct {
		List    []string
		Pointer *int
	}
	v := struct {
		Inner
		Map  map[string]int
		Kept []int
		Sub  struct{ Lists [][]int }
	}{Kept: []int{1}}
	api.NoNulls(&v)
	got, err := json.Marshal(v)
	const want = `{"List":[],"Pointer":null,"Map":{},"Kept":[1],"Sub":{"Lists":[]}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}
