package azuresim_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

func TestAzidentity(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	withSecret := func(tenant, client, secret string) (azcore.TokenCredential, error) {
		return azidentity.NewClientSecretCredential(tenant, client, secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: a.options(), DisableInstanceDiscovery: true})
	}
	withAssertion := func(claims map[string]any) (azcore.TokenCredential, error) {
		return azidentity.NewClientAssertionCredential(azuresim.DefaultTenantID, azuresim.DefaultClientID,
			func(context.Context) (string, error) { return unsignedJWT(t, claims), nil },
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: a.options(), DisableInstanceDiscovery: true})
	}
	const exchange, other = "api://AzureADTokenExchange", "00000000-0000-4000-8000-000000000000"
	inAnHour := time.Now().Add(time.Hour).Unix()
	for _, row := range []struct {
		name       string
		credential func() (azcore.TokenCredential, error)
		want       string // in the error; "" is success
	}{
		{"secret", func() (azcore.TokenCredential, error) {
			return withSecret(azuresim.DefaultTenantID, azuresim.DefaultClientID, azuresim.DefaultClientSecret)
		}, ""},
		{"wrong secret", func() (azcore.TokenCredential, error) {
			return withSecret(azuresim.DefaultTenantID, azuresim.DefaultClientID, "guess")
		}, "AADSTS7000215"},
		{"wrong client", func() (azcore.TokenCredential, error) {
			return withSecret(azuresim.DefaultTenantID, other, azuresim.DefaultClientSecret)
		}, "AADSTS700016"},
		{"wrong tenant", func() (azcore.TokenCredential, error) {
			return withSecret(other, azuresim.DefaultClientID, azuresim.DefaultClientSecret)
		}, "AADSTS90002"},
		{"federated token", func() (azcore.TokenCredential, error) {
			return withAssertion(map[string]any{"iss": "https://ci", "sub": "repo:x", "aud": exchange, "exp": inAnHour})
		}, ""},
		{"federated token for others", func() (azcore.TokenCredential, error) {
			return withAssertion(map[string]any{"iss": "https://ci", "sub": "repo:x", "aud": "https://ci", "exp": inAnHour})
		}, "AADSTS700212"},
		{"expired federated token", func() (azcore.TokenCredential, error) {
			return withAssertion(map[string]any{"iss": "https://ci", "sub": "repo:x", "aud": exchange, "exp": 1})
		}, "AADSTS700024"},
		{"federated token of nobody", func() (azcore.TokenCredential, error) {
			return withAssertion(map[string]any{"aud": exchange, "exp": inAnHour})
		}, "AADSTS50027"},
	} {
		t.Run(row.name, func(t *testing.T) {
			credential, err := row.credential()
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{a.URL() + "/.default"}})
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Fatalf("error %v, want %s", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			result, err := a.do("GET", planPath("x")+webAPI, token.Token, nil)
			if err != nil || result.code != "ResourceNotFound" {
				t.Errorf("with the token: %+v %v", result, err)
			}
		})
	}
}

func TestTokenClaims(t *testing.T) {
	t.Parallel()
	a := start(t, azuresim.Config{})
	var claims map[string]any
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(a.token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	for claim, want := range map[string]string{
		"aud": a.URL(), "tid": azuresim.DefaultTenantID, "appid": azuresim.DefaultClientID, "idtyp": "app",
	} {
		if claims[claim] != want {
			t.Errorf("claim %s is %v, want %s", claim, claims[claim], want)
		}
	}
	if claims["oid"] == nil {
		t.Error("no claim oid: azurerm would ask Microsoft Graph for it")
	}
}

func TestTokenIsChecked(t *testing.T) {
	t.Parallel()
	var clock azuretest.ShiftedClock
	a := start(t, azuresim.Config{Now: clock.Now})
	logs := a.URL() + "/loganalytics"
	query := "/loganalytics/v1/workspaces/" + azuresim.DefaultTenantID + "/query"
	check := func(name, path, token string, status int, code string) {
		t.Helper()
		result, err := a.do("GET", path, token, nil)
		if err != nil || result.status != status || result.code != code {
			t.Errorf("%s: %d %s (%s) %v, want %d %s", name, result.status, result.code, result.message, err, status, code)
		}
		challenged := strings.HasPrefix(result.header.Get("WWW-Authenticate"), "Bearer ")
		if status == http.StatusUnauthorized && path != query && !challenged {
			t.Errorf("%s: no challenge", name)
		}
	}
	plan := planPath("x") + webAPI
	check("arm without token", plan, "", 401, "AuthenticationFailed")
	check("arm with garbage", plan, "garbage", 401, "InvalidAuthenticationToken")
	check("arm with a forged token", plan, a.token[:len(a.token)-4]+"AAAA", 401, "InvalidAuthenticationToken")
	check("arm with a token for logs", plan, a.tokenFor(logs), 401, "InvalidAuthenticationTokenAudience")
	public := a.tokenFor("https://management.azure.com")
	check("arm with the public cloud's audience", plan, public, 404, "ResourceNotFound")
	check("logs without token", query, "", 401, "AuthenticationFailed")
	check("logs with a token for arm", query, a.token, 403, "InsufficientAccessError")
	check("logs of an unknown workspace", query, a.tokenFor(logs), 404, "PathNotFoundError")
	clock.Advance(2 * time.Hour)
	check("arm with an expired token", plan, a.token, 401, "ExpiredAuthenticationToken")
}

func unsignedJWT(t *testing.T, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(payload) + ".c2ln"
}
