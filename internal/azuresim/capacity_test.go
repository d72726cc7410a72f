package azuresim_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// front returns the status of a request for an app.
func (a *azure) front(app string) int {
	a.t.Helper()
	result, err := a.do("GET", "https://"+app+".azurewebsites.net/", "", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return result.status
}

// TestMoreAppsThanMemory has two apps on a service plan whose memory suffices for one host.
func TestMoreAppsThanMemory(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{HostMemory: 900})
	site := a.siteBody("p", a.pushImage("app:1"), customHandler(map[string]string{}))
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("first")+webAPI, site)
	a.keyWhenUp("first")
	if list := a.Overfilled(); len(list) != 0 {
		t.Errorf("one app: overfilled are %v", list)
	}
	a.must("PUT", sitePath("second")+webAPI, site)
	for _, app := range []string{"first", "second"} {
		if status := a.front(app); status != http.StatusServiceUnavailable {
			t.Errorf("%s of two apps: %d", app, status)
		}
		if _, err := a.hostKeys(app); err == nil {
			t.Errorf("%s of two apps has keys", app)
		}
	}

	a.must("DELETE", sitePath("first")+webAPI, nil)
	a.keyWhenUp("second") // it has the memory of the first one now
	a.must("PUT", planPath("p")+webAPI, planBody("B2"))
	a.must("PUT", sitePath("third")+webAPI, site)
	a.keyWhenUp("third")
	a.must("PUT", planPath("p")+webAPI, planBody("S1"))
	if status := a.front("second"); status != http.StatusServiceUnavailable {
		t.Errorf("an app after its service plan was made smaller: %d", status)
	}
	stopped := a.siteBody("p", a.Registry()+"/app:1", nil)
	stopped["properties"].(m)["enabled"] = false
	a.must("PUT", sitePath("second")+webAPI, stopped)
	a.keyWhenUp("third")

	a.must("PUT", planPath("q")+webAPI, planBody("B1"))
	site["properties"].(m)["serverFarmId"] = planPath("q")
	a.must("PUT", sitePath("third")+webAPI, site)
	a.keyWhenUp("third")
	a.must("DELETE", sitePath("second")+webAPI, nil)
	a.must("DELETE", planPath("p")+webAPI, nil)
	want := []azuresim.Overfill{{ServicePlan: planPath("p"), Hosts: 2, Fit: 1}}
	if list := a.Overfilled(); !slices.Equal(list, want) {
		t.Errorf("overfilled are %v, want %v", list, want)
	}
}

// TestInstances has apps on service plans of one or more instances, whose memory suffices for five hosts each, or
// eleven on EP1.
func TestInstances(t *testing.T) {
	t.Parallel()
	perApp, one, two := m{"perSiteScaling": true}, m{"functionAppScaleLimit": 1}, m{"numberOfWorkers": 2}
	auto := m{"elasticScaleEnabled": true, "maximumElasticWorkerCount": 2}
	for name, row := range map[string]struct {
		sku        string
		capacity   int
		plan, site m // beside the usual properties and siteConfig
		apps       int
		hosts, fit int // when it is overfilled
		scaledOut  bool
	}{
		"one instance":                {"S1", 1, nil, nil, 5, 0, 0, false},
		"one, overfilled":             {"S1", 1, nil, nil, 7, 7, 5, false},
		"two":                         {"S1", 2, nil, nil, 5, 0, 0, true},
		"two, overfilled":             {"S1", 2, nil, nil, 6, 12, 10, true},
		"per app":                     {"S1", 2, perApp, nil, 10, 0, 0, false},
		"per app, overfilled":         {"S1", 2, perApp, nil, 11, 11, 10, false},
		"per app, more workers":       {"S1", 3, perApp, two, 7, 0, 0, true},
		"per app, too many workers":   {"S1", 1, perApp, two, 5, 0, 0, false},
		"per app, but Basic":          {"B1", 2, perApp, nil, 1, 0, 0, true},
		"elastic":                     {"EP1", 1, nil, nil, 11, 0, 0, true},
		"elastic, limited":            {"EP1", 1, nil, one, 11, 0, 0, false},
		"elastic, limited, two":       {"EP1", 2, nil, one, 22, 0, 0, false},
		"elastic, overfilled":         {"EP1", 1, nil, one, 12, 12, 11, false},
		"automatic scaling":           {"P1v3", 1, auto, nil, 1, 0, 0, true},
		"automatic scaling by nobody": {"P1v3", 1, m{"elasticScaleEnabled": true}, nil, 1, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := start(t, azuresim.Config{})
			plan := planBody(row.sku)
			plan["sku"].(m)["capacity"] = row.capacity
			maps.Copy(plan["properties"].(m), row.plan)
			a.must("PUT", planPath("p")+webAPI, plan)
			site := a.siteBody("p", a.Registry()+"/app:1", nil)
			config := site["properties"].(m)["siteConfig"].(m)
			delete(config, "appSettings") // without storage, no host is started here
			maps.Copy(config, row.site)
			for n := range row.apps {
				a.must("PUT", sitePath(fmt.Sprint("app", n))+webAPI, site)
			}
			var want []azuresim.Overfill
			if row.hosts > 0 {
				want = append(want, azuresim.Overfill{ServicePlan: planPath("p"), Hosts: row.hosts, Fit: row.fit})
			}
			if list := a.Overfilled(); !slices.Equal(list, want) {
				t.Errorf("overfilled are %v, want %v", list, want)
			}
			if list := a.ScaledOut(); slices.Contains(list, "app0") != row.scaledOut {
				t.Errorf("scaled out are %v", list)
			}
		})
	}
}
