package cloudtest_test

import (
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/monitor/azquery"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appservice/armappservice/v5"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
)

func TestCloudServesTheSDK(t *testing.T) {
	c := cloudtest.Start(t, azuresim.Config{})
	options := azcore.ClientOptions{Cloud: c.Configuration, Transport: c.Client}
	client, err := armappservice.NewWebAppsClient(c.Access.SubscriptionID, c, &arm.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.ListHostKeys(t.Context(), azuresim.DefaultResourceGroup, "none", nil)
	if refusal, ok := errors.AsType[*azcore.ResponseError](err); !ok || refusal.StatusCode != http.StatusNotFound {
		t.Errorf("got %v, want 404", err)
	}
	logs := c.Configuration.Services[azquery.ServiceNameLogs]
	if logs.Endpoint != c.Sim.URL()+"/loganalytics/v1" {
		t.Errorf("Log Analytics is at %q", logs.Endpoint)
	}
}

func TestCloudRefusesAWrongSecret(t *testing.T) {
	c := cloudtest.Start(t, azuresim.Config{})
	c.Access.ClientSecret = "wrong"
	_, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.Access.URL + "/.default"}})
	if err == nil || !strings.Contains(err.Error(), "no token") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestAccessFromAnotherProcess uses the simulator by an Access that was sent as JSON.
func TestAccessFromAnotherProcess(t *testing.T) {
	c := cloudtest.Start(t, azuresim.Config{ClientSecret: "own"})
	sent, err := json.Marshal(c.Access)
	if err != nil {
		t.Fatal(err)
	}
	var access azuresim.Access
	if err := json.Unmarshal(sent, &access); err != nil || access != c.Sim.Access() || access.ClientSecret != "own" {
		t.Fatalf("got %+v, %v", access, err)
	}
	transport, err := access.Transport()
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	host := access.TerraformEnv()["ARM_METADATA_HOSTNAME"]
	resp, err := (&http.Client{Transport: transport}).Get("https://" + host + "/metadata/endpoints?api-version=2022-09-01")
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("got %s, %v", resp.Status, err)
	}
}

func TestAccessWithoutACertificate(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := (azuresim.Access{CAFile: empty}).Transport()
	if err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("got %v", err)
	}
	if _, err := (azuresim.Access{CAFile: empty + "x"}).Transport(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestToolsAreLeftOutUnderShort(t *testing.T) {
	before := flag.Lookup("test.short").Value.String()
	if err := flag.Set("test.short", "true"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := flag.Set("test.short", before); err != nil {
			t.Error(err)
		}
	}()
	for name, tools := range map[string]func(*testing.T){
		"terraform": func(t *testing.T) { cloudtest.Tools(t) },
		"tofu":      func(t *testing.T) { cloudtest.Tofu(t) },
	} {
		skipped := false
		t.Run(name, func(t *testing.T) {
			defer func() { skipped = t.Skipped() }()
			tools(t)
		})
		if !skipped {
			t.Errorf("%s: the test was not left out", name)
		}
	}
}
