package daemon_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// The team's own resources.
const (
	teamGroup      = "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/team-rg/providers/"
	teamWorkspace  = teamGroup + "Microsoft.OperationalInsights/workspaces/team-logs"
	otherWorkspace = teamGroup + "Microsoft.OperationalInsights/workspaces/other-logs"
	teamComponent  = teamGroup + "Microsoft.Insights/components/team-insights"
)

// withTeam seeds two Log Analytics workspaces, a component on the first and a classic one.
func (p *playground) withTeam(t *testing.T) {
	t.Helper()
	type object = map[string]any
	p.sim.AddResourceGroup("team-rg")
	workspace := object{"properties": object{"sku": object{"name": "PerGB2018"}}}
	for id, body := range map[string]object{teamWorkspace: workspace, otherWorkspace: workspace} {
		if err := p.sim.Seed(id, body); err != nil {
			t.Fatal(err)
		}
	}
	for id, body := range map[string]object{
		teamComponent:              {"kind": "web", "properties": object{"WorkspaceResourceId": teamWorkspace}},
		teamComponent + "-classic": {"kind": "web"},
	} {
		if err := p.sim.Seed(id, body); err != nil {
			t.Fatal(err)
		}
	}
}

// startWith starts a daemon with a component and a workspace as existing ones, and returns the error that it ends with.
func (p *playground) startWith(t *testing.T, component, workspace string) error {
	t.Helper()
	cfg, err := simulated(t.Context(), p.sim.Access(), p.sim.Transport(), p.dir, p.socket)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Tools, cfg.Log = p.tools, zerolog.Nop()
	cfg.Azure.ApplicationInsights, cfg.Azure.LogAnalyticsWorkspace = component, workspace
	d, err := daemon.New(t.Context(), cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	azuretest.Eventually(t, "an end, or an answer", func() bool {
		if p.Call(t.Context(), http.MethodGet, "/healthz", nil, nil) == nil {
			cancel()
		}
		select {
		case err = <-ended:
			return true
		default:
			return false
		}
	})
	p.Close()
	return err
}

// TestComponentsThatDoNotFit are found out when the daemon starts.
func TestComponentsThatDoNotFit(t *testing.T) {
	p := newAzure(t)
	p.withTeam(t)
	for name, row := range map[string]struct {
		component, workspace string
		want                 []string // nothing: the daemon starts
	}{
		"on another workspace": {teamComponent, otherWorkspace, []string{teamWorkspace, otherWorkspace, "team-insights"}},
		"classic":              {teamComponent + "-classic", "", []string{"team-insights-classic", "classic"}},
		"classic, with one":    {teamComponent + "-classic", teamWorkspace, []string{"team-insights-classic", "classic"}},
		"not there":            {teamComponent + "-none", "", []string{"no component team-insights-none", "team-rg"}},
		"on this workspace":    {teamComponent, teamWorkspace, nil},
		"in another case":      {teamComponent, strings.ToUpper(teamWorkspace), nil},
		"on its own":           {teamComponent, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := p.startWith(t, row.component, row.workspace)
			if (err != nil) != (row.want != nil) {
				t.Fatalf("the daemon ended with %v", err)
			}
			for _, want := range row.want {
				if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) { // Azure changes the case of ids
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
	t.Run("nobody may read it", func(t *testing.T) {
		p.sim.Deny("Microsoft.Insights/components/read")
		defer p.sim.Allow()
		if err := p.startWith(t, teamComponent, otherWorkspace); err != nil {
			t.Errorf("the daemon ended with %v, although it cannot know", err)
		}
	})
}

// TestComponentOnItsOwnWorkspace runs a container whose logs are in the workspace of the team's component.
func TestComponentOnItsOwnWorkspace(t *testing.T) {
	p := newAzure(t)
	p.withTeam(t)
	p.run(t, func(cfg *daemon.Config) { cfg.Azure.ApplicationInsights = teamComponent })
	id := p.create(t, "web", api.Config{Cmd: []string{"/bin/echo", "hello"}})
	p.must(t, http.MethodPost, "/containers/"+id+"/start", nil, nil)
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/"+id+"/wait", nil, &res)
	for _, r := range p.sim.Resources() {
		if filepath.Base(filepath.Dir(r.ID)) == "workspaces" && !strings.Contains(r.ID, "team-rg") {
			t.Errorf("a second workspace was created: %s", r.ID)
		}
	}
	vars, err := os.ReadFile(filepath.Join(p.stateDir(), "workspaces/foundation/terraform.tfvars.json"))
	if err != nil || !strings.Contains(string(vars), `"name": "team-logs"`) {
		t.Errorf("the queries do not go to the team's workspace: %s, %v", vars, err)
	}
	p.must(t, http.MethodDelete, "/containers/"+id, nil, nil)
}
