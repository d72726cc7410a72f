package azuresim_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
)

// azure is a simulator under test with a client that holds a Resource Manager token.
type azure struct {
	*azuresim.Sim
	t      *testing.T
	cloud  *cloudtest.Cloud
	client *http.Client
	token  string
}

func start(t *testing.T, cfg azuresim.Config) *azure {
	t.Helper()
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t))
	c := cloudtest.Start(t, cfg)
	a := &azure{Sim: c.Sim, t: t, cloud: c, client: c.Client}
	a.token = a.tokenFor(c.Sim.URL())
	return a
}

// tokenFor returns a token for an audience.
func (a *azure) tokenFor(audience string) string {
	a.t.Helper()
	token, err := a.cloud.GetToken(a.t.Context(), policy.TokenRequestOptions{Scopes: []string{audience + "/.default"}})
	if err != nil {
		a.t.Fatal(err)
	}
	return token.Token
}

// answer is an answer, with the error's code and message if it is an error of Azure's form.
type answer struct {
	status        int
	header        http.Header
	body          map[string]any
	code, message string
}

// do sends one call. path is relative to the simulator's URL, unless it is a URL.
func (a *azure) do(method, path, token string, body any) (answer, error) {
	if strings.HasPrefix(path, "/") {
		path = a.URL() + path
	}
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, path, reader)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("x-ms-correlation-request-id", "correlation-of-the-test")
	req.Header.Set("User-Agent", "azuresim-test")
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return answer{}, err
	}
	result := answer{status: resp.StatusCode, header: resp.Header}
	if json.Unmarshal(data, &result.body) != nil {
		result.message = string(data)
	}
	if e, ok := result.body["error"].(map[string]any); ok {
		result.code, _ = e["code"].(string)
		result.message, _ = e["message"].(string)
	}
	return result, nil
}

