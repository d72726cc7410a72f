// Package docs holds what users read. Its tests keep README and the pages here within their bounds, and check every
// link.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	readme     = "../README.md"
	readmeMax  = 150 // lines
	maxColumns = 100
)

// pages are the paths of all files of Markdown that users read, relative to this folder.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../examples/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(append(found, top...), examples...)
}

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

func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(content(t, readme), "\n"); lines > readmeMax {
		t.Errorf("README has %d lines, and %d are allowed: move reference to a page in docs", lines, readmeMax)
	}
}

func TestLinesAreShort(t *testing.T) {
	for _, page := range pages(t) {
		number := 0
		for line := range strings.Lines(content(t, page)) {
			number++
			if columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); columns > maxColumns {
				t.Errorf("%s:%d has %d columns, and %d are allowed", page, number, columns, maxColumns)
			}
		}
	}
}

var (
	fenceForm   = regexp.MustCompile("(?ms)^```.*?^```$")
	codeForm    = regexp.MustCompile("`[^`]*`")
	linkForm    = regexp.MustCompile(`\[[^\]]*\]\(([^)]+)\)`)
	headingForm = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// GitHub leaves these out of an anchor.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors returns the anchors that GitHub gives to the headings of a page.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, heading := range headingForm.FindAllStringSubmatch(fenceForm.ReplaceAllString(text, ""), -1) {
		anchor := notInAnchor.ReplaceAllString(strings.ToLower(heading[1]), "")
		found[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return found
}

// brokenLinks returns the relative links of a page whose file or anchor is missing.
func brokenLinks(t *testing.T, page, text string) (broken []string) {
	t.Helper()
	text = codeForm.ReplaceAllString(fenceForm.ReplaceAllString(text, ""), "`code`")
	for _, link := range linkForm.FindAllStringSubmatch(text, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		path, anchor, _ := strings.Cut(link[1], "#")
		target := page
		if path != "" {
			target = filepath.Join(filepath.Dir(page), path)
		}
		if _, err := os.Stat(target); err != nil {
			broken = append(broken, link[1])
		} else if anchor != "" && !anchors(content(t, target))[anchor] {
			broken = append(broken, link[1])
		}
	}
	return broken
}

func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, link := range brokenLinks(t, page, content(t, page)) {
			t.Errorf("%s links to %s, which is not there", page, link)
		}
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	text := "# One `two`: three\n[a](api.md), [b](#one-two-three), [c](https://example.com/x), `[d](nowhere.md)`\n" +
		"[e](nowhere.md), [f](#nowhere), [g](api.md#nowhere)\n"
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(page), "api.md"), []byte("# API\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(brokenLinks(t, page, text), " ")
	if want := "nowhere.md #nowhere api.md#nowhere"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEveryPageIsOnTheMap keeps README's map of this folder complete.
func TestEveryPageIsOnTheMap(t *testing.T) {
	found, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	text := content(t, readme)
	for _, page := range found {
		if !strings.Contains(text, "(docs/"+page+")") {
			t.Errorf("README's map of docs lacks %s", page)
		}
	}
}

// makeForm finds the targets that code of a page runs: in a code span, in an indented block, or behind a prompt.
var makeForm = regexp.MustCompile("(?m)(?:`|^    |^\\$ )make ([a-z]+)")

func TestMakeTargetsExist(t *testing.T) {
	makefile := content(t, "../Makefile")
	found := 0
	for _, page := range pages(t) {
		for _, target := range makeForm.FindAllStringSubmatch(content(t, page), -1) {
			found++
			if !strings.Contains(makefile, "\n"+target[1]+":") {
				t.Errorf("%s names make %s, which is not in the Makefile", page, target[1])
			}
		}
	}
	if found < 5 {
		t.Errorf("found %d targets", found)
	}
}
