package server

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestReadmeShowsTheRoutes keeps README's table and the route table one.
func TestReadmeShowsTheRoutes(t *testing.T) {
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z*]+ /[^`]*)`").FindAllStringSubmatch(string(content), -1) {
		shown = append(shown, row[1])
	}
	var routes []string
	for _, r := range (&Server{}).internalRoutes() {
		routes = append(routes, r.method+" "+r.path)
	}
	slices.Sort(shown)
	slices.Sort(routes)
	if !slices.Equal(shown, routes) {
		t.Errorf("README shows\n%q\nthe server has\n%q", shown, routes)
	}
}
