package inventory

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// web answers calls with a status and its bodies in turn. It repeats the last body.
type web struct {
	status int
	bodies []string
	asked  []string
}

func (w *web) Do(req *http.Request) (*http.Response, error) {
	w.asked = append(w.asked, req.URL.Path+"?"+req.URL.Query().Get("api-version"))
	body := w.bodies[0]
	if len(w.bodies) > 1 {
		w.bodies = w.bodies[1:]
	}
	return &http.Response{
		StatusCode: w.status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

const site = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/a"

func TestFind(t *testing.T) {
	for name, row := range map[string]struct {
		id     string
		status int
		body   string
		found  bool
		want   Resource
		fails  string
	}{
		"there": {
			id: site, status: 200, body: `{"id": "/sites/a", "tags": {"K": "v", "none": null}}`, found: true,
			want: Resource{ID: "/sites/a", Tags: map[string]string{"k": "v"}},
		},
		"not there":     {id: site, status: 404, body: `{"error": {"code": "ResourceNotFound"}}`},
		"no such group": {id: site, status: 404, body: `{"error": {"code": "ResourceGroupNotFound"}}`},
		"a gateway's":   {id: site, status: 404, body: `not found`, fails: "404"},
		"forbidden": {
			id: site, status: 403, body: `{"error": {"code": "AuthorizationFailed"}}`, fails: "AuthorizationFailed",
		},
		"no id":        {id: site, status: 200, body: `{}`, fails: "has no id"},
		"no id given":  {id: "a", fails: "invalid resource ID"},
		"another type": {id: strings.Replace(site, "sites", "certificates", 1), fails: "no API version"},
	} {
		w := &web{status: row.status, bodies: []string{row.body}}
		inv, err := New(Config{Credential: azuretest.Credential{}, SubscriptionID: "s", Transport: w})
		if err != nil {
			t.Fatal(err)
		}
		got, found, err := inv.Find(t.Context(), row.id)
		if found != row.found || !cmp.Equal(got, row.want) {
			t.Errorf("%s: got %+v, %v", name, got, found)
		}
		if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
			t.Errorf("%s: got %v, want %q", name, err, row.fails)
		}
		if failed, ok := errors.AsType[*azcore.ResponseError](err); ok && failed.StatusCode != row.status {
			t.Errorf("%s: the cause is %v", name, failed)
		}
		if row.status != 0 && (len(w.asked) != 1 || w.asked[0] != site+"?2024-11-01") {
			t.Errorf("%s: asked %q", name, w.asked)
		}
	}
}

func TestFunctionAppsOfAllPages(t *testing.T) {
	w := &web{status: 200, bodies: []string{
		`{"value": [{"id": "/a", "tags": {"K": "v"}}, {}], "nextLink": "https://management.azure.com/next"}`,
		`{"value": [{"id": "/b"}]}`,
	}}
	inv, err := New(Config{Credential: azuretest.Credential{}, SubscriptionID: "s", Transport: w})
	if err != nil {
		t.Fatal(err)
	}
	got, err := inv.FunctionApps(t.Context(), "rg")
	want := []Resource{{ID: "/a", Tags: map[string]string{"k": "v"}}, {ID: "/b", Tags: map[string]string{}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" || len(w.asked) != 2 {
		t.Errorf("got %v after %q\n%s", err, w.asked, diff)
	}
	w.status, w.bodies = 403, []string{`{"error": {"code": "AuthorizationFailed"}}`}
	if _, err := inv.FunctionApps(t.Context(), "rg"); err == nil || !strings.Contains(err.Error(), "AuthorizationFailed") {
		t.Errorf("got %v, want the refusal", err)
	}
}

func TestServicePlan(t *testing.T) {
	const id = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/serverFarms/p"
	w := &web{status: 200, bodies: []string{`{"id": "` + id + `", "name": "p", "location": "westeurope",
		"tags": {"K": "v"}, "sku": {"name": "EP1", "tier": "ElasticPremium", "capacity": 2},
		"properties": {"reserved": true, "perSiteScaling": true, "elasticScaleEnabled": true,
			"maximumElasticWorkerCount": 20, "numberOfSites": 7, "status": "Ready"}}`, `{"id": "` + id + `"}`}}
	inv, err := New(Config{Credential: azuretest.Credential{}, SubscriptionID: "s", Transport: w})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []ServicePlan{
		{
			ID: id, Name: "p", Location: "westeurope", Linux: true, SKU: "EP1", Tier: "ElasticPremium", Workers: 2, Sites: 7,
			PerSiteScaling: true, ElasticScale: true, MaximumElasticWorkers: 20, Tags: map[string]string{"k": "v"},
		},
		{ID: id, Tags: map[string]string{}},
	} {
		got, found, err := inv.ServicePlan(t.Context(), id)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || !found {
			t.Errorf("%v, %v: %s", found, err, diff)
		}
	}
	w.status, w.bodies = 404, []string{`{"error": {"code": "ResourceNotFound"}}`}
	if _, found, err := inv.ServicePlan(t.Context(), id); err != nil || found {
		t.Errorf("got %v, %v; want that there is none", found, err)
	}
}
