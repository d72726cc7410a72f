package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/sockerless/backend-azf/internal/config"
)

// Credential is one identity for both sides: the Go SDK and the azurerm provider.
type Credential struct {
	// Method names the link of the chain that was taken: one of config's Method constants.
	Method string
	Token  azcore.TokenCredential
	// Terraform is the same credential as azurerm's settings.
	Terraform map[string]string
}

// CredentialChain finds a credential.
type CredentialChain struct {
	Getenv  func(string) string
	Options azcore.ClientOptions
	// DisableInstanceDiscovery is for clouds that Microsoft's directory of clouds does not list.
	DisableInstanceDiscovery bool
	// OnAzureVM reports whether the machine's identity service answers.
	OnAzureVM func(context.Context) bool
}

// NewCredentialChain returns the chain that looks at this machine.
func NewCredentialChain(opts azcore.ClientOptions) CredentialChain {
	return CredentialChain{Getenv: os.Getenv, Options: opts, OnAzureVM: imdsAnswers}
}

// imdsAnswers dials Azure's instance metadata service, at a link-local address that other machines do not route.
func imdsAnswers(ctx context.Context) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", "169.254.169.254:80")
	return err == nil && conn.Close() == nil
}

// Choose takes the link that method names, or with config.MethodAuto the first that this machine has.
func (c CredentialChain) Choose(ctx context.Context, method string) (Credential, error) {
	switch method {
	case config.MethodAuto:
		switch {
		case c.Getenv("AZURE_CLIENT_ID") != "" &&
			(c.Getenv("AZURE_CLIENT_SECRET") != "" || c.Getenv("AZURE_CLIENT_CERTIFICATE_PATH") != ""):
			method = config.MethodEnvironment
		case c.Getenv("AZURE_FEDERATED_TOKEN_FILE") != "":
			method = config.MethodWorkloadIdentity
		case c.OnAzureVM(ctx):
			method = config.MethodManagedIdentity
		default:
			if _, err := exec.LookPath("az"); err != nil {
				return Credential{}, errors.New("no Azure credential found: set AZURE_TENANT_ID, AZURE_CLIENT_ID and " +
					"AZURE_CLIENT_SECRET, or install the Azure CLI and run az login")
			}
			method = config.MethodAzureCLI
		}
		return c.Choose(ctx, method)
	case config.MethodEnvironment:
		return c.environment()
	case config.MethodWorkloadIdentity:
		return c.workloadIdentity()
	case config.MethodManagedIdentity:
		return c.managedIdentity()
	case config.MethodAzureCLI:
		token, err := azidentity.NewAzureCLICredential(nil)
		return c.finish(method, token, err, map[string]string{"ARM_USE_CLI": "true"})
	default:
		return Credential{}, fmt.Errorf("credential %q: use %s", method, strings.Join(config.Methods(), ", "))
	}
}

// finish completes a link. It turns off the other methods of azurerm.
func (c CredentialChain) finish(
	method string, token azcore.TokenCredential, err error, terraform map[string]string,
) (Credential, error) {
	if err != nil {
		return Credential{}, fmt.Errorf("credential %s: %w", method, err)
	}
	for _, name := range []string{"ARM_USE_CLI", "ARM_USE_MSI", "ARM_USE_OIDC"} {
		if terraform[name] == "" {
			terraform[name] = "false"
		}
	}
	return Credential{Method: method, Token: token, Terraform: terraform}, nil
}

func (c CredentialChain) environment() (Credential, error) {
	tenant, client := c.Getenv("AZURE_TENANT_ID"), c.Getenv("AZURE_CLIENT_ID")
	secret := c.Getenv("AZURE_CLIENT_SECRET")
	if tenant == "" || client == "" {
		return Credential{}, errors.New("credential environment: set AZURE_TENANT_ID and AZURE_CLIENT_ID")
	}
	terraform := map[string]string{"ARM_TENANT_ID": tenant, "ARM_CLIENT_ID": client}
	if secret != "" {
		terraform["ARM_CLIENT_SECRET"] = secret
		options := azidentity.ClientSecretCredentialOptions{
			ClientOptions: c.Options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
		}
		token, err := azidentity.NewClientSecretCredential(tenant, client, secret, &options)
		return c.finish(config.MethodEnvironment, token, err, terraform)
	}
	path := c.Getenv("AZURE_CLIENT_CERTIFICATE_PATH")
	password := c.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD")
	content, err := os.ReadFile(path)
	if err != nil {
		return Credential{}, fmt.Errorf("credential environment: read certificate: %w", err)
	}
	certs, key, err := azidentity.ParseCertificates(content, []byte(password))
	if err != nil {
		return Credential{}, fmt.Errorf("credential environment: parse certificate: %w", err)
	}
	terraform["ARM_CLIENT_CERTIFICATE_PATH"] = path
	terraform["ARM_CLIENT_CERTIFICATE_PASSWORD"] = password
	options := azidentity.ClientCertificateCredentialOptions{
		ClientOptions: c.Options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
	}
	token, err := azidentity.NewClientCertificateCredential(tenant, client, certs, key, &options)
	return c.finish(config.MethodEnvironment, token, err, terraform)
}

func (c CredentialChain) workloadIdentity() (Credential, error) {
	tenant, client := c.Getenv("AZURE_TENANT_ID"), c.Getenv("AZURE_CLIENT_ID")
	file := c.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	if tenant == "" || client == "" || file == "" {
		return Credential{}, errors.New("credential workload-identity: " +
			"set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE")
	}
	token, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: c.Options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
		TenantID: tenant, ClientID: client, TokenFilePath: file,
	})
	return c.finish(config.MethodWorkloadIdentity, token, err, map[string]string{
		"ARM_USE_OIDC": "true", "ARM_TENANT_ID": tenant, "ARM_CLIENT_ID": client, "ARM_OIDC_TOKEN_FILE_PATH": file,
	})
}

func (c CredentialChain) managedIdentity() (Credential, error) {
	terraform := map[string]string{"ARM_USE_MSI": "true"}
	opts := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: c.Options}
	if client := c.Getenv("AZURE_CLIENT_ID"); client != "" {
		terraform["ARM_CLIENT_ID"] = client
		opts.ID = azidentity.ClientID(client)
	}
	token, err := azidentity.NewManagedIdentityCredential(opts)
	return c.finish(config.MethodManagedIdentity, token, err, terraform)
}
