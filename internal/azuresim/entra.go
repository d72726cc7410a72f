package azuresim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// logsPath is below the simulator's URL. Both together are the endpoint of Log Analytics and the audience of its
// tokens, which are not for Resource Manager.
const logsPath = "/loganalytics"

const (
	tokenLifetime = time.Hour
	// principalID is the object id of the service principal in the tenant.
	principalID = "5c1e0004-0000-4000-8000-000000000004"
)

// serveMetadata answers with the endpoints of the cloud. All endpoints that clients call are this simulator's, so that
// nothing leaves the machine by mistake. The suffixes are the public cloud's, because azurerm wants them well-formed.
func (s *Sim) serveMetadata(w http.ResponseWriter, r *http.Request) {
	version := r.URL.Query().Get("api-version")
	if r.Method != http.MethodGet || r.URL.Path != "/metadata/endpoints" || version != "2022-09-01" {
		s.unknownRoute(w, r)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"name":   "azuresim",
		"portal": s.url,
		"authentication": map[string]any{
			"loginEndpoint": s.url, "audiences": []string{s.url}, "tenant": "common", "identityProvider": "AAD",
		},
		"resourceManager":                       s.url,
		"microsoftGraphResourceId":              s.url + "/graph",
		"graph":                                 s.url + "/graph",
		"graphAudience":                         s.url + "/graph",
		"logAnalyticsResourceId":                s.url + logsPath,
		"appInsightsResourceId":                 "https://api.applicationinsights.io",
		"appInsightsTelemetryChannelResourceId": "https://dc.applicationinsights.azure.com/v2/track",
		"attestationResourceId":                 "https://attest.azure.net",
		"synapseAnalyticsResourceId":            "https://dev.azuresynapse.net",
		"ossrDbmsResourceId":                    "https://ossrdbms-aad.database.windows.net",
		"activeDirectoryDataLake":               "https://datalake.azure.net/",
		"batch":                                 "https://batch.core.windows.net/",
		"media":                                 "https://rest.media.azure.net",
		"sqlManagement":                         s.url,
		"gallery":                               s.url,
		"suffixes": map[string]string{
			"acrLoginServer":                      registrySuffix,
			"attestationEndpoint":                 "attest.azure.net",
			"azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
			"azureDataLakeStoreFileSystem":        "azuredatalakestore.net",
			"azureFrontDoorEndpointSuffix":        "azurefd.net",
			"keyVaultDns":                         "vault.azure.net",
			"mariadbServerEndpoint":               "mariadb.database.azure.com",
			"mhsmDns":                             "managedhsm.azure.net",
			"mysqlServerEndpoint":                 "mysql.database.azure.com",
			"postgresqlServerEndpoint":            "postgres.database.azure.com",
			"sqlServerHostname":                   "database.windows.net",
			"storage":                             "core.windows.net",
			"storageSyncEndpointSuffix":           "afs.azure.net",
			"synapseAnalytics":                    "dev.azuresynapse.net",
		},
	})
}

// serveEntra answers discovery and token requests of the one tenant.
func (s *Sim) serveEntra(w http.ResponseWriter, r *http.Request) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch r.Method + " " + rest {
	case "GET discovery/instance":
		writeJSON(w, http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": s.url + "/" + s.cfg.TenantID + "/v2.0/.well-known/openid-configuration",
			"api-version":               "1.1",
			"metadata": []any{map[string]any{
				"preferred_network": s.Registry(), "preferred_cache": s.Registry(), "aliases": []string{s.Registry()},
			}},
		})
		return
	case "GET v2.0/.well-known/openid-configuration", "POST oauth2/v2.0/token":
	default:
		s.unknownRoute(w, r)
		return
	}
	if first != s.cfg.TenantID {
		s.refuseToken(w, http.StatusBadRequest, "invalid_request", 90002,
			fmt.Sprintf("Tenant '%s' not found. Check to make sure you have the correct tenant ID.", first))
		return
	}
	if r.Method == http.MethodPost {
		s.serveToken(w, r)
		return
	}
	base := s.url + "/" + s.cfg.TenantID
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                base + "/v2.0",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
	})
}

func (s *Sim) serveToken(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.refuseToken(w, http.StatusBadRequest, "invalid_request", 900144, "The request body could not be read.")
		return
	}
	if grant := r.PostForm.Get("grant_type"); grant != "client_credentials" {
		s.refuseToken(w, http.StatusBadRequest, "unsupported_grant_type", 70003,
			fmt.Sprintf("The app requested an unsupported grant type '%s'.", grant))
		return
	}
	if id := r.PostForm.Get("client_id"); id != s.cfg.ClientID {
		s.refuseToken(w, http.StatusBadRequest, "unauthorized_client", 700016,
			fmt.Sprintf("Application with identifier '%s' was not found in the directory '%s'.", id, s.cfg.TenantID))
		return
	}
	if r.PostForm.Has("client_assertion") {
		if code, problem := s.checkAssertion(r.PostForm); problem != "" {
			s.refuseToken(w, http.StatusUnauthorized, "invalid_client", code, problem)
			return
		}
	} else if r.PostForm.Get("client_secret") != s.cfg.ClientSecret {
		s.refuseToken(w, http.StatusUnauthorized, "invalid_client", 7000215,
			"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "+
				"not the client secret ID, for a secret added to app '"+s.cfg.ClientID+"'.")
		return
	}
	audience, err := audienceOf(r.PostForm.Get("scope"))
	if err != nil {
		s.refuseToken(w, http.StatusBadRequest, "invalid_scope", 1002012, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int(tokenLifetime / time.Second),
		"ext_expires_in": int(tokenLifetime / time.Second),
		"access_token":   s.newToken(audience),
	})
}

