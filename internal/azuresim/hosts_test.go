package azuresim_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v5"
	"github.com/google/go-containerregistry/pkg/v1/empty"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// pushImage builds and pushes a function image with one function, /api/run, and returns its reference.
func (a *azure) pushImage(name string) string {
	a.t.Helper()
	return a.pushImageFrom(base(a.t), name)
}

func (a *azure) pushImageFrom(base appimage.Image, name string) string {
	a.t.Helper()
	image, err := appimage.BuildFrom(base, map[string]appimage.File{
		"/home/site/wwwroot/handler": {Content: azuretest.BuildProgram(a.t, "./testdata/handler"), Mode: 0o755},
		"/home/site/wwwroot/host.json": {Mode: 0o644, Content: []byte(`{"version":"2.0","customHandler":{
			"description":{"defaultExecutablePath":"handler"},"enableForwardingHttpRequest":true}}`)},
		"/home/site/wwwroot/run/function.json": {Mode: 0o644, Content: []byte(`{"bindings":[
			{"type":"httpTrigger","direction":"in","name":"req","authLevel":"function","methods":["get","post"]},
			{"type":"http","direction":"out","name":"res"}]}`)},
	}, nil, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	ref := a.Registry() + "/" + name
	if err := appimage.Push(a.t.Context(), ref, image, a.client.Transport); err != nil {
		a.t.Fatal(err)
	}
	return ref
}

// base returns the stand-in for Microsoft's base image.
func base(t *testing.T) appimage.Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "webhost")
	if err := os.WriteFile(program, azuretest.BuildProgram(t, "./funchost/webhost"), 0o700); err != nil {
		t.Fatal(err)
	}
	img, err := appimage.Base(program)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func customHandler(settings map[string]string) map[string]string {
	settings["FUNCTIONS_WORKER_RUNTIME"] = "custom"
	settings["WEBSITES_ENABLE_APP_SERVICE_STORAGE"] = "false"
	return settings
}

// hostKeys asks for the keys as the product does, with armappservice and azidentity.
func (a *azure) hostKeys(app string) (armappservice.HostKeys, error) {
	a.t.Helper()
	options := a.options()
	credential, err := azidentity.NewClientSecretCredential(
		azuresim.DefaultTenantID, azuresim.DefaultClientID, azuresim.DefaultClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		a.t.Fatal(err)
	}
	client, err := armappservice.NewWebAppsClient(
		azuresim.DefaultSubscriptionID, credential, &arm.ClientOptions{ClientOptions: options})
	if err != nil {
		a.t.Fatal(err)
	}
	result, err := client.ListHostKeys(a.t.Context(), azuresim.DefaultResourceGroup, app, nil)
	return result.HostKeys, err
}

// keyWhenUp asks for the default key until the host is up.
func (a *azure) keyWhenUp(app string) (key string) {
	a.t.Helper()
	azuretest.Eventually(a.t, "key of "+app, func() bool {
		keys, err := a.hostKeys(app)
		if err == nil {
			key = *keys.FunctionKeys["default"]
		}
		return err == nil
	})
	return key
}

// invoke calls the app's function until the handler answers, and returns that answer.
func (a *azure) invoke(app, key string) (message string) {
	a.t.Helper()
	azuretest.Eventually(a.t, "answer of "+app, func() bool {
		result, err := a.do("GET", "https://"+app+".azurewebsites.net/api/run?code="+key, "", nil)
		if err != nil {
			a.t.Fatal(err)
		}
		if result.status != http.StatusOK && result.status != http.StatusServiceUnavailable {
			a.t.Fatalf("invoke %s: %d %s", app, result.status, result.message)
		}
		message = result.message
		return result.status == http.StatusOK
	})
	return message
}

func TestFunctionAppLives(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("team/app:1")
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	site := func(value string) m { return a.siteBody("p", image, customHandler(map[string]string{"A": value})) }
	a.must("PUT", sitePath("app")+webAPI, site("1"))
	key := a.keyWhenUp("app")

	first := a.invoke("app", key)
	if !strings.HasPrefix(first, "A=1 ") {
		t.Fatalf("handler answered %q", first)
	}
	a.must("PUT", sitePath("app")+webAPI, site("1"))
	if again := a.invoke("app", key); again != first {
		t.Errorf("a PUT that changes nothing restarted the host: %q, then %q", first, again)
	}
	a.must("PUT", sitePath("app")+webAPI, site("2"))
	if changed := a.invoke("app", key); !strings.HasPrefix(changed, "A=2 ") {
		t.Errorf("after a PUT with other settings the handler answered %q", changed)
	}

	host := "https://app.azurewebsites.net/api/run?code=" + key
	a.must("DELETE", sitePath("app")+webAPI, nil)
	// A connection that is still open reaches App Service, which does not know the app.
	if result, err := a.do("GET", host, "", nil); err == nil && result.status != http.StatusNotFound {
		t.Errorf("deleted app: %d %s", result.status, result.message)
	}
	a.client.CloseIdleConnections()
	var dns *net.DNSError
	if _, err := a.do("GET", host, "", nil); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("host of a deleted app: %v, want no such host", err)
	}

	a.must("PUT", sitePath("app")+webAPI, site("3"))
	if again := a.keyWhenUp("app"); again != key {
		t.Error("a name used again has other keys, but the storage account keeps them")
	}
}

