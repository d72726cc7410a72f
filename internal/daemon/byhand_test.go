package daemon_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestDeletedByHand has somebody delete what a container needs. A start and a create name it, and a removal works.
func TestDeletedByHand(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.ReadyTimeout = 3 * time.Second })
	const account = "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" +
		azuresim.DefaultResourceGroup + "/providers/Microsoft.Storage/storageAccounts/" + azuresim.DefaultStorageAccount
	for _, row := range []struct {
		name          string
		delete        func() error
		start, create string
	}{
		{
			"storage account", func() error { return p.sim.Delete(account) },
			"the storage account is gone", azuresim.DefaultStorageAccount,
		},
		{
			"resource group", func() error { p.sim.DeleteResourceGroup(azuresim.DefaultResourceGroup); return nil },
			"was it deleted outside of the daemon?", `Resource Group Name: "` + azuresim.DefaultResourceGroup,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			p.create(t, "web", api.Config{})
			if row.name == "storage account" { // the daemon knows the host key
				p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
				p.must(t, http.MethodPost, "/containers/web/wait", nil, nil)
			}
			if err := row.delete(); err != nil {
				t.Fatal(err)
			}
			if got := p.neverUp(t, "web"); !strings.Contains(got, row.start) {
				t.Errorf("start: got %q, want %q in it", got, row.start)
			}
			if got := p.refused(t, "second", secretValue); got.status != http.StatusNotFound ||
				!strings.Contains(got.message, row.create) {
				t.Errorf("create: got %+v, want %q in it", got, row.create)
			}
			p.must(t, http.MethodDelete, "/containers/web", nil, nil)
			p.nothingLeft(t)
			if err := p.sim.Seed(account, nil); err != nil && row.name == "storage account" {
				t.Fatal(err)
			}
		})
	}
}
