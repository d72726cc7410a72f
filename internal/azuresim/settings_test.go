package azuresim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

func TestAppSettings(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("team/app:1")
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	for name, status := range map[string]int{"my-var": http.StatusBadRequest, "my:var": http.StatusBadRequest} {
		body := a.siteBody("p", image, customHandler(map[string]string{name: "x"}))
		if got, err := a.do("PUT", sitePath("refused")+webAPI, a.token, body); err != nil || got.status != status ||
			!strings.Contains(got.message, name) {
			t.Errorf("%s: got %d %s, %v", name, got.status, got.message, err)
		}
	}
	body := a.siteBody("p", image, customHandler(map[string]string{"A": strings.Repeat("x", 5<<20)}))
	if got, err := a.do("PUT", sitePath("large")+webAPI, a.token, body); err != nil || got.status < 400 {
		t.Errorf("5 MiB of settings: got %d, %v", got.status, err)
	}
}

func TestKeyVaultReferences(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("team/app:1")
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	const known = "@Microsoft.KeyVault(SecretUri=https://v/secrets/known)"
	const unknown = "@Microsoft.KeyVault(SecretUri=https://v/secrets/other)"
	a.SetSecret(known, "secret")
	for app, row := range map[string]struct {
		value, want string
		identity    bool
	}{
		"resolved": {known, "secret", true}, "missing": {unknown, unknown, true}, "anonymous": {known, known, false},
	} {
		site := a.siteBody("p", image, customHandler(map[string]string{"A": row.value}))
		if row.identity {
			id := identityPath
			site["identity"] = m{"type": "UserAssigned", "userAssignedIdentities": m{id: m{}}}
			site["properties"].(m)["keyVaultReferenceIdentity"] = id
		}
		a.must("PUT", sitePath(app)+webAPI, site)
		if got := a.invoke(app, a.keyWhenUp(app)); !strings.HasPrefix(got, "A="+row.want+" ") {
			t.Errorf("%s: the handler answered %q, want the value %q", app, got, row.want)
		}
	}
}
