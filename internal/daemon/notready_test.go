package daemon_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// neverUp wants a run to end with 125, because the app does not come up, and returns the reason that it is given.
func (p *playground) neverUp(t *testing.T, name string) string {
	t.Helper()
	p.must(t, http.MethodPost, "/containers/"+name+"/start", nil, nil)
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
	if res.StatusCode != 125 || res.Error == nil {
		t.Fatalf("got %+v", res)
	}
	return res.Error.Message
}

// TestImageWithoutHost has an image that somebody took for one that runs anywhere, where none is wrapped.
func TestImageWithoutHost(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.ReadyTimeout, cfg.Wrap.Mode = time.Second, config.WrapOff
	})
	img, err := appimage.Build(map[string]appimage.File{"/bin/app": {Content: []byte("x"), Mode: 0o755}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	image := p.pushImage(t, "plain", img)
	want := "image " + image + " sets no AzureWebJobsScriptRoot, so it seems to hold no Functions host"
	var created api.CreateResponse
	req := api.CreateRequest{Config: &api.Config{Image: image}}
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if len(created.Warnings) != 1 || !strings.HasPrefix(created.Warnings[0], want) {
		t.Errorf("warnings are %q", created.Warnings)
	}
	if got := p.neverUp(t, "web"); !strings.Contains(got, "because the host is not up") || !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.nothingLeft(t)
}

// TestMoreAppsThanMemory has one container more than fit into the memory of the service plan.
func TestMoreAppsThanMemory(t *testing.T) {
	p := newAzure(t)
	plan := map[string]any{"sku": map[string]any{"name": "B1"}, "properties": map[string]any{"reserved": true}}
	planID := "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup +
		"/providers/Microsoft.Web/serverFarms/team-plan"
	if err := p.sim.Seed(planID, plan); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		id := strings.Replace(planID, "serverFarms/team-plan", fmt.Sprint("sites/team-app-", n), 1)
		err := p.sim.Seed(id, map[string]any{
			"kind": "functionapp,linux,container", "properties": map[string]any{
				"serverFarmId": planID, "siteConfig": map[string]any{"linuxFxVersion": "DOCKER|" + p.image},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.run(t, func(cfg *daemon.Config) {
		cfg.ReadyTimeout, cfg.Azure.AppServicePlan = time.Second, "team-plan"
	})
	p.create(t, "web", api.Config{})
	if got := p.neverUp(t, "web"); !strings.Contains(got, "the service plan has too little memory for one more app") {
		t.Errorf("got %q", got)
	}
	if err := p.sim.Delete(strings.Replace(planID, "serverFarms/team-plan", "sites/team-app-0", 1)); err != nil {
		t.Fatal(err)
	}
	azuretest.Eventually(t, "a run", func() bool { // the host comes up
		p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
		var res api.WaitResponse
		p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
		return res.StatusCode == 0
	})
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
}
