package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestElasticPremium has a container on the kind of service plan that adds instances of an app by itself.
func TestElasticPremium(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Azure.ServicePlanSKU = "EP1" })
	id := p.create(t, "web", api.Config{})
	state, err := os.ReadFile(filepath.Join(p.stateDir(), "workspaces/containers", id, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"app_scale_limit": 1,`, `"always_on": false,`} {
		if !strings.Contains(string(state), want) {
			t.Errorf("no %s in\n%s", want, state)
		}
	}
	p.lives(t, "web")
}
