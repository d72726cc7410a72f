package azuresim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// Access holds what a client needs to use a simulator, in the same process or another one. It can be sent as JSON.
type Access struct {
	// URL is Sim.URL, CAFile is Sim.CAFile.
	URL, CAFile string
	// SubscriptionID, TenantID, ClientID and ClientSecret are those of the one service principal.
	SubscriptionID, TenantID, ClientID, ClientSecret string
}

// Access returns what clients of s need.
func (s *Sim) Access() Access {
	return Access{
		URL: s.url, CAFile: s.tls.caFile, SubscriptionID: s.cfg.SubscriptionID,
		TenantID: s.cfg.TenantID, ClientID: s.cfg.ClientID, ClientSecret: s.cfg.ClientSecret,
	}
}

// Transport returns a new transport that reaches the simulator under every host name and trusts only its CA. Unlike
// Sim.Transport, it resolves the names of function apps that do not exist. The caller closes its idle connections.
func (a Access) Transport() (*http.Transport, error) {
	ca, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read azuresim's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read azuresim's CA: %s holds no certificate", a.CAFile)
	}
	dialer := &net.Dialer{}
	return &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, strings.TrimPrefix(a.URL, "https://"))
		},
	}, nil
}

// CredentialEnv returns the environment variables from which azidentity's EnvironmentCredential, and this product's
// credential method "environment", take the service principal.
func (a Access) CredentialEnv() map[string]string {
	return map[string]string{
		"AZURE_TENANT_ID": a.TenantID, "AZURE_CLIENT_ID": a.ClientID, "AZURE_CLIENT_SECRET": a.ClientSecret,
	}
}

// TerraformEnv returns the environment variables that make azurerm use the simulator with the service principal.
func (a Access) TerraformEnv() map[string]string {
	return map[string]string{
		"ARM_METADATA_HOSTNAME": strings.TrimPrefix(a.URL, "https://"), "SSL_CERT_FILE": a.CAFile,
		"ARM_SUBSCRIPTION_ID": a.SubscriptionID, "ARM_TENANT_ID": a.TenantID,
		"ARM_CLIENT_ID": a.ClientID, "ARM_CLIENT_SECRET": a.ClientSecret, "ARM_USE_CLI": "false",
	}
}
