package azuresim_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// TestMoreAppsThanMemory has six apps on a service plan whose memory suffices for five hosts.
func TestMoreAppsThanMemory(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	site := a.siteBody("p", a.pushImage("app:1"), customHandler(map[string]string{}))
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	for n := range 6 {
		a.must("PUT", sitePath(fmt.Sprint("app", n))+webAPI, site)
	}
	answers := func(app string) int {
		t.Helper()
		result, err := a.do("GET", "https://"+app+".azurewebsites.net/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return result.status
	}
	for n := range 5 {
		a.keyWhenUp(fmt.Sprint("app", n))
	}
	if status := answers("app5"); status != http.StatusServiceUnavailable {
		t.Errorf("the sixth app: %d", status)
	}
	if _, err := a.hostKeys("app5"); err == nil {
		t.Error("the sixth app has keys")
	}

	a.must("DELETE", sitePath("app0")+webAPI, nil)
	a.keyWhenUp("app5") // it has the memory of the first one now
	a.must("PUT", sitePath("app6")+webAPI, site)
	if status := answers("app6"); status != http.StatusServiceUnavailable {
		t.Errorf("the seventh app: %d", status)
	}
	a.must("PUT", planPath("p")+webAPI, planBody("B2"))
	a.keyWhenUp("app6")
	a.must("PUT", planPath("p")+webAPI, planBody("S1"))
	if status := answers("app6"); status != http.StatusServiceUnavailable {
		t.Errorf("the seventh app after its service plan was made smaller: %d", status)
	}
	if status := answers("app5"); status != http.StatusOK {
		t.Errorf("the sixth app after its service plan was made smaller: %d", status)
	}
}
