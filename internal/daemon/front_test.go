package daemon_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
)

// TestAnswersInFrontOfTheApp has App Service, or something before it, answer in place of azf-handler. No such answer is
// the command's.
func TestAnswersInFrontOfTheApp(t *testing.T) {
	p := newPlayground(t)
	id := p.create(t, "web", api.Config{Cmd: []string{"/bin/sh", "-c", "exit 7"}})
	app := "skls-" + id[:20]
	site := "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup +
		"/providers/Microsoft.Web/sites/" + app
	edit := func(change func(properties map[string]any)) func() {
		return func() {
			err := p.sim.Edit(site, func(body map[string]any) { change(body["properties"].(map[string]any)) })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	restrict := func(action string) func() {
		return edit(func(properties map[string]any) {
			config := properties["siteConfig"].(map[string]any)
			config["ipSecurityRestrictions"] = []any{map[string]any{"ipAddress": "Any", "action": action, "priority": 1}}
		})
	}
	authenticate := func(what string) func() { return func() { p.sim.Authenticate(app, what) } }
	fault := func(status int) func() {
		return func() {
			p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
				Method: http.MethodPost, Path: regexp.MustCompile(`^/api/run$`), Status: status, Times: 1,
			}}})
		}
	}
	for _, row := range []struct {
		name   string
		change func()
		code   int64
		want   string
	}{
		{"nothing", func() {}, 7, ""},
		{"stopped", edit(func(properties map[string]any) { properties["enabled"] = false }), 125, "it is stopped"},
		{"started", edit(func(properties map[string]any) { properties["enabled"] = true }), 7, ""},
		{"restricted", restrict("Deny"), 125, "access restrictions refuse the daemon's address 127.0.0.1"},
		{"open", restrict("Allow"), 7, ""},
		{"login", authenticate(azuresim.RedirectToLoginPage), 125, "authentication is switched on"},
		{"401", authenticate(azuresim.Return401), 125, "authentication is switched on"},
		{"no login", authenticate(azuresim.NoAuthentication), 7, ""},
		{"403", fault(http.StatusForbidden), 125, "something in front of it refused the request"},
		{"200", fault(http.StatusOK), 125, "azf-handler does not know the run"},
		{"500", fault(http.StatusInternalServerError), 125, "azf-handler does not know the run"},
		{"404 once", fault(http.StatusNotFound), 7, ""},
	} {
		row.change()
		var res api.WaitResponse
		p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
		p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
		message := ""
		if res.Error != nil {
			message = res.Error.Message
		}
		if res.StatusCode != row.code || !strings.Contains(message, row.want) || row.want == "" && message != "" {
			t.Errorf("%s: got %d %q, want %d %q", row.name, res.StatusCode, message, row.code, row.want)
		}
	}
}

// TestRoleThatIsNew has a role assignment that does not count yet when the first run needs it.
func TestRoleThatIsNew(t *testing.T) {
	p := newPlayground(t)
	p.create(t, "web", api.Config{Cmd: []string{"/bin/sh", "-c", "exit 7"}})
	p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
		Method: http.MethodPost, Path: regexp.MustCompile(`(?i)/host/default/listkeys$`), Times: 2,
		Status: http.StatusForbidden, Code: "AuthorizationFailed",
	}}})
	var res api.WaitResponse
	p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/web/wait", nil, &res)
	if res.StatusCode != 7 || res.Error != nil {
		t.Errorf("got %+v, want the command's own code", res)
	}
}