// checkAssertion accepts any unexpired token of another issuer whose audience is the token exchange: azuresim has no
// list of federated credentials.
func (s *Sim) checkAssertion(form url.Values) (code int, problem string) {
	const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	var claims struct {
		Audience  any    `json:"aud"`
		Issuer    string `json:"iss"`
		Subject   string `json:"sub"`
		ExpiresAt int64  `json:"exp"`
	}
	parts := strings.Split(form.Get("client_assertion"), ".")
	if form.Get("client_assertion_type") != jwtBearer || len(parts) != 3 || decodeSegment(parts[1], &claims) != nil ||
		claims.Issuer == "" || claims.Subject == "" {
		return 50027, "JWT token is invalid or malformed."
	}
	if audience := fmt.Sprint(claims.Audience); strings.Trim(audience, "[]") != "api://AzureADTokenExchange" {
		return 700212, fmt.Sprintf(
			"No matching federated identity record found for presented assertion audience '%s'.", audience)
	}
	if s.cfg.Now().Unix() >= claims.ExpiresAt {
		return 700024, "Client assertion is not within its valid time range."
	}
	return 0, ""
}

// audienceOf returns the audience of a client-credentials scope, which must be RESOURCE/.default.
func audienceOf(scope string) (string, error) {
	for part := range strings.FieldsSeq(scope) {
		if audience, ok := strings.CutSuffix(part, "/.default"); ok && audience != "" {
			return strings.TrimRight(audience, "/"), nil
		}
	}
	return "", fmt.Errorf("the provided value for scope %s is not valid: "+
		"client credential flows must have a scope value with /.default", scope)
}

func (s *Sim) refuseToken(w http.ResponseWriter, status int, kind string, code int, problem string) {
	now, trace, correlation := s.cfg.Now().UTC().Format("2006-01-02 15:04:05Z"), uuid.NewString(), uuid.NewString()
	writeJSON(w, status, map[string]any{
		"error": kind,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			code, problem, trace, correlation, now),
		"error_codes": []int{code},
		"timestamp":   now, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("%s/error?code=%d", s.url, code),
	})
}

// tokenClaims are the claims of Entra's tokens that clients or the simulator itself read.
type tokenClaims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	ExpiresAt int64  `json:"exp"`
	AppID     string `json:"appid"`
	IDType    string `json:"idtyp"`
	ObjectID  string `json:"oid"`
	Subject   string `json:"sub"`
	TenantID  string `json:"tid"`
	Version   string `json:"ver"`
}

// newToken signs with a key of the simulator's own (HS256). A token is opaque to all but its resource, which is the
// simulator.
func (s *Sim) newToken(audience string) string {
	now := s.cfg.Now()
	claims, err := json.Marshal(tokenClaims{
		Audience: audience, Issuer: "https://sts.windows.net/" + s.cfg.TenantID + "/",
		IssuedAt: now.Unix(), NotBefore: now.Unix(), ExpiresAt: now.Add(tokenLifetime).Unix(),
		AppID: s.cfg.ClientID, IDType: "app", ObjectID: principalID, Subject: principalID, TenantID: s.cfg.TenantID,
		Version: "1.0",
	})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + encode(claims)
	return signed + "." + s.signature(signed)
}

func (s *Sim) signature(signed string) string {
	mac := hmac.New(sha256.New, s.tokenKey)
	mac.Write([]byte(signed))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// checkToken returns the reason why the caller of r may not use a resource with one of these audiences, or nil.
func (s *Sim) checkToken(r *http.Request, audiences ...string) *armError {
	header := r.Header.Get("Authorization")
	if header == "" {
		return refusal(http.StatusUnauthorized, "AuthenticationFailed",
			"Authentication failed. The 'Authorization' header is missing.")
	}
	claims, err := s.parseToken(header)
	switch {
	case err != nil:
		return refusal(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	case s.cfg.Now().Unix() >= claims.ExpiresAt:
		return refusal(http.StatusUnauthorized, "ExpiredAuthenticationToken",
			"The access token expiry UTC time is earlier than current UTC time.")
	case !slices.Contains(audiences, claims.Audience):
		return refusal(http.StatusUnauthorized, "InvalidAuthenticationTokenAudience",
			"The access token has been obtained for wrong audience or resource '%s'. "+
				"It should exactly match with one of the allowed audiences '%s'.",
			claims.Audience, strings.Join(audiences, "', '"))
	}
	return nil
}

func (s *Sim) parseToken(header string) (tokenClaims, error) {
	var claims tokenClaims
	token, ok := strings.CutPrefix(header, "Bearer ")
	i := strings.LastIndex(token, ".")
	if !ok || i < 0 || !hmac.Equal([]byte(s.signature(token[:i])), []byte(token[i+1:])) {
		return claims, errors.New("read token: azuresim did not issue it")
	}
	_, payload, _ := strings.Cut(token[:i], ".")
	return claims, decodeSegment(payload, &claims)
}

func decodeSegment(segment string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return fmt.Errorf("decode token: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode token: %w", err)
	}
	return nil
}
