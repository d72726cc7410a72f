package workspace

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// TestAsynchronousSite has azurerm drive each way in which App Service answers a PUT of a site.
func TestAsynchronousSite(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	for name, row := range map[string]struct {
		async azuresim.Async
		err   string
	}{
		"shown":           {azuresim.Async{Looks: 3}, ""},
		"hidden":          {azuresim.Async{Looks: 3, Hidden: true}, ""},
		"location":        {azuresim.Async{Looks: 3, Location: true}, ""},
		"fails":           {azuresim.Async{Looks: 1, Failure: "No space in the region."}, "No space in the region."},
		"fails, location": {azuresim.Async{Failure: "No space in the region.", Location: true}, "No space in the region."},
		"at once":         {azuresim.Async{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			sim.SetFaults(azuresim.Faults{AsyncSites: &row.async})
			outputs, err := m.Provision(t.Context(), testID, spec, nil)
			if row.err == "" && (err != nil || outputs.HostName == "") {
				t.Errorf("got %+v, %v", outputs, err)
			}
			if row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("got %v, want %q", err, row.err)
			}
			accepted := false
			for _, call := range sim.Calls() {
				accepted = accepted || call.Method == http.MethodPut && call.Status == http.StatusAccepted
			}
			if !accepted {
				t.Error("no PUT was answered 202")
			}
			wantDestroyed(t, m, sim)
		})
	}
}
