package azuresim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// TestFrontEnd has what App Service answers in place of a host that runs.
func TestFrontEnd(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	site := a.siteBody("p", a.pushImage("team/app:1"), customHandler(map[string]string{"A": "1"}))
	a.must("PUT", sitePath("app")+webAPI, site)
	key := a.keyWhenUp("app")
	a.invoke("app", key)
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	edit := func(change func(properties map[string]any)) func() {
		return func() {
			err := a.Edit(sitePath("app"), func(body map[string]any) { change(body["properties"].(map[string]any)) })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	restrict := func(action string, addresses ...string) func() {
		return edit(func(properties map[string]any) {
			rules := []any{}
			for i, address := range addresses {
				rules = append(rules, m{"ipAddress": address, "action": action, "priority": 100 + i})
			}
			config := properties["siteConfig"].(map[string]any)
			config["ipSecurityRestrictions"], config["ipSecurityRestrictionsDefaultAction"] = rules, "Deny"
		})
	}
	for _, row := range []struct {
		name         string
		change       func()
		status       int
		header, want string
	}{
		{"denied by a rule", restrict("Deny", "127.0.0.0/8"), 403, "X-Ms-Forbidden-Ip", "Ip Forbidden"},
		{"denied by default", restrict("Allow", "192.0.2.0/24"), 403, "X-Ms-Forbidden-Ip", "Ip Forbidden"},
		{"allowed", restrict("Allow", "192.0.2.0/24", "127.0.0.0/8"), 200, "", "A=1"},
		{"401", func() { a.Authenticate("app", azuresim.Return401) }, 401, "Www-Authenticate", "permission"},
		{"login", func() { a.Authenticate("app", azuresim.RedirectToLoginPage) }, 302, "Location", ""},
		{"no authentication", func() { a.Authenticate("app", azuresim.NoAuthentication) }, 200, "", "A=1"},
		{"stopped", edit(func(p map[string]any) { p["enabled"] = false }), 403, "", "This web app is stopped"},
	} {
		row.change()
		got, err := a.do("GET", "https://app.azurewebsites.net/api/run?code="+key, "", nil)
		if err != nil || got.status != row.status || !strings.Contains(got.message, row.want) ||
			row.header != "" && got.header.Get(row.header) == "" {
			t.Errorf("%s: got %d %v %q, %v; want %d with %s %q", row.name, got.status, got.header, got.message, err,
				row.status, row.header, row.want)
		}
	}
}
