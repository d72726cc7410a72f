package main

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
)

// credential is one identity for both sides: the Go SDK and the azurerm provider.
type credential struct {
	// Method says which link of the chain was taken.
	Method string
	Token  azcore.TokenCredential
	// Terraform is the same credential as azurerm's settings.
	Terraform map[string]string
}

// Methods of the chain, in the order in which DefaultAzureCredential tries them.
const (
	methodAuto             = "auto"
	methodEnvironment      = "environment"
	methodWorkloadIdentity = "workload-identity"
	methodManagedIdentity  = "managed-identity"
	methodAzureCLI         = "azure-cli"
)

// credentialChain finds a credential.
type credentialChain struct {
	Getenv  func(string) string
	Options azcore.ClientOptions
	// DisableInstanceDiscovery is for clouds that Microsoft's own does not know.
	DisableInstanceDiscovery bool
	// OnAzureVM tells whether the machine's identity service answers.
	OnAzureVM func(context.Context) bool
}

// newCredentialChain looks at this machine.
func newCredentialChain(opts azcore.ClientOptions) credentialChain {
	return credentialChain{Getenv: os.Getenv, Options: opts, OnAzureVM: imdsAnswers}
}

// imdsAnswers dials Azure's instance metadata service, at a link-local address that other machines do not route.
func imdsAnswers(ctx context.Context) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", "169.254.169.254:80")
	return err == nil && conn.Close() == nil
}

// choose takes the first link that this machine has, or the one that method names.
func (c credentialChain) choose(ctx context.Context, method string) (credential, error) {
	switch method {
	case methodAuto:
		switch {
		case c.Getenv("AZURE_CLIENT_ID") != "" && (c.Getenv("AZURE_CLIENT_SECRET") != "" || c.Getenv("AZURE_CLIENT_CERTIFICATE_PATH") != ""):
			method = methodEnvironment
		case c.Getenv("AZURE_FEDERATED_TOKEN_FILE") != "":
			method = methodWorkloadIdentity
		case c.OnAzureVM(ctx):
			method = methodManagedIdentity
		default:
			if _, err := exec.LookPath("az"); err != nil {
				return credential{}, errors.New("no Azure credential found: set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or install the Azure CLI and run az login")
			}
			method = methodAzureCLI
		}
		return c.choose(ctx, method)
	case methodEnvironment:
		return c.environment()
	case methodWorkloadIdentity:
		return c.workloadIdentity()
	case methodManagedIdentity:
		return c.managedIdentity()
	case methodAzureCLI:
		token, err := azidentity.NewAzureCLICredential(nil)
		return c.finish(method, token, err, map[string]string{"ARM_USE_CLI": "true"})
	default:
		return credential{}, usageError{fmt.Errorf("credential %q: use %s", method,
			strings.Join([]string{methodAuto, methodEnvironment, methodWorkloadIdentity, methodManagedIdentity, methodAzureCLI}, ", "))}
	}
}

// finish completes a link: azurerm is told to try nothing else.
func (c credentialChain) finish(method string, token azcore.TokenCredential, err error, terraform map[string]string) (credential, error) {
	if err != nil {
		return credential{}, fmt.Errorf("credential %s: %w", method, err)
	}
	for _, name := range []string{"ARM_USE_CLI", "ARM_USE_MSI", "ARM_USE_OIDC"} {
		if terraform[name] == "" {
			terraform[name] = "false"
		}
	}
	return credential{Method: method, Token: token, Terraform: terraform}, nil
}

func (c credentialChain) environment() (credential, error) {
	tenant, client, secret := c.Getenv("AZURE_TENANT_ID"), c.Getenv("AZURE_CLIENT_ID"), c.Getenv("AZURE_CLIENT_SECRET")
	if tenant == "" || client == "" {
		return credential{}, errors.New("credential environment: set AZURE_TENANT_ID and AZURE_CLIENT_ID")
	}
	terraform := map[string]string{"ARM_TENANT_ID": tenant, "ARM_CLIENT_ID": client}
	if secret != "" {
		terraform["ARM_CLIENT_SECRET"] = secret
		token, err := azidentity.NewClientSecretCredential(tenant, client, secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: c.Options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
		})
		return c.finish(methodEnvironment, token, err, terraform)
	}
	path, password := c.Getenv("AZURE_CLIENT_CERTIFICATE_PATH"), c.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD")
	content, err := os.ReadFile(path)
	if err != nil {
		return credential{}, fmt.Errorf("credential environment: read certificate: %w", err)
	}
	certs, key, err := azidentity.ParseCertificates(content, []byte(password))
	if err != nil {
		return credential{}, fmt.Errorf("credential environment: parse certificate: %w", err)
	}
	terraform["ARM_CLIENT_CERTIFICATE_PATH"], terraform["ARM_CLIENT_CERTIFICATE_PASSWORD"] = path, password
	token, err := azidentity.NewClientCertificateCredential(tenant, client, certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: c.Options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
	})
	return c.finish(methodEnvironment, token, err, terraform)
}

func (c credentialChain) workloadIdentity() (credential, error) {
	tenant, client, file := c.Getenv("AZURE_TENANT_ID"), c.Getenv("AZURE_CLIENT_ID"), c.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	if tenant == "" || client == "" || file == "" {
		return credential{}, errors.New("credential workload-identity: set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE")
	}
	token, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: c.Options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
		TenantID: tenant, ClientID: client, TokenFilePath: file,
	})
	return c.finish(methodWorkloadIdentity, token, err, map[string]string{
		"ARM_USE_OIDC": "true", "ARM_TENANT_ID": tenant, "ARM_CLIENT_ID": client, "ARM_OIDC_TOKEN_FILE_PATH": file,
	})
}

func (c credentialChain) managedIdentity() (credential, error) {
	terraform := map[string]string{"ARM_USE_MSI": "true"}
	opts := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: c.Options}
	if client := c.Getenv("AZURE_CLIENT_ID"); client != "" {
		terraform["ARM_CLIENT_ID"] = client
		opts.ID = azidentity.ClientID(client)
	}
	token, err := azidentity.NewManagedIdentityCredential(opts)
	return c.finish(methodManagedIdentity, token, err, terraform)
}