// arm sends one Resource Manager call, which must be answered.
func (a *azure) arm(method, path string, body any) answer {
	a.t.Helper()
	result, err := a.do(method, path, a.token, body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return result
}

// must is arm for a call that must succeed. It waits for a write that is accepted.
func (a *azure) must(method, path string, body any) map[string]any {
	a.t.Helper()
	result := a.arm(method, path, body)
	for poll := result.header.Get("Azure-AsyncOperation"); poll != ""; {
		if a.arm("GET", poll, nil).body["status"] != "InProgress" {
			break
		}
	}
	if !slices.Contains([]int{http.StatusOK, http.StatusAccepted, http.StatusNoContent}, result.status) {
		a.t.Fatalf("%s %s: %d %s: %s", method, path, result.status, result.code, result.message)
	}
	return result.body
}

type m = map[string]any

const (
	groupPath = "/subscriptions/" + azuresim.DefaultSubscriptionID + "/resourceGroups/" + azuresim.DefaultResourceGroup
	webAPI    = "?api-version=2023-12-01"
)

func planPath(name string) string { return groupPath + "/providers/Microsoft.Web/serverfarms/" + name }
func sitePath(name string) string { return groupPath + "/providers/Microsoft.Web/sites/" + name }

func planBody(sku string) m {
	return m{"location": "westeurope", "sku": m{"name": sku}, "properties": m{"reserved": true}}
}

// siteBody returns a site as azurerm puts it: service plan, image and the settings of a host that can use its storage.
func (a *azure) siteBody(plan, image string, settings map[string]string) m {
	a.t.Helper()
	account := groupPath + "/providers/Microsoft.Storage/storageAccounts/" + azuresim.DefaultStorageAccount
	keys := a.must("POST", account+"/listKeys?api-version=2025-08-01", nil)
	key := keys["keys"].([]any)[0].(m)["value"].(string)
	list := []m{{"name": "AzureWebJobsStorage", "value": "DefaultEndpointsProtocol=https;" +
		"AccountName=" + azuresim.DefaultStorageAccount + ";AccountKey=" + key + ";EndpointSuffix=core.windows.net"}}
	for k, v := range settings {
		list = append(list, m{"name": k, "value": v})
	}
	return m{
		"location": "West Europe", "kind": "functionapp,linux", "tags": m{"owner": "test"},
		"properties": m{
			"serverFarmId": planPath(plan), "siteConfig": m{"linuxFxVersion": "DOCKER|" + image, "appSettings": list},
		},
	}
}

// options returns the options of an SDK client that tries each call once.
func (a *azure) options() policy.ClientOptions {
	return policy.ClientOptions{
		Cloud: a.cloud.Configuration, Transport: a.client, Retry: policy.RetryOptions{MaxRetries: -1},
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]azuresim.Config{
		"no folder":          {},
		"all interfaces":     {Dir: t.TempDir(), Listen: "0.0.0.0:0"},
		"another host":       {Dir: t.TempDir(), Listen: "192.0.2.1:443"},
		"no port in address": {Dir: t.TempDir(), Listen: "127.0.0.1"},
	} {
		if sim, err := azuresim.Start(cfg); err == nil {
			t.Errorf("%s: started", name)
			_ = sim.Close() // the test has failed already
		}
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	sim, err := azuresim.Start(azuresim.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := sim.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if conn, err := net.Dial("tcp", sim.Registry()); err == nil {
		t.Error("still listening after Close")
		_ = conn.Close() // the test has failed already
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	for _, row := range []struct{ method, path string }{
		{"GET", "/subscriptions/" + azuresim.DefaultSubscriptionID + "/locations?api-version=2022-12-01"},
		{"GET", sitePath("x") + "?api-version=1999-01-01"},
		{"PATCH", sitePath("x") + webAPI},
		{"GET", sitePath("x") + "/slots" + webAPI},
		{"GET", "/nothing?api-version=1"},
		{"GET", "/metadata/endpoints?api-version=2015-01-01"},
		{"GET", "/" + azuresim.DefaultTenantID + "/discovery/v2.0/keys"},
		{"POST", "/loganalytics/v1/workspaces/x/search"},
		{"POST", "/azuresim/calls"},
	} {
		result := a.arm(row.method, row.path, m{})
		path, query, _ := strings.Cut(row.path, "?")
		if result.status != http.StatusNotImplemented {
			t.Errorf("%s %s: status %d, want 501", row.method, row.path, result.status)
		}
		version := strings.TrimPrefix(query, "api-version=")
		for _, part := range []string{row.method, path, fmt.Sprintf("api-version %q", version)} {
			if !strings.Contains(result.message, part) {
				t.Errorf("%s %s: message %q does not name %s", row.method, row.path, result.message, part)
			}
		}
	}
}

func TestResourceManagerChecks(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	instead := func(before, after string) string { return strings.Replace(sitePath("x"), before, after, 1) + webAPI }
	otherSubscription := instead(azuresim.DefaultSubscriptionID, azuresim.DefaultTenantID)
	otherGroup := instead(azuresim.DefaultResourceGroup, "other")
	for _, row := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{"GET", sitePath("x"), nil, 400, "MissingApiVersionParameter"},
		{"GET", otherSubscription, nil, 404, "SubscriptionNotFound"},
		{"GET", otherGroup, nil, 404, "ResourceGroupNotFound"},
		{"PUT", otherGroup, m{}, 404, "ResourceGroupNotFound"},
		{"GET", sitePath("x") + webAPI, nil, 404, "ResourceNotFound"},
		{"PUT", sitePath("x") + webAPI, nil, 400, "InvalidRequestContent"},
		{"PUT", sitePath("x") + webAPI, "not an object", 400, "InvalidRequestContent"},
		{"PUT", planPath("x") + webAPI, m{"sku": m{"name": "B1"}}, 400, "LocationRequired"},
		{"PUT", planPath("x") + webAPI, planBody("B9"), 400, "BadRequest"},
		{"GET", strings.ToUpper(planPath("x")) + webAPI, nil, 404, "ResourceNotFound"}, // known in any case
	} {
		result := a.arm(row.method, row.path, row.body)
		if result.status != row.status || result.code != row.code {
			t.Errorf("%s %s: %d %s (%s), want %d %s",
				row.method, row.path, result.status, result.code, result.message, row.status, row.code)
		}
		if got := result.header.Get("x-ms-correlation-request-id"); got != "correlation-of-the-test" {
			t.Errorf("%s %s: correlation id %q is not echoed", row.method, row.path, got)
		}
		if result.header.Get("x-ms-request-id") == "" {
			t.Errorf("%s %s: no x-ms-request-id", row.method, row.path)
		}
	}
}

func TestCallsAndResources(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("plan")+webAPI, planBody("B1"))
	var found *azuresim.Call
	for _, c := range a.Calls() {
		if c.Method == http.MethodPut {
			found = &c
		}
	}
	if found == nil || found.Service != "arm" || found.Path != planPath("plan") || found.APIVersion != "2023-12-01" ||
		found.Status != 200 || found.UserAgent != "azuresim-test" ||
		found.CorrelationID != "correlation-of-the-test" || found.Time.IsZero() {
		t.Errorf("call of the PUT: %+v", found)
	}
	if calls := a.Calls(); calls[0].Service != "metadata" || calls[1].Service != "entra" {
		t.Errorf("first calls: %+v, want those for the endpoints and the token", calls[:2])
	}

	for path, want := range map[string]string{
		"/azuresim/resources": planPath("plan"), "/azuresim/calls": "correlation-of-the-test",
	} {
		resp, err := a.client.Get(a.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || !json.Valid(body) || !strings.Contains(string(body), want) {
			t.Errorf("GET %s: %s %s", path, resp.Status, body)
		}
	}
	a.must("DELETE", planPath("plan")+webAPI, nil)
	for _, r := range a.Resources() {
		if r.Name == "plan" {
			t.Error("deleted service plan is still listed")
		}
	}
}

// The simulator is linked into the product: it must not bring testing along, nor depend on the product.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module, own = "github.com/sockerless/backend-azf/", "github.com/sockerless/backend-azf/internal/azuresim"
	for dep := range strings.FieldsSeq(string(out)) {
		if dep == "testing" || strings.HasPrefix(dep, module) && dep != own && !strings.HasPrefix(dep, own+"/") {
			t.Errorf("azuresim imports %s", dep)
		}
	}
}
