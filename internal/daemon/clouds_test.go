package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/workspace"
)

// runOnce creates a container of an image, runs it and removes it.
func (p *playground) runOnce(t *testing.T, image string) {
	t.Helper()
	id := p.create(t, "once", api.Config{Image: image, Cmd: []string{"hello", "once"}})
	p.must(t, http.MethodPost, "/containers/"+id+"/start", nil, nil)
	var waited api.WaitResponse
	p.must(t, http.MethodPost, "/containers/"+id+"/wait", nil, &waited)
	if waited.StatusCode != 0 {
		t.Errorf("exit status %d, want 0", waited.StatusCode)
	}
	p.must(t, http.MethodDelete, "/containers/"+id, nil, nil)
}

// TestPrivateRegistryOfAzure runs an image of a registry that no setting names and that wants a token.
func TestPrivateRegistryOfAzure(t *testing.T) {
	p := newAzure(t)
	p.run(t, func(cfg *daemon.Config) {
		id, clientID := p.sim.Identity()
		cfg.Azure.Identity = &workspace.Identity{ID: id, ClientID: clientID}
	})
	image := strings.Replace(p.image, p.sim.Registry(), "team.azurecr.io", 1)
	p.runOnce(t, image)
	// The daemon looks it up with its own credential.
	p.must(t, http.MethodPost, "/images/pull", map[string]string{"Reference": image}, nil)
	var found api.ImageInspectResponse
	p.must(t, http.MethodGet, "/images/"+image, nil, &found)
	if !found.AZF.Resolved {
		t.Errorf("got %+v", found.AZF)
	}
}

// cli puts an Azure CLI on PATH that is logged in to two tenants with the simulator's tokens. Its default account is in
// another tenant than the subscription. It writes its environment to the returned file when azurerm calls it.
func (p *playground) cli(t *testing.T, cfg daemon.Config) (environment string) {
	t.Helper()
	dir := t.TempDir()
	environment = filepath.Join(dir, "environment")
	tokens := map[string]string{}
	for _, audience := range []string{cfg.Cloud.Scope(), p.sim.URL() + "/loganalytics/.default"} {
		token, err := cfg.Credential.Token.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{audience}})
		if err != nil {
			t.Fatal(err)
		}
		tokens[audience] = token.Token
	}
	const account = `{"id":"%s","tenantId":"%s","isDefault":%t,"user":{"name":"me","type":"user"}}`
	first := fmt.Sprintf(account, "5c1e0009-0000-4000-8000-000000000009", "of-another-tenant", true)
	second := fmt.Sprintf(account, azuresim.DefaultSubscriptionID, azuresim.DefaultTenantID, false)
	const token = `{"accessToken":"%s","expiresOn":"2099-01-01 00:00:00.000000","tokenType":"Bearer"}`
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in
"version "*) env >%s; echo '{"azure-cli": "2.80.0"}' ;;
"account show --subscription %s --query tenantId"*) echo %s ;;
"account show "*) echo '%s' ;;
"account list "*) echo '[%s,%s]' ;;
*"--tenant "*) echo "ERROR: a token of a tenant is not one of the subscription" >&2; exit 1 ;;
"account get-access-token "*loganalytics*"--subscription "*) echo '%s' ;;
"account get-access-token "*"--subscription "*) echo '%s' ;;
*) echo "ERROR: no answer to $*" >&2; exit 1 ;;
esac
`, environment, azuresim.DefaultSubscriptionID, azuresim.DefaultTenantID, first, first, second,
		fmt.Sprintf(token, tokens[p.sim.URL()+"/loganalytics/.default"]), fmt.Sprintf(token, tokens[cfg.Cloud.Scope()]))
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return environment
}

// TestAzureCLIOfAnotherTenant runs a container with the account of an Azure CLI, for the daemon and for azurerm.
func TestAzureCLIOfAnotherTenant(t *testing.T) {
	passed := map[string]string{
		"REQUESTS_CA_BUNDLE": "/ca.pem", "CURL_CA_BUNDLE": "/ca.pem", "AZURE_CONFIG_DIR": "/az",
		"AZURE_EXTENSION_DIR": "/az/extensions", "AZURE_CORE_ENCRYPT_TOKEN_CACHE": "true", "ALL_PROXY": "socks5://p",
		"LC_ALL": "C.UTF-8",
	}
	kept := map[string]string{
		"AZURE_CLIENT_SECRET": "canary-1", "AZURE_STORAGE_KEY": "canary-2", "SOCKERLESS_AZF_REGISTRY_PASSWORD": "canary-3",
		"GITHUB_TOKEN": "canary-4", "ARM_CLIENT_SECRET": "canary-5",
	}
	p := newAzure(t)
	for _, set := range []map[string]string{passed, kept} {
		for name, value := range set {
			t.Setenv(name, value)
		}
	}
	var environment string
	p.run(t, func(cfg *daemon.Config) {
		environment = p.cli(t, *cfg)
		cfg.Environ = os.Environ()
		var err error
		cfg.Credential, err = daemon.NewCredentialChain(*cfg).Choose(t.Context(), config.MethodAzureCLI)
		if err != nil {
			t.Fatal(err)
		}
	})
	p.runOnce(t, p.image)
	content, err := os.ReadFile(environment)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range passed {
		if !strings.Contains(string(content), name+"="+value+"\n") {
			t.Errorf("the Azure CLI of azurerm lacks %s", name)
		}
	}
	if !strings.Contains(string(content), "ARM_TENANT_ID="+azuresim.DefaultTenantID+"\n") {
		t.Error("azurerm does not know the subscription's tenant")
	}
	if strings.Contains(string(content), "canary") {
		t.Errorf("a secret of the daemon's environment reached azurerm:\n%s", content)
	}
}
