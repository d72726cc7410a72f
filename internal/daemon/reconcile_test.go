package daemon_test

import (
	"database/sql"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestOrphans creates containers, deletes the rows of two and the workspace of one, and has the next daemons find the
// orphans.
func TestOrphans(t *testing.T) {
	gc := config.GCReport
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.GC = gc })
	lost, left := p.create(t, "lost", api.Config{}), p.create(t, "left", api.Config{})
	kept := p.create(t, "kept", api.Config{})
	p.stop()
	db, err := sql.Open("sqlite", filepath.Join(p.stateDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "DELETE FROM containers WHERE name <> 'kept'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	workspaces := filepath.Join(p.stateDir(), "workspaces")
	if err := os.RemoveAll(filepath.Join(workspaces, "containers", lost)); err != nil {
		t.Fatal(err)
	}

	p.start()
	var info api.Info
	azuretest.Eventually(t, "report", func() bool {
		p.must(t, http.MethodGet, "/info", nil, &info)
		return strings.Contains(strings.Join(info.Warnings, "\n"), "2 orphans in Azure")
	})
	for _, want := range []string{
		"function app skls-" + lost[:20], "workspace " + filepath.Join(workspaces, "containers", left), "Set gc to delete",
	} {
		if !strings.Contains(info.Warnings[0], want) {
			t.Errorf("got %q, want %q in it", info.Warnings, want)
		}
	}
	if len(p.sim.Sites()) != 3 {
		t.Errorf("function apps are %v, want all three left alone", p.sim.Sites())
	}

	p.stop()
	gc = config.GCDelete
	p.start()
	azuretest.Eventually(t, "removal", func() bool { return len(p.sim.Sites()) == 1 })
	if sites := p.sim.Sites(); sites[0] != "skls-"+kept[:20] {
		t.Errorf("function apps are %v, want the container's", sites)
	}
	azuretest.Eventually(t, "archive", func() bool {
		p.must(t, http.MethodGet, "/info", nil, &info)
		_, lostErr := os.Stat(filepath.Join(workspaces, "archive", lost, "destroy.operation.json"))
		_, leftErr := os.Stat(filepath.Join(workspaces, "archive", left, "destroy.operation.json"))
		return lostErr == nil && leftErr == nil && len(info.Warnings) == 0
	})
	p.stop()
	for _, c := range p.sim.Calls() {
		if c.Service == "arm" && c.Method == http.MethodDelete &&
			!strings.Contains(c.UserAgent, "terraform-provider-azurerm") {
			t.Errorf("%s %s came from %q", c.Method, c.Path, c.UserAgent)
		}
	}
}
