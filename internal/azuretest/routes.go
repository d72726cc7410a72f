package azuretest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// DocumentedRoutes returns the routes of the internal API, as "METHOD /path", that docs/api.md lists. path is the path
// of that page from the caller's folder.
func DocumentedRoutes(t testing.TB, path string) (routes []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(content), "\n## Internal API\n")
	if !ok {
		t.Fatalf("%s has no section Internal API", path)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile("`([A-Z*]+ /[^`]*)`").FindAllStringSubmatch(section, -1) {
		routes = append(routes, row[1])
	}
	return routes
}
