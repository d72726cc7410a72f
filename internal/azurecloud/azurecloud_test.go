package azurecloud

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/logs"
)

func TestListedClouds(t *testing.T) {
	for name, want := range map[string][6]string{
		Public: {
			"https://management.azure.com", "https://management.core.windows.net//.default",
			"https://login.microsoftonline.com/", "https://api.loganalytics.io/v1", "azurecr.io", "core.windows.net",
		},
		USGovernment: {
			"https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net//.default",
			"https://login.microsoftonline.us/", "https://api.loganalytics.us/v1", "azurecr.us", "core.usgovcloudapi.net",
		},
		China: {
			"https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn//.default",
			"https://login.chinacloudapi.cn/", "https://api.loganalytics.azure.cn/v1", "azurecr.cn", "core.chinacloudapi.cn",
		},
	} {
		c, err := Read(t.Context(), name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		services := c.Configuration.Services
		got := [6]string{
			services[cloud.ResourceManager].Endpoint, c.Scope(), c.Configuration.ActiveDirectoryAuthorityHost,
			services[logs.ServiceName].Endpoint, c.RegistrySuffix, c.StorageSuffix,
		}
		if got != want || c.Unlisted || !maps.Equal(c.Terraform, map[string]string{"ARM_ENVIRONMENT": name}) {
			t.Errorf("%s: got %v, %+v", name, got, c)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, fine := range map[string]bool{
		"https://management.example.com": true, "https://management.example.com/": true, "https://127.0.0.1:8443": true,
		"": false, "Public": false, "germany": false, "http://management.example.com": false, "https://": false,
		"management.example.com": false, "https://user@management.example.com": false, "https://m.example.com?a=b": false,
		"https://m.example.com/path": false, "https://m.example.com#a": false,
	} {
		if err := Check(name); (err == nil) != fine {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// description is what a Resource Manager answers.
func description() map[string]any {
	return map[string]any{
		"name": "example", "resourceManager": "https://management.example.com/",
		"logAnalyticsResourceId": "https://logs.example.com/",
		"authentication": map[string]any{
			"loginEndpoint": "https://login.example.com/", "audiences": []string{"https://audience.example.com/", "other"},
		},
		"suffixes": map[string]any{"acrLoginServer": "azurecr.example.com", "storage": "core.example.com"},
	}
}

// manager starts a Resource Manager.
func manager(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewTLSServer(answer)
	t.Cleanup(srv.Close)
	return srv
}

func TestCloudOfAURL(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "state", "cloud.json")
	srv := manager(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metadata/endpoints" || r.URL.Query().Get("api-version") != "2022-09-01" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("\xef\xbb\xbf")) // as Azure Stack does
		if err := json.NewEncoder(w).Encode(description()); err != nil {
			panic(err)
		}
	})
	host := strings.TrimPrefix(srv.URL, "https://")
	want := Cloud{
		Configuration: cloud.Configuration{
			ActiveDirectoryAuthorityHost: "https://login.example.com",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {
					Endpoint: "https://management.example.com", Audience: "https://audience.example.com",
				},
				logs.ServiceName: {Endpoint: "https://logs.example.com/v1", Audience: "https://logs.example.com"},
			},
		},
		Unlisted: true, RegistrySuffix: "azurecr.example.com", StorageSuffix: "core.example.com",
		Terraform: map[string]string{"ARM_METADATA_HOSTNAME": host, "ARM_METADATA_HOST": host},
	}
	got, err := Read(t.Context(), srv.URL+"/", kept, srv.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kept: %v, %v", info, err)
	}
	srv.Close()
	if got, err = Read(t.Context(), srv.URL+"/", kept, srv.Client().Transport); err != nil || got.Stale == nil {
		t.Fatalf("while it is unreachable: got %v, %v", got.Stale, err)
	}
	got.Stale = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, file := range map[string]string{
		"https://127.0.0.1:1": kept, srv.URL + "/": kept + "x", srv.URL: "",
	} {
		_, err := Read(t.Context(), name, file, srv.Client().Transport)
		if err == nil || !strings.Contains(err.Error(), "ask for its endpoints") {
			t.Errorf("%s, kept in %q: got %v", name, file, err)
		}
	}
}

func TestCloudIsNotUnderstood(t *testing.T) {
	lacking := func(change func(map[string]any)) string {
		d := description()
		change(d)
		content, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	login := func(value any) func(map[string]any) {
		return func(d map[string]any) {
			d["authentication"] = map[string]any{"loginEndpoint": value, "audiences": []string{"a"}}
		}
	}
	for name, row := range map[string]struct {
		status     int
		body, want string
	}{
		"a page":     {200, "<html>", "is not valid JSON"},
		"a list":     {200, "[]", "is not valid JSON"},
		"nothing":    {200, "", "is not valid JSON"},
		"empty":      {200, "{}", "lacks authentication.audiences"},
		"no manager": {200, lacking(func(d map[string]any) { delete(d, "resourceManager") }), "lacks resourceManager"},
		"no login":   {200, lacking(login("")), "lacks authentication.loginEndpoint"},
		"login in clear": {200, lacking(login("http://login")),
			`has "http://login" as authentication.loginEndpoint, which is not a valid https URL`},
		"login elsewhere": {200, lacking(login("login.example.com")),
			`has "login.example.com" as authentication.loginEndpoint, which is not a valid https URL`},
		"no logs": {200, lacking(func(d map[string]any) { delete(d, "logAnalyticsResourceId") }),
			"lacks logAnalyticsResourceId"},
		"not found": {404, "", "status 404 Not Found: set cloud to the URL of a Resource Manager"},
		"elsewhere": {302, "", "status 302 Found"},
		"down":      {503, "", "status 503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := manager(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://elsewhere.example.com/")
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.body))
			})
			_, err := Read(t.Context(), srv.URL, filepath.Join(t.TempDir(), "cloud.json"), srv.Client().Transport)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), srv.URL) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
	srv := manager(t, func(http.ResponseWriter, *http.Request) {})
	if _, err := Read(t.Context(), srv.URL, "", nil); err == nil || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
		t.Errorf("an unknown authority: got %v", err)
	}
}
