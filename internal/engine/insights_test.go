package engine

import (
	"errors"
	"strings"
	"testing"
)

func TestWorkspaceOfTheComponent(t *testing.T) {
	const subscription = "11111111-2222-3333-4444-555555555555"
	workspace := func(subscription string) *string {
		id := "/subscriptions/" + subscription + "/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
		return &id
	}
	f := pooled(t, 0, 1)
	f.cfg.Settings.SubscriptionID, f.cfg.Settings.ApplicationInsights = subscription, "ai"
	f.azure.err = errors.New("no answer")
	if err := f.checkInsights(t.Context()); err != nil {
		t.Errorf("got %v, although nothing is known", err)
	}
	if _, err := FoundationSpec(t.Context(), f.cfg.Settings, f.cfg.Azure); err == nil || errors.Is(err, errInsights) {
		t.Errorf("got %v, want the failure", err)
	}
	f.azure.err = nil
	none := ""
	for want, component := range map[string]*string{
		"there is no component ai in resource group rg": nil,
		"classic":                              &none,
		"workspaces/w in another subscription": workspace("other"),
	} {
		f.azure.component = component
		if err := f.checkInsights(t.Context()); !errors.Is(err, errInsights) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f.azure.component = workspace(strings.ToUpper(subscription))
	s, err := FoundationSpec(t.Context(), f.cfg.Settings, f.cfg.Azure)
	if err != nil || s.LogAnalyticsWorkspace == nil || s.LogAnalyticsWorkspace.Name != "w" {
		t.Errorf("got %+v, %v", s, err)
	}
	f.cfg.Settings.LogAnalyticsWorkspace = "another"
	if err := f.checkInsights(t.Context()); !errors.Is(err, errInsights) || !strings.Contains(err.Error(), "another") {
		t.Errorf("got %v", err)
	}
}
