package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azurecloud"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// machine is a machine on which the chain looks for a credential: its environment, its Azure CLI, what answers at the
// address of Azure's instance metadata, and the login of a simulated cloud.
type machine struct {
	chain    daemon.CredentialChain
	env      map[string]string
	metadata http.Handler // nil refuses connections
	login    bool         // whether the login is reachable
	warnings bytes.Buffer
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	for _, name := range []string{
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("PATH", "/bin:/usr/bin") // without az
	sim := cloudtest.Start(t, azuresim.Config{})
	cloud, err := azurecloud.Read(t.Context(), sim.Sim.URL(), "", sim.Transport)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{env: map[string]string{}, login: true}
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.metadata.ServeHTTP(w, r)
	}))
	t.Cleanup(metadata.Close)
	transport := sim.Transport.Clone()
	t.Cleanup(transport.CloseIdleConnections)
	dial := sim.Transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		refused := &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", os.ErrDeadlineExceeded)}
		switch {
		case addr == "169.254.169.254:80" && m.metadata == nil:
			return nil, refused
		case addr == "169.254.169.254:80":
			return (&net.Dialer{}).DialContext(ctx, network, metadata.Listener.Addr().String())
		case !m.login:
			return nil, refused
		}
		return dial(ctx, network, addr)
	}
	m.chain = daemon.CredentialChain{
		Getenv: func(name string) string { return m.env[name] }, Cloud: cloud, SubscriptionID: azuresim.DefaultSubscriptionID,
		Transport: &http.Client{Transport: transport}, Timeout: 10 * time.Second, Log: zerolog.New(&m.warnings),
	}
	return m
}

// principal sets the variables of the simulator's service principal, with a secret.
func (m *machine) principal(secret string) {
	m.env["AZURE_TENANT_ID"], m.env["AZURE_CLIENT_ID"] = azuresim.DefaultTenantID, azuresim.DefaultClientID
	m.env["AZURE_CLIENT_SECRET"] = secret
}

// tenantOfSubscription is that of the account that az has for the subscription.
const tenantOfSubscription = "7e1e0000-0000-4000-8000-000000000007"

// az puts an Azure CLI on PATH, a shell script of which the part for az account get-access-token is given. It appends
// its arguments to the returned file.
func (m *machine) az(t *testing.T, getToken string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	script := fmt.Sprintf(`#!/bin/sh
echo "$*" >> %s
case "$*" in
"account show --subscription %s "*) echo %s ;;
"account show "*) echo "ERROR: Subscription not found. Check the spelling and casing and try again." >&2; exit 1 ;;
"account get-access-token "*) %s ;;
esac
`, calls, azuresim.DefaultSubscriptionID, tenantOfSubscription, getToken)
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	return calls
}

const (
	azToken   = `echo '{"accessToken": "of az", "expires_on": 4102444800}'`
	azExpired = `echo "WARNING: be careful" >&2; echo "ERROR: AADSTS70043: The refresh token has expired. ` +
		`Interactive authentication is needed. Please run: az login" >&2; exit 1`
	azOffline = `echo "ERROR: Please ensure you have network connection. Error detail: HTTPSConnectionPool" >&2; exit 1`
)

// answers returns a metadata service that answers every request the same.
func answers(status int, kind, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		if _, err := w.Write([]byte(body)); err != nil {
			panic(err)
		}
	})
}

