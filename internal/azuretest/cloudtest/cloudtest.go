// Package cloudtest gives tests a simulated cloud and the real tools: the part of the test kit that knows packages of
// this module. Only tests import it.
//
//	c := cloudtest.Start(t, azuresim.Config{}) // closed with the test; c.Sim is the simulator
//	options := azcore.ClientOptions{Cloud: c.Configuration, Transport: c.Client}
//	// c is an azcore.TokenCredential whose tokens the simulator accepts
//	tools := cloudtest.Tools(t)                // terraform and azurerm; go test -short leaves this test out
package cloudtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sockerless/backend-azf/internal/azurecloud"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// Cloud is a running simulator and a client of it.
type Cloud struct {
	Sim *azuresim.Sim
	// Access holds what other processes and Terraform need to use Sim.
	Access azuresim.Access
	// Configuration is for clients of Azure's SDK.
	Configuration cloud.Configuration
	// Transport reaches Sim under every host name; Client is a client with it.
	Transport *http.Transport
	Client    *http.Client
}

var _ azcore.TokenCredential = (*Cloud)(nil)

// Start starts a simulator that is closed with the test. An empty Dir becomes a folder of the test.
func Start(t testing.TB, cfg azuresim.Config) *Cloud {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "azuresim")
	}
	sim, err := azuresim.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cloud{Sim: sim, Access: sim.Access(), Transport: sim.Transport()}
	c.Client = &http.Client{Transport: c.Transport}
	t.Cleanup(func() {
		c.Transport.CloseIdleConnections()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	read, err := azurecloud.Read(t.Context(), sim.URL(), "", c.Transport)
	if err != nil {
		t.Fatal(err)
	}
	c.Configuration = read.Configuration
	return c
}

// GetToken implements azcore.TokenCredential: it asks the simulator for a token of its service principal.
func (c *Cloud) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.Access.ClientID}, "client_secret": {c.Access.ClientSecret},
		"scope": {strings.Join(o.Scopes, " ")},
	}
	address := c.Access.URL + "/" + c.Access.TenantID + "/oauth2/v2.0/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return azcore.AccessToken{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.Client.Do(req)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	var answer struct {
		Token   string `json:"access_token"`
		Seconds int    `json:"expires_in"`
	}
	err = errors.Join(json.NewDecoder(resp.Body).Decode(&answer), resp.Body.Close())
	if err != nil || answer.Token == "" {
		return azcore.AccessToken{}, errors.Join(fmt.Errorf("no token for %s: %s", form["scope"], resp.Status), err)
	}
	expires := time.Now().Add(time.Duration(answer.Seconds) * time.Second)
	return azcore.AccessToken{Token: answer.Token, ExpiresOn: expires}, nil
}

// Tools returns terraform and azurerm, which it installs or builds if necessary: that can take ten minutes. It skips
// the test under go test -short, and fails the test if it cannot obtain the tools.
func Tools(t testing.TB) toolchain.Tools {
	t.Helper()
	return prepare(t, toolchain.Config{})
}

// Tofu is Tools with OpenTofu in place of terraform.
func Tofu(t testing.TB) toolchain.Tools {
	t.Helper()
	return prepare(t, toolchain.Config{Tofu: true})
}

func prepare(t testing.TB, cfg toolchain.Config) toolchain.Tools {
	t.Helper()
	azuretest.Needs(t, "terraform and azurerm")
	tools, err := toolchain.Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tools
}
