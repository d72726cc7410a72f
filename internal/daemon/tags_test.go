package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestRequiredTags has a policy of the subscription that denies what lacks a tag.
func TestRequiredTags(t *testing.T) {
	p := newAzure(t)
	p.sim.RequireTag("cost-center")
	var tags map[string]string
	p.run(t, func(cfg *daemon.Config) { cfg.Azure.Tags = tags })
	config := api.Config{Image: p.image, Labels: map[string]string{"Cost-Center": "of the label", "team": "ci"}}
	req := api.CreateRequest{Config: &config}
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
	const want = "policy Require the tag cost-center forbids it"
	if !answered(err, http.StatusForbidden) || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), "azf.tags") {
		t.Errorf("without the tag: got %v", err)
	}
	p.stop()
	tags = map[string]string{"cost-center": "42"}
	p.start()
	var created api.CreateResponse
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if len(created.Warnings) != 1 || !strings.Contains(created.Warnings[0], "Cost-Center") {
		t.Errorf("warnings are %q", created.Warnings)
	}
	seen := map[string]bool{}
	for _, r := range p.sim.Resources() {
		seen[r.Type] = r.Tags["cost-center"] == "42" && (r.Tags["team"] == "ci" || r.Type != "Microsoft.Web/sites")
	}
	for _, kind := range []string{
		"Microsoft.Web/sites", "Microsoft.Web/serverfarms", "Microsoft.OperationalInsights/workspaces",
		"Microsoft.Insights/components",
	} {
		if !seen[kind] {
			t.Errorf("%s lacks the tags: %v", kind, seen)
		}
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
}