func TestHostThatNeverComesUp(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("app:1")
	for _, sku := range []string{"B1", "Y1", "FC1"} {
		a.must("PUT", planPath(sku)+webAPI, planBody(sku))
	}
	wrongKey := a.siteBody("B1", image, nil)
	wrongKey["properties"].(m)["siteConfig"].(m)["appSettings"] = []m{
		{"name": "AzureWebJobsStorage", "value": "AccountName=sockerlessstore;AccountKey=x"},
	}
	withoutHost := a.pushImageFrom(empty.Image, "plain:1")
	stopped := a.siteBody("B1", image, nil)
	stopped["properties"].(m)["enabled"] = false
	for name, row := range map[string]struct {
		site   m
		status int
	}{
		"consumption":      {a.siteBody("Y1", image, customHandler(map[string]string{})), 503},
		"flex":             {a.siteBody("FC1", image, customHandler(map[string]string{})), 503},
		"unpushed":         {a.siteBody("B1", a.Registry()+"/none:1", nil), 503},
		"another-registry": {a.siteBody("B1", "registry.invalid/app:1", nil), 503},
		"no-host":          {a.siteBody("B1", withoutHost, customHandler(map[string]string{})), 503},
		"wrong-key":        {wrongKey, 503},
		"stopped":          {stopped, 403},
	} {
		a.must("PUT", sitePath(name)+webAPI, row.site)
		const refusal = "Encountered an error (InternalServerError) from host runtime."
		if _, err := a.hostKeys(name); err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%s: keys: %v", name, err)
		}
		result, err := a.do("GET", "https://"+name+".azurewebsites.net/api/run", "", nil)
		if err != nil || result.status != row.status {
			t.Errorf("%s: %d %v, want %d", name, result.status, err, row.status)
		}
	}
}

func TestStorageByIdentity(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("app:1")
	a.must("PUT", planPath("p")+webAPI, planBody("EP1"))
	site := a.siteBody("p", image, nil)
	id, clientID := a.Identity()
	site["identity"] = m{"type": "UserAssigned", "userAssignedIdentities": m{id: m{}}}
	site["properties"].(m)["siteConfig"].(m)["appSettings"] = []m{
		{"name": "AzureWebJobsStorage__accountName", "value": azuresim.DefaultStorageAccount},
		{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "custom"},
		{"name": "WEBSITES_ENABLE_APP_SERVICE_STORAGE", "value": "false"},
	}
	put := a.must("PUT", sitePath("app")+webAPI, site)
	id = strings.Replace(id, "/resourceGroups/", "/resourcegroups/", 1)
	assigned := put["identity"].(m)["userAssignedIdentities"].(m)[id].(m)
	if assigned["clientId"] != clientID || assigned["principalId"] == "" {
		t.Errorf("identity %v", assigned)
	}
	a.invoke("app", a.keyWhenUp("app"))
}

func TestTelemetryReachesWorkspace(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	image := a.pushImage("app:1")
	workspace := groupPath + "/providers/Microsoft.OperationalInsights/workspaces/w"
	component := groupPath + "/providers/Microsoft.Insights/components/C"
	properties := a.must("PUT", workspace+"?api-version=2025-07-01",
		m{"location": "westeurope", "properties": m{"sku": m{"name": "PerGB2018"}}})["properties"].(m)
	customer := properties["customerId"].(string)
	properties = a.must("PUT", component+"?api-version=2020-02-02",
		m{"location": "westeurope", "kind": "other", "properties": m{"WorkspaceResourceId": workspace}})["properties"].(m)
	settings := map[string]string{"APPLICATIONINSIGHTS_CONNECTION_STRING": properties["ConnectionString"].(string)}
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", image, customHandler(settings)))
	a.invoke("app", a.keyWhenUp("app"))

	token := a.tokenFor(a.URL() + "/loganalytics")
	query := m{"query": "AppRequests | project _ResourceId, AppRoleName"}
	for { // the host logs a request after it is answered
		result, err := a.do("POST", "/loganalytics/v1/workspaces/"+customer+"/query", token, query)
		switch {
		case err != nil || result.status != http.StatusOK && result.status != http.StatusNoContent:
			t.Fatalf("query: %d %s %v", result.status, result.message, err)
		case t.Context().Err() != nil:
			t.Fatal("no row came")
		}
		if result.status == http.StatusNoContent { // the Log Analytics workspace has no data yet
			continue
		}
		rows := result.body["tables"].([]any)[0].(m)["rows"].([]any)
		if len(rows) == 0 {
			continue
		}
		if row := rows[0].([]any); row[0] != strings.ToLower(component) || row[1] != "app" {
			t.Errorf("row %v, want the component's id and the app's name", row)
		}
		return
	}
}

// Faults reach calls of function apps too.
func TestHostFaults(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	a.must("PUT", planPath("p")+webAPI, planBody("B1"))
	a.must("PUT", sitePath("app")+webAPI, a.siteBody("p", a.Registry()+"/none:1", nil))
	rule := azuresim.Rule{Host: regexp.MustCompile(`^app\.azurewebsites\.net$`), Status: 502, Times: 1}
	a.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{rule}})
	for _, want := range []int{502, 503} {
		result, err := a.do("POST", "https://app.azurewebsites.net/api/run", "", m{})
		if err != nil || result.status != want {
			t.Errorf("%d %v, want %d", result.status, err, want)
		}
	}
	calls := a.Calls()
	last := calls[len(calls)-1]
	if last.Service != "host" || last.Host != "app.azurewebsites.net" || last.Path != "/api/run" || last.Status != 503 {
		t.Errorf("last call %+v", last)
	}
}
