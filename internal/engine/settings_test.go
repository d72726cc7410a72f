package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

func TestSettings(t *testing.T) {
	if err := testSettings().check(); err != nil {
		t.Fatal(err)
	}
	id := "/subscriptions/s/resourceGroups/other/providers/Microsoft.Web/serverfarms/p"
	s := testSettings()
	s.AppServicePlan, s.SubscriptionID = id+", q", "s"
	want := []store.ServicePlan{
		{Name: "p", ResourceGroup: "other", ResourceID: s.planID("other", "p")},
		{Name: "q", ResourceGroup: "rg", ResourceID: s.planID("rg", "q")},
	}
	list, err := s.existingPlans()
	if diff := cmp.Diff(want, list); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for name, change := range map[string]func(*Settings){
		"no group":      func(s *Settings) { s.ResourceGroup = "" },
		"no location":   func(s *Settings) { s.Location = "" },
		"no storage":    func(s *Settings) { s.StorageAccount = "" },
		"no owner":      func(s *Settings) { s.Owner = "" },
		"long owner":    func(s *Settings) { s.Owner = strings.Repeat("a", 25) },
		"bad owner":     func(s *Settings) { s.Owner = "A_b" },
		"no timeout":    func(s *Settings) { s.Timeout = 0 },
		"long timeout":  func(s *Settings) { s.Timeout = 2 * time.Hour },
		"odd timeout":   func(s *Settings) { s.Timeout = 1500 * time.Millisecond },
		"bad plan":      func(s *Settings) { s.AppServicePlan = "a/b" },
		"bad storage":   func(s *Settings) { s.StorageAccount = "/x" },
		"bad workspace": func(s *Settings) { s.LogAnalyticsWorkspace = "a/b" },
		"bad insights":  func(s *Settings) { s.ApplicationInsights = id + "/x" },
	} {
		s := testSettings()
		change(&s)
		if err := s.check(); api.KindOf(err) != api.InvalidParameter {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}
