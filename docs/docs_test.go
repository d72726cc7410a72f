// Package docs holds what users read. Its tests keep the pages true.
package docs

import (
	"os"
	"strings"
	"testing"
)

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section returns what stands below a heading of the second level, up to the next one.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(content(t, page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", page, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// items returns the entries of all lists in text, each on one line.
func items(text string) []string {
	var found []string
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		item, begins := strings.CutPrefix(line, "- ")
		rest, goesOn := strings.CutPrefix(line, "  ")
		switch {
		case begins:
			found = append(found, item)
		case goesOn && open:
			found[len(found)-1] += " " + rest
		}
		open = begins || goesOn && open
	}
	return found
}
