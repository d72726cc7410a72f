package azuresim_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

const listSites = groupPath + "/resources?api-version=2021-04-01&$filter=resourceType%20eq%20'Microsoft.Web/sites'"

// accepted puts a site with an asynchronous answer, and returns the URL to poll.
func (a *azure) accepted(name string, async azuresim.Async) string {
	a.t.Helper()
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.SetFaults(azuresim.Faults{AsyncSites: &async})
	result := a.arm("PUT", sitePath(name)+webAPI, a.siteBody("p", a.Registry()+"/app:1", nil))
	a.SetFaults(azuresim.Faults{})
	poll := result.header.Get("Azure-AsyncOperation")
	if async.Location {
		poll = result.header.Get("Location")
	}
	if result.status != http.StatusAccepted || !strings.HasPrefix(poll, a.URL()+"/subscriptions/") {
		a.t.Fatalf("%d %s: %s, poll %q", result.status, result.code, result.message, poll)
	}
	return poll
}

// polled returns the status of an operation that is polled by Azure-AsyncOperation.
func (a *azure) polled(poll string) string {
	a.t.Helper()
	status, _ := a.must("GET", poll, nil)["status"].(string)
	return status
}

// TestEverySecondSiteIsAsync has each PUT of a site answered in the other way than the one before.
func TestEverySecondSiteIsAsync(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	for i, row := range []struct {
		site   string
		status int
	}{{"one", 200}, {"one", 202}, {"one", 200}, {"two", 202}, {"two", 200}} {
		result := a.arm("PUT", sitePath(row.site)+webAPI, a.siteBody("p", a.Registry()+"/app:1", nil))
		if result.status != row.status {
			t.Fatalf("PUT %d: %d, want %d", i, result.status, row.status)
		}
		if row.status == 200 {
			continue
		}
		for _, want := range []string{"InProgress", "Succeeded"} {
			if got := a.polled(result.header.Get("Azure-AsyncOperation")); got != want {
				t.Errorf("PUT %d: %s, want %s", i, got, want)
			}
		}
	}
}

func TestAsyncSiteIsShown(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	poll := a.accepted("app", azuresim.Async{Looks: 2, RetryAfter: 3 * time.Second})
	result := a.arm("GET", poll, nil)
	if result.body["status"] != "InProgress" || result.header.Get("Retry-After") != "3" {
		t.Errorf("first poll: %v, %v", result.body, result.header)
	}
	id, _ := a.must("GET", sitePath("app")+webAPI, nil)["properties"].(m)["inProgressOperationId"].(string)
	if id == "" || !strings.Contains(poll, id) {
		t.Errorf("the site shows the operation %q", id)
	}
	if status := a.polled(poll); status != "Succeeded" {
		t.Errorf("third poll: %s", status)
	}
	if result := a.arm("GET", strings.Replace(poll, "/operations/", "/operations/x", 1), nil); result.status != 404 {
		t.Errorf("unknown operation: %d", result.status)
	}
}

func TestAsyncSiteIsHidden(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	gate := make(chan struct{})
	a.accepted("app", azuresim.Async{Gate: gate, Hidden: true})
	for _, path := range []string{sitePath("app"), sitePath("app") + "/config/web"} {
		if result := a.arm("GET", path+webAPI, nil); result.status != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, result.status)
		}
	}
	if result := a.arm("DELETE", sitePath("app")+webAPI, nil); result.status != http.StatusNoContent {
		t.Errorf("DELETE: %d, want 204", result.status)
	}
	if list := a.must("GET", listSites, nil)["value"].([]any); len(list) != 0 {
		t.Errorf("listed are %v", list)
	}
	if sites := a.Sites(); len(sites) != 1 {
		t.Errorf("sites are %v: the operation goes on in Azure", sites)
	}
	close(gate)
	a.must("GET", sitePath("app")+webAPI, nil)
	if list := a.must("GET", listSites, nil)["value"].([]any); len(list) != 1 {
		t.Errorf("listed are %v", list)
	}

	// An update does not hide a site that was there.
	a.accepted("app", azuresim.Async{Looks: 9, Hidden: true})
	if id := a.must("GET", sitePath("app")+webAPI, nil)["properties"].(m)["inProgressOperationId"]; id == nil {
		t.Error("the site does not show its operation")
	}
}

func TestAsyncSiteByLocation(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	poll := a.accepted("app", azuresim.Async{Looks: 1, Location: true})
	if result := a.arm("GET", poll, nil); result.status != http.StatusAccepted {
		t.Errorf("first poll: %d", result.status)
	}
	if state := a.must("GET", poll, nil)["properties"].(m)["provisioningState"]; state != "Succeeded" {
		t.Errorf("second poll: %v", state)
	}
	a.must("DELETE", sitePath("app")+webAPI, nil)
	if result := a.arm("GET", poll, nil); result.status != http.StatusNotFound {
		t.Errorf("poll after DELETE: %d", result.status)
	}
}

func TestAsyncSiteFails(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	poll := a.accepted("app", azuresim.Async{Failure: "No space."})
	document := a.must("GET", poll, nil)
	if document["status"] != "Failed" || document["error"].(m)["message"] != "No space." {
		t.Errorf("poll: %v", document)
	}
	a.must("GET", sitePath("app")+webAPI, nil) // it stays
	poll = a.accepted("app", azuresim.Async{Failure: "No space.", Location: true})
	if result := a.arm("GET", poll, nil); result.status != http.StatusConflict || result.message != "No space." {
		t.Errorf("poll by Location: %d %s", result.status, result.message)
	}
	poll = a.accepted("app", azuresim.Async{})
	a.must("DELETE", sitePath("app")+webAPI, nil)
	if status := a.polled(poll); status != "Canceled" {
		t.Errorf("poll after DELETE: %s", status)
	}
}
