package engine

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func TestTags(t *testing.T) {
	labels := map[string]string{
		"team": "ci", "com.example.cost-center": "${42}", "Team": "the same name", "a/b": "x", "": "x",
		"long": strings.Repeat("x", 64<<10), "SOCKERLESS-OWNER": "forged",
		"azure.team": "x", "Microsoft": "x", "WindowsX": "x", "lines": "a\nb", "COST": "8", "tab\t": "x",
		strings.Repeat("n", 513): "x",
	}
	c := store.Container{ID: "id", Name: "web", Config: api.Config{Labels: labels}}
	s := Settings{Owner: "ci", Tags: map[string]string{"Cost": "7"}}
	got, warnings := s.tags(c)
	if len(warnings) != 12 {
		t.Errorf("got %d warnings, want 12: %q", len(warnings), warnings)
	}
	// "Team" sorts before "team", and Azure takes one of them.
	want := map[string]string{
		"Team": "the same name", "com.example.cost-center": "${42}", "Cost": "7",
		idTag: "id", nameTag: "web", ownerTag: "ci",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprint("l", i)] = "x"
	}
	c.Config.Labels = many
	if got, warnings = s.tags(c); len(got) != maxTags || len(warnings) != 14 {
		t.Errorf("got %d tags and %d warnings, want 50, and 14", len(got), len(warnings))
	}
	c.Name, c.Config.Labels = strings.Repeat("n", 300), nil
	if got, warnings = s.tags(c); len(got[nameTag]) != maxTagValue || len(warnings) > 0 {
		t.Errorf("a long name: got %q, %q", got, warnings)
	}
}

func TestCheckTags(t *testing.T) {
	many := map[string]string{}
	for i := range 47 {
		many[fmt.Sprint("t", i)] = "x"
	}
	for _, tags := range []map[string]string{nil, {"Team": "ci", "cost center": ""}, maps.Clone(many)} {
		if err := CheckTags(tags); err != nil {
			t.Errorf("%d tags: %v", len(tags), err)
		}
	}
	many["more"] = "x"
	for want, tags := range map[string]map[string]string{
		"48 tags": many, "Team and team": {"team": "1", "Team": "2"}, "daemon's own": {"Sockerless-Owner": "x"},
		`"Azure-x"`: {"Azure-x": "1"}, `"a/b"`: {"a/b": "1"}, `"long"`: {"long": strings.Repeat("x", 257)},
		`"lf"`: {"lf": "a\nb"},
		`""`:   {"": "x"},
	} {
		if err := CheckTags(tags); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
