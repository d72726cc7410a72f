package daemon_test

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// tagsOf returns the tags of the resources of the daemon by the ends of their names: logs, insights, plan, and the
// names of containers.
func (p *playground) tagsOf() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, r := range p.sim.Resources() {
		if !strings.HasPrefix(r.Name, "skls-") {
			continue
		}
		name := r.Name[strings.LastIndex(r.Name, "-")+1:]
		if strings.Contains(r.Name, "-plan-") {
			name = "plan"
		}
		if container, ok := r.Tags["sockerless-container-name"]; ok {
			name = container
		}
		all[name] = r.Tags
	}
	return all
}

// TestPolicyThatRequiresTags has a subscription deny resources without two tags.
func TestPolicyThatRequiresTags(t *testing.T) {
	p := newPlayground(t)
	p.sim.RequireTag("Team")
	p.sim.RequireTag("cost-center")
	got := p.refused(t, "web", "hunter2-hunter2")
	if got.status != http.StatusForbidden || !strings.Contains(got.message,
		": the Azure policy Require a tag on resources forbids it: RequestDisallowedByPolicy: Resource 'skls-") ||
		!strings.Contains(got.message, "If it requires tags, set azf.tags (--tags).") {
		t.Errorf("without azf.tags: got %+v", got)
	}
	if err := p.Call(t.Context(), http.MethodGet, "/containers/web", nil, nil); !answered(err, http.StatusNotFound) {
		t.Errorf("got %v, want that nothing is left", err)
	}
	var log bytes.Buffer
	p.restart(t, &log, func(cfg *daemon.Config) {
		cfg.Azure.Tags = map[string]string{"team": "payments", "cost-center": "${42}"}
	})
	p.create(t, "web", api.Config{Labels: map[string]string{"Team": "mine", "job": "7"}})
	tags := p.tagsOf()
	for _, name := range []string{"logs", "insights", "plan", "web"} {
		if tags[name]["team"] != "payments" || tags[name]["cost-center"] != "${42}" {
			t.Errorf("%s has tags %q", name, tags[name])
		}
	}
	if len(tags["web"]) != 6 || tags["web"]["job"] != "7" || len(tags["plan"]) != 3 {
		t.Errorf("got %q", tags)
	}
	p.must(t, http.MethodDelete, "/containers/web?force=true", nil, nil)
	if _, there := p.tagsOf()["web"]; there {
		t.Error("the function app is still there")
	}
	p.stop()
	if strings.Contains(log.String(), "containers share lack tags") {
		t.Errorf("logged %s", &log)
	}
}

// TestTagsChangeLater changes azf.tags when there are shared resources and a container, and people and a policy have
// set tags on them.
func TestTagsChangeLater(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Azure.Tags = map[string]string{"team": "ci"} })
	p.create(t, "old", api.Config{})
	for _, r := range p.sim.Resources() {
		if strings.Contains(r.Name, "-plan-") {
			err := p.sim.Edit(r.ID, func(body map[string]any) {
				body["tags"] = map[string]any{
					"sockerless-owner": "demo", "Team": "ci", "by-hand": "x", "inherited": "the policy's",
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	before := p.tagsOf()
	for _, row := range []struct {
		container string
		tags      map[string]string
		lack      []string
	}{
		{"same", map[string]string{"TEAM": "ci"}, nil},
		{"more", map[string]string{"team": "ci", "by-hand": "x"}, []string{"-logs", "-insights"}},
		{"another", map[string]string{"team": "payments", "inherited": "mine"}, []string{"-logs", "-insights"}},
		{"none", nil, nil},
	} {
		var log bytes.Buffer
		p.restart(t, &log, func(cfg *daemon.Config) { cfg.Azure.Tags = row.tags })
		p.create(t, row.container, api.Config{})
		p.stop()
		after := p.tagsOf()
		for _, name := range []string{"logs", "insights", "plan", "old"} {
			if !maps.Equal(after[name], before[name]) {
				t.Errorf("%s: %s has tags %q, want %q", row.container, name, after[name], before[name])
			}
		}
		for name, value := range row.tags {
			if after[row.container][name] != value {
				t.Errorf("%s: it has tags %q", row.container, after[row.container])
			}
		}
		warning := ""
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "containers share lack tags") {
				warning = line
			}
		}
		if strings.Count(warning, "/providers/") != len(row.lack) {
			t.Errorf("%s: warned %q, want %q", row.container, warning, row.lack)
		}
		for _, end := range row.lack {
			if !strings.Contains(warning, end) {
				t.Errorf("%s: warned %q, want %q", row.container, warning, row.lack)
			}
		}
	}
}

// TestLabelsThatAzureRefuses gives a container labels that cannot be tags in Azure, and a name longer than a tag.
func TestLabelsThatAzureRefuses(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Azure.Tags = map[string]string{"Team": "payments"} })
	labels := map[string]string{
		"team": "mine", "azure-x": "1", "Microsoft": "1", "WINDOWS": "1", "lines": "a\nb", "del\x7f": "1", "a/b": "1",
		"": "1", strings.Repeat("n", 513): "1", "long": strings.Repeat("v", 257), "sockerless-OWNER": "forged",
		"Case": "1", "case": "2",
	}
	refused := len(labels) - 1 // Case is taken
	for name, value := range map[string]string{
		"com.docker.compose.project": "shop", "com.docker.compose.project.config_files": "/srv/a b/compose.yaml",
		"com.docker.compose.depends_on": "", "${x}": "%{if}", "emoji 🐳": "🐳",
		strings.Repeat("m", 512): strings.Repeat("v", 256),
	} {
		labels[name] = value
	}
	for i := range 60 {
		labels["z"+strconv.Itoa(i)] = "1"
	}
	name := strings.Repeat("n", 300)
	var created api.CreateResponse
	p.must(t, http.MethodPost, "/containers?name="+name, api.CreateRequest{
		Config: &api.Config{Image: p.image, Labels: labels},
	}, &created)
	tags := p.tagsOf()[name[:256]]
	taken := len(labels) - refused
	if len(tags) != 50 || tags["Team"] != "payments" || tags["${x}"] != "%{if}" || tags["Case"] != "1" ||
		tags["emoji 🐳"] != "🐳" || tags["sockerless-owner"] != "demo" {
		t.Errorf("got %d tags: %q", len(tags), tags)
	}
	if want := refused + taken - (50 - 4) + 1; len(created.Warnings) != want {
		t.Errorf("got %d warnings, want %d: %q", len(created.Warnings), want, created.Warnings)
	}
	var shown struct{ Config api.Config }
	p.must(t, http.MethodGet, "/containers/"+name, nil, &shown)
	for name, value := range labels {
		if shown.Config.Labels[name] != value {
			t.Errorf("inspect shows %.64q for label %.64q", shown.Config.Labels[name], name)
		}
	}
	p.must(t, http.MethodDelete, "/containers/"+name+"?force=true", nil, nil)
	if _, there := p.tagsOf()[name[:256]]; there {
		t.Error("the function app is still there")
	}
}
