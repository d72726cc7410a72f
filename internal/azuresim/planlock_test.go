package azuresim_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// isLocked reports whether a write is refused because of another one of the same service plan.
func (a *azure) isLocked(method, path string, body any) bool {
	a.t.Helper()
	result := a.arm(method, path+webAPI, body)
	return result.status == http.StatusConflict && result.code == "Conflict" &&
		strings.Contains(result.message, "because another operation is in progress. Details: Id: ")
}

// TestWritesLockTheServicePlan has a write of an app in progress.
func TestWritesLockTheServicePlan(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	a := start(t, azuresim.Config{})
	for _, plan := range []string{"p", "q"} {
		a.must("PUT", planPath(plan)+webAPI, planBody("B1"))
	}
	there, elsewhere := a.siteBody("p", "x/a:1", nil), a.siteBody("q", "x/a:1", nil)
	a.must("PUT", sitePath("second")+webAPI, there)
	a.must("PUT", sitePath("elsewhere")+webAPI, elsewhere)
	a.SetFaults(azuresim.Faults{BeforeWrite: func(_, path string) {
		if path == sitePath("first") {
			close(entered)
			<-leave
		}
	}})
	done := make(chan answer)
	go func() {
		result, _ := a.do("PUT", sitePath("first")+webAPI, a.token, there) // an error shows as status 0
		done <- result
	}()
	<-entered
	policy := sitePath("second") + "/basicPublishingCredentialsPolicies/scm"
	for _, write := range []struct {
		method, path string
		body         any
	}{
		{"PUT", sitePath("third"), there},
		{"PUT", sitePath("second"), elsewhere}, // away from the service plan
		{"PUT", sitePath("elsewhere"), there},  // onto it
		{"DELETE", sitePath("second"), nil},
		{"PATCH", sitePath("second") + "/config/web", m{"properties": m{"alwaysOn": true}}},
		{"PUT", sitePath("second") + "/config/azurestorageaccounts", m{"properties": m{}}},
		{"PUT", policy, m{"properties": m{"allow": false}}},
		{"PUT", strings.ToUpper(planPath("p")), planBody("B2")},
		{"DELETE", planPath("p"), nil},
	} {
		if !a.isLocked(write.method, write.path, write.body) {
			t.Errorf("%s %s is not refused", write.method, write.path)
		}
	}
	a.must("GET", policy+webAPI, nil)
	a.must("POST", sitePath("second")+"/config/appsettings/list"+webAPI, nil)
	a.must("PATCH", sitePath("elsewhere")+"/config/web"+webAPI, m{"properties": m{"alwaysOn": true}})
	a.must("PUT", planPath("q")+webAPI, planBody("B2"))
	close(leave)
	if result := <-done; result.status/100 != 2 {
		t.Errorf("first write: %d %s", result.status, result.message)
	}
	a.must("GET", sitePath("first")+webAPI, nil)
	a.must("PUT", sitePath("third")+webAPI, there)
}

// TestWriteOfTheServicePlanLocksIt has the service plan itself deleted when an app comes.
func TestWriteOfTheServicePlanLocksIt(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	site := a.siteBody("p", "x/a:1", nil)
	a.SetFaults(azuresim.Faults{BeforeWrite: func(method, path string) {
		if method == "DELETE" && !a.isLocked("PUT", sitePath("app"), site) {
			t.Error("an app on a service plan that is being deleted is not refused")
		}
	}})
	a.must("DELETE", planPath("p")+webAPI, nil)
	result := a.arm("PUT", sitePath("app")+webAPI, site)
	if result.status != http.StatusNotFound || result.message != "Cannot find ServerFarm with name p." {
		t.Errorf("an app on a service plan that is gone: %d %s", result.status, result.message)
	}
}

// TestAcceptedWriteLocksTheServicePlan has a write of an app answered before it is done.
func TestAcceptedWriteLocksTheServicePlan(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	gate := make(chan struct{})
	poll := a.accepted("app", azuresim.Async{Gate: gate, Looks: 2})
	other := a.siteBody("p", "x/a:1", nil)
	for range 3 {
		if !a.isLocked("PUT", sitePath("other"), other) || !a.isLocked("DELETE", sitePath("app"), nil) {
			t.Error("a write is not refused while another one is under way")
		}
	}
	close(gate)
	for range 2 {
		if !a.isLocked("PUT", sitePath("other"), other) {
			t.Error("a write is not refused although nobody has looked often enough at another one")
		}
	}
	a.must("PUT", sitePath("other")+webAPI, other)
	if status := a.polled(poll); status != "Succeeded" {
		t.Errorf("the accepted write: %s", status)
	}
}

func TestServicePlanWithSitesIsNotDeleted(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", a.Registry()+"/app:1", nil))
	a.must("PUT", sitePath("other")+webAPI, a.siteBody("p", a.Registry()+"/app:1", nil))
	const message = "Server farm 'p' cannot be deleted because it has web app(s) app, other assigned to it."
	result := a.arm("DELETE", planPath("p")+webAPI, nil)
	if result.status != http.StatusConflict || result.message != message {
		t.Errorf("delete of a service plan in use: %d %s", result.status, result.message)
	}
	a.must("DELETE", sitePath("app")+webAPI, nil)
	a.must("DELETE", sitePath("other")+webAPI, nil)
	a.must("DELETE", planPath("p")+webAPI, nil)
	if result := a.arm("GET", planPath("p")+webAPI, nil); result.status != http.StatusNotFound {
		t.Errorf("deleted service plan: %d, want 404", result.status)
	}
}
