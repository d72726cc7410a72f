package server

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocsShowTheRoutes compares the routes in docs/api.md with the route table.
func TestDocsShowTheRoutes(t *testing.T) {
	content, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(content), "\n## Internal API\n")
	if !ok {
		t.Fatal("docs/api.md has no section Internal API")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var shown []string
	for _, row := range regexp.MustCompile("`([A-Z*]+ /[^`]*)`").FindAllStringSubmatch(section, -1) {
		shown = append(shown, row[1])
	}
	var routes []string
	for _, r := range (&Server{}).internalRoutes() {
		routes = append(routes, r.method+" "+r.path)
	}
	slices.Sort(shown)
	slices.Sort(routes)
	if !slices.Equal(shown, routes) {
		t.Errorf("docs/api.md shows\n%q\nthe server has\n%q", shown, routes)
	}
}