// azureVM is the metadata service of a virtual machine with one user-assigned identity.
func azureVM(clientID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Metadata") != "true" || q.Get("resource") == "" || q.Get("client_id") != clientID {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_request","error_description":"Identity not found"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"of the machine","expires_in":"3600","token_type":"Bearer","resource":"x"}`))
	})
}

const noIdentity = `{"error":"invalid_request","error_description":"Identity not found"}`

func TestCredentialFallsThrough(t *testing.T) {
	for name, row := range map[string]struct {
		prepare func(*testing.T, *machine)
		want    string   // method
		reasons []string // in the error if want is empty
	}{
		"service principal": {
			prepare: func(_ *testing.T, m *machine) { m.principal(azuresim.DefaultClientSecret) }, want: "environment",
		},
		"its secret has expired": {
			prepare: func(t *testing.T, m *machine) { m.principal("old"); m.az(t, azToken) }, want: "azure-cli",
		},
		"its tenant is not given": {
			prepare: func(t *testing.T, m *machine) {
				m.principal("s")
				m.env["AZURE_TENANT_ID"] = ""
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"a federated token that is missing": {
			prepare: func(t *testing.T, m *machine) {
				m.principal("")
				m.env["AZURE_FEDERATED_TOKEN_FILE"] = filepath.Join(t.TempDir(), "token")
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"a virtual machine": {
			prepare: func(_ *testing.T, m *machine) {
				m.env["AZURE_CLIENT_ID"], m.metadata = "of a machine", azureVM("of a machine")
			}, want: "managed-identity",
		},
		"a virtual machine without identity": {
			prepare: func(t *testing.T, m *machine) {
				m.metadata = answers(400, "application/json", noIdentity)
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"another identity than AZURE_CLIENT_ID": {
			prepare: func(t *testing.T, m *machine) {
				m.env["AZURE_CLIENT_ID"], m.metadata = "wanted", azureVM("other")
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"metadata of Amazon": {
			prepare: func(t *testing.T, m *machine) {
				m.env["AZURE_CLIENT_ID"], m.metadata = "aws", answers(404, "text/html", "<h1>404 - Not Found</h1>")
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"metadata of Google": {
			prepare: func(t *testing.T, m *machine) {
				m.env["AZURE_CLIENT_ID"], m.metadata = "gcp", answers(403, "text/html", "Missing Metadata-Flavor:Google header.")
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"a page in place of metadata": {
			prepare: func(t *testing.T, m *machine) {
				m.env["AZURE_CLIENT_ID"], m.metadata = "page", answers(200, "text/html", "<h1>hello</h1>")
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"a proxy in place of metadata": {
			prepare: func(t *testing.T, m *machine) {
				m.env["AZURE_CLIENT_ID"], m.metadata = "proxy", answers(503, "text/html", "no route")
				m.az(t, azToken)
			}, want: "azure-cli",
		},
		"a login that cannot be reached": {
			prepare: func(t *testing.T, m *machine) {
				m.principal(azuresim.DefaultClientSecret)
				m.login = false
				m.az(t, azToken)
			}, want: "environment",
		},
		"az that cannot reach the login": {
			prepare: func(t *testing.T, m *machine) { m.az(t, azOffline) }, want: "azure-cli",
		},
		"nothing": {
			reasons: []string{
				"environment: not set: AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH: set AZURE_TENANT_ID",
				"workload-identity: not set: AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID, AZURE_CLIENT_ID: ",
				"managed-identity: ", "give this machine an identity", "azure-cli: az is not on PATH: install",
			},
		},
		"everything fails": {
			prepare: func(t *testing.T, m *machine) {
				m.principal("old")
				m.env["AZURE_FEDERATED_TOKEN_FILE"] = filepath.Join(t.TempDir(), "token")
				m.metadata = answers(400, "application/json", noIdentity)
				m.az(t, azExpired)
			},
			reasons: []string{
				"environment: AADSTS7000215: Invalid client secret provided.", "no such file or directory",
				"managed-identity: Identity not found", "azure-cli: ", "AADSTS70043: The refresh token has expired.",
			},
		},
		"az without the subscription": {
			prepare: func(t *testing.T, m *machine) {
				m.az(t, azToken)
				m.chain.SubscriptionID = "00000000-0000-0000-0000-000000000000"
			},
			reasons: []string{"azure-cli: az account show: exit status 1: ERROR: Subscription not found."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if row.prepare != nil {
				row.prepare(t, m)
			}
			credential, err := m.chain.Choose(t.Context(), config.MethodAuto)
			if row.want != "" {
				if err != nil || credential.Method != row.want {
					t.Fatalf("got %q, %v, want %s", credential.Method, err, row.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("got %s, want an error", credential.Method)
			}
			for _, reason := range row.reasons {
				if !strings.Contains(err.Error(), reason) {
					t.Errorf("the error lacks %q: %v", reason, err)
				}
			}
			if lines := strings.Count(err.Error(), "\n"); lines != 4 {
				t.Errorf("%d reasons, want 4: %v", lines, err)
			}
		})
	}
}

func TestNamedCredential(t *testing.T) {
	m := newMachine(t)
	m.principal("old")
	if _, err := m.chain.Choose(t.Context(), config.MethodEnvironment); err == nil ||
		!strings.Contains(err.Error(), "credential environment: AADSTS7000215: Invalid client secret") {
		t.Errorf("a wrong secret: got %v", err)
	}
	for _, method := range []string{config.MethodEnvironment, config.MethodManagedIdentity, config.MethodAzureCLI} {
		m := newMachine(t)
		m.login = false
		m.principal("s")
		m.az(t, azOffline)
		credential, err := m.chain.Choose(t.Context(), method)
		if err != nil || credential.Method != method || credential.Token == nil {
			t.Errorf("%s without a network: got %+v, %v", method, credential, err)
		}
		if !strings.Contains(m.warnings.String(), "could not be reached") {
			t.Errorf("%s without a network: no warning in %q", method, &m.warnings)
		}
	}
	m = newMachine(t)
	m.env["AZURE_CLIENT_ID"], m.metadata = "named", answers(400, "application/json", noIdentity)
	if _, err := m.chain.Choose(t.Context(), config.MethodManagedIdentity); err == nil {
		t.Error("a machine without identity was taken")
	}
	hangs := make(chan struct{})
	m.metadata = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs })
	m.chain.Timeout = time.Millisecond
	if _, err := m.chain.Choose(t.Context(), config.MethodManagedIdentity); err != nil {
		t.Errorf("a service that does not answer: got %v", err)
	}
	close(hangs)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if _, err := m.chain.Choose(ctx, config.MethodAuto); !errors.Is(err, stopped) {
		t.Errorf("after a stop: got %v", err)
	}
}

// TestAzureCLIAsksForTheSubscription has an az whose default account is in another tenant than the subscription.
func TestAzureCLIAsksForTheSubscription(t *testing.T) {
	m := newMachine(t)
	calls := m.az(t, azToken)
	m.env["AZURE_TENANT_ID"] = "of something else"
	credential, err := m.chain.Choose(t.Context(), config.MethodAzureCLI)
	if err != nil {
		t.Fatal(err)
	}
	if got := credential.Terraform; got["ARM_TENANT_ID"] != tenantOfSubscription || got["ARM_USE_CLI"] != "true" ||
		got["ARM_USE_MSI"] != "false" {
		t.Errorf("azurerm gets %v", got)
	}
	content, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for call := range strings.Lines(string(content)) {
		if !strings.Contains(call, "--subscription "+azuresim.DefaultSubscriptionID) || strings.Contains(call, "--tenant") {
			t.Errorf("az was called with %s", call)
		}
	}
}

// TestManagedIdentityOfAnotherService has the identity service of App Service, which azurerm does not know.
func TestManagedIdentityOfAnotherService(t *testing.T) {
	m := newMachine(t)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-IDENTITY-HEADER") != "header" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"for %s","expires_on":"4102444800","token_type":"Bearer"}`,
			r.URL.Query().Get("resource"))
	}))
	defer service.Close()
	t.Setenv("IDENTITY_ENDPOINT", service.URL)
	t.Setenv("IDENTITY_HEADER", "header")
	m.env["AZURE_CLIENT_ID"], m.env["IDENTITY_HEADER"] = "of an app", "header"
	m.chain.Transport = nil
	credential, err := m.chain.Choose(t.Context(), config.MethodAuto)
	if err != nil || credential.Method != config.MethodManagedIdentity {
		t.Fatalf("got %q, %v", credential.Method, err)
	}
	options := policy.TokenRequestOptions{Scopes: []string{"x/.default"}}
	if _, err := credential.Token.GetToken(t.Context(), options); err != nil {
		t.Error(err)
	}
	if credential.Terraform["IDENTITY_HEADER"] != "header" {
		t.Error("the backend of OpenTofu does not reach the service")
	}
	// What azurerm does.
	ask := func(query, metadata string) (int, map[string]string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			credential.Terraform["ARM_MSI_ENDPOINT"]+"?api-version=2018-02-01"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Metadata", metadata)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		}()
		var body map[string]string
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
		}
		return resp.StatusCode, body
	}
	resource := "&resource=https%3A%2F%2Fmanagement.example.com&client_id=of+an+app"
	if status, body := ask(resource, "true"); status != http.StatusOK ||
		body["access_token"] != "for https://management.example.com" || body["expires_in"] == "" {
		t.Errorf("azurerm gets %d %v", status, body)
	}
	if status, _ := ask(resource, ""); status != http.StatusBadRequest {
		t.Errorf("without the header Metadata: got %d", status)
	}
}
