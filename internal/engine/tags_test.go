package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

func labelled(labels map[string]string) store.Container {
	c := store.Container{ID: strings.Repeat("a", 64), Name: "web"}
	c.Config.Labels = labels
	return c
}

func TestTags(t *testing.T) {
	// The reason of each label that Azure does not take, "" for those that it takes.
	labels := map[string]struct{ value, reason string }{
		"Team":                                   {"ci", ""},
		"team":                                   {"another", "another label has this name"},
		"com.example.cost-center":                {"${42}", ""},
		"empty":                                  {"", ""},
		"com.docker.compose.project.working_dir": {"/srv/app", ""},
		"a/b":                                    {"x", "one of the characters"},
		"":                                       {"x", "its name is empty"},
		"long":                                   {strings.Repeat("x", 64<<10), "its value is longer than 256 bytes"},
		"bytes":                                  {strings.Repeat("é", 129), "its value is longer than 256 bytes"},
		strings.Repeat("n", 513):                 {"x", "its name is longer than 512 bytes"},
		strings.Repeat("m", 512):                 {strings.Repeat("x", 256), ""},
		"SOCKERLESS-OWNER":                       {"forged", "the daemon sets this tag itself"},
		"Sockerless-Container-Id":                {"forged", "the daemon sets this tag itself"},
		"sockerless-containerName":               {"x", ""},
		"azure.team":                             {"x", "begins with azure"},
		"Microsoft":                              {"x", "begins with microsoft"},
		"WindowsX":                               {"x", "begins with windows"},
		"my-azure":                               {"x", ""},
		"lines":                                  {"a\nb", "control character"},
		"tab\t":                                  {"x", "control character"},
		"c1":                                     {"\u0085", "control character"},
	}
	given, want := map[string]string{}, map[string]string{
		idTag: strings.Repeat("a", 64), nameTag: "web", ownerTag: "test",
	}
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		label := labels[name]
		given[name] = label.value
		if label.reason == "" {
			want[name] = label.value
		} else {
			reasons = append(reasons, label.reason)
		}
	}
	got, warnings := testSettings().tags(labelled(given))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(warnings) != len(reasons) {
		t.Fatalf("got %d warnings, want %d: %q", len(warnings), len(reasons), warnings)
	}
	for i, reason := range reasons {
		if !strings.Contains(warnings[i], reason) || len(warnings[i]) > 250 {
			t.Errorf("got %q, want %q", warnings[i], reason)
		}
	}
}

func TestTooManyTags(t *testing.T) {
	s, many := testSettings(), map[string]string{}
	for i := range 60 {
		many[fmt.Sprint("l", i)] = "x"
	}
	s.Tags = map[string]string{"z": "1", "L0": "of the daemon"}
	got, warnings := s.tags(labelled(many))
	// There are 3 tags of the daemon, 2 of the settings, and l0 is one of these.
	if len(got) != maxTags || len(warnings) != 60-45 || got["z"] != "1" {
		t.Errorf("got %d tags and %d warnings: %q", len(got), len(warnings), warnings)
	}
	if err := CheckTags(many); err == nil || !strings.Contains(err.Error(), "60 tags are too many: use at most 46") {
		t.Errorf("got %v", err)
	}
	for i := range 14 {
		delete(many, fmt.Sprint("l", i))
	}
	if err := CheckTags(many); err != nil {
		t.Errorf("46 tags: %v", err)
	}
	s.Tags = many
	c := labelled(nil)
	c.Config.Image = "team/app@" + digestOf("1")
	if got, warnings := s.tags(c); len(got) != maxTags || len(warnings) != 0 {
		t.Errorf("got %d tags, %q", len(got), warnings)
	}
}

// TestTagsOfTheSettings wins over labels in any case.
func TestTagsOfTheSettings(t *testing.T) {
	s := testSettings()
	s.Tags = map[string]string{"Team": "payments", "cost": "42"}
	got, warnings := s.tags(labelled(map[string]string{"team": "ci", "COST": "42", "mine": "x"}))
	want := map[string]string{
		idTag: strings.Repeat("a", 64), nameTag: "web", ownerTag: "test", "Team": "payments", "cost": "42", "mine": "x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `label "team" is kept but is not a tag in Azure: `+
		`the daemon's setting tags has another value for it`) {
		t.Errorf("got %q", warnings)
	}
	f, err := s.foundationSpec()
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]string{ownerTag: "test", "Team": "payments", "cost": "42"}
	if diff := cmp.Diff(want, f.Tags); diff != "" {
		t.Error(diff)
	}
	s.Tags = map[string]string{"Sockerless-Container-Name": "x"}
	if err := s.check(); api.KindOf(err) != api.InvalidParameter ||
		!strings.Contains(err.Error(), `tag "Sockerless-Container-Name": the daemon sets this tag itself`) {
		t.Errorf("got %v", err)
	}
}

// TestImageDigestTag: an app says from which image it was created, where that is certain.
func TestImageDigestTag(t *testing.T) {
	s := testSettings()
	for name, row := range map[string]struct {
		image   string
		derived *api.Derived
		want    string
	}{
		"by digest":          {"team/app@" + digestOf("1"), nil, digestOf("1")},
		"by tag":             {"team/app:1", nil, ""}, // Azure looks it up
		"wrapped, by tag":    {"team/app:1", &api.Derived{Source: "team/app@" + digestOf("2")}, digestOf("2")},
		"wrapped, by digest": {"team/app@" + digestOf("2"), &api.Derived{Source: "team/app@" + digestOf("2")}, digestOf("2")},
	} {
		c := labelled(map[string]string{"Sockerless-Image-Digest": "forged"})
		c.Config.Image, c.Derived = row.image, row.derived
		got, warnings := s.tags(c)
		if value, there := got[digestTag]; value != row.want || there != (row.want != "") || len(warnings) != 1 {
			t.Errorf("%s: tags %q, warnings %q", name, got, warnings)
		}
	}
	// The request of a container to be wrapped has as many tags as its app will have.
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprint("l", i)] = "x"
	}
	c := labelled(many)
	c.Derived = &api.Derived{}
	_, early := s.tags(c)
	c.Derived = &api.Derived{Source: "team/app@" + digestOf("2")}
	if _, late := s.tags(c); !slices.Equal(early, late) {
		t.Errorf("warned of %q, and later %q", early, late)
	}
}

// TestLongName gives a container a name that is longer than a tag.
func TestLongName(t *testing.T) {
	c := labelled(nil)
	c.Name = strings.Repeat("n", 300)
	c.Config.Image = "alpine"
	spec, warnings, err := testSettings().functionAppSpec(c, store.ServicePlan{SKU: "B1"}, workspace.FoundationOutputs{})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "256") || spec.Tags[nameTag] != c.Name[:256] {
		t.Errorf("got %q, %q, %v", spec.Tags[nameTag], warnings, err)
	}
}
