package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTags(t *testing.T) {
	labels := map[string]string{
		"team": "ci", "com.example.cost-center": "${42}", "Team": "the same name", "a/b": "x", "": "x",
		"long": strings.Repeat("x", 64<<10), "SOCKERLESS-OWNER": "forged",
		"azure.team": "x", "Microsoft": "x", "WindowsX": "x", "lines": "a\nb", "tab\t": "x", strings.Repeat("n", 513): "x",
	}
	got, warnings := tags(labels)
	if len(warnings) != 11 {
		t.Errorf("got %d warnings, want 11: %q", len(warnings), warnings)
	}
	// "Team" sorts before "team", and Azure takes one of them.
	want := map[string]string{"Team": "the same name", "com.example.cost-center": "${42}"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprint("l", i)] = "x"
	}
	if got, warnings = tags(many); len(got)+3 != maxTags || len(warnings) != 13 {
		t.Errorf("got %d tags and %d warnings, want 47 beside our 3, and 13", len(got), len(warnings))
	}
}
