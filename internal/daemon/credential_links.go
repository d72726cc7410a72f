package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// unset returns an error that names the variables that have no value, or nil.
func (c CredentialChain) unset(names ...string) error {
	var missing []string
	for _, name := range names {
		if c.Getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if missing == nil {
		return nil
	}
	return errors.New("not set: " + strings.Join(missing, ", "))
}

func (c CredentialChain) environment(options azcore.ClientOptions) (Credential, error) {
	secret, path := c.Getenv("AZURE_CLIENT_SECRET"), c.Getenv("AZURE_CLIENT_CERTIFICATE_PATH")
	if secret == "" && path == "" {
		return Credential{}, errors.New("not set: AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH")
	}
	if err := c.unset("AZURE_TENANT_ID", "AZURE_CLIENT_ID"); err != nil {
		return Credential{}, err
	}
	tenant, client := c.Getenv("AZURE_TENANT_ID"), c.Getenv("AZURE_CLIENT_ID")
	terraform := map[string]string{"ARM_TENANT_ID": tenant, "ARM_CLIENT_ID": client}
	if secret != "" {
		terraform["ARM_CLIENT_SECRET"] = secret
		token, err := azidentity.NewClientSecretCredential(tenant, client, secret,
			&azidentity.ClientSecretCredentialOptions{
				ClientOptions: options, DisableInstanceDiscovery: c.Cloud.Unlisted,
			})
		return Credential{Token: token, Terraform: terraform}, err
	}
	password := c.Getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD")
	content, err := os.ReadFile(path)
	if err != nil {
		return Credential{}, fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %w", err)
	}
	if block, _ := pem.Decode(content); block != nil {
		return Credential{}, fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %s is in PEM form, and azurerm reads only "+
			"PKCS #12: convert it by openssl pkcs12 -export -legacy -in FILE.pem -out FILE.pfx", path)
	}
	certs, key, err := azidentity.ParseCertificates(content, []byte(password))
	if err != nil {
		return Credential{}, fmt.Errorf("AZURE_CLIENT_CERTIFICATE_PATH: %s: %w", path, err)
	}
	terraform["ARM_CLIENT_CERTIFICATE_PATH"] = path
	terraform["ARM_CLIENT_CERTIFICATE_PASSWORD"] = password
	token, err := azidentity.NewClientCertificateCredential(tenant, client, certs, key,
		&azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: c.Cloud.Unlisted,
		})
	return Credential{Token: token, Terraform: terraform}, err
}

func (c CredentialChain) workloadIdentity(options azcore.ClientOptions) (Credential, error) {
	if err := c.unset("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"); err != nil {
		return Credential{}, err
	}
	tenant, client := c.Getenv("AZURE_TENANT_ID"), c.Getenv("AZURE_CLIENT_ID")
	file := c.Getenv("AZURE_FEDERATED_TOKEN_FILE")
	if _, err := os.Stat(file); err != nil {
		return Credential{}, fmt.Errorf("AZURE_FEDERATED_TOKEN_FILE: %w", err)
	}
	token, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: c.Cloud.Unlisted,
		TenantID: tenant, ClientID: client, TokenFilePath: file,
	})
	return Credential{Token: token, Terraform: map[string]string{
		"ARM_USE_OIDC": "true", "ARM_TENANT_ID": tenant, "ARM_CLIENT_ID": client, "ARM_OIDC_TOKEN_FILE_PATH": file,
	}}, err
}

// managedIdentity returns the machine's identity. Azure's SDK finds its service: that of virtual machines, or the one
// that variables name on App Service, Container Apps, Azure Arc and others.
func (c CredentialChain) managedIdentity(options azcore.ClientOptions) (Credential, error) {
	if options.Transport == nil {
		options.Transport = direct()
	}
	terraform := map[string]string{"ARM_USE_MSI": "true"}
	chosen := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if client := c.Getenv("AZURE_CLIENT_ID"); client != "" {
		terraform["ARM_CLIENT_ID"] = client
		chosen.ID = azidentity.ClientID(client)
	}
	token, err := azidentity.NewManagedIdentityCredential(chosen)
	return Credential{Token: token, Terraform: terraform}, err
}

// identityVariables returns the variables that lead to the service of managed identities where it is not that of
// virtual machines.
func (c CredentialChain) identityVariables() map[string]string {
	found := map[string]string{}
	for _, name := range []string{
		"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
	} {
		if value := c.Getenv(name); value != "" {
			found[name] = value
		}
	}
	return found
}

// azureCLI returns the account of the Azure CLI that is logged in to the subscription's tenant, which is not always the
// tenant of the CLI's default account.
func (c CredentialChain) azureCLI(ctx context.Context) (Credential, error) {
	var stderr bytes.Buffer
	// It reads what az login wrote, and needs no network.
	cmd := exec.CommandContext(ctx, "az", "account", "show", "--subscription", c.SubscriptionID,
		"--query", "tenantId", "--output", "tsv")
	cmd.Stderr, cmd.WaitDelay = &stderr, time.Second
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return Credential{}, errors.New("az is not on PATH")
	case ctx.Err() != nil:
		return Credential{}, errors.New("az account show took too long")
	case err != nil:
		return Credential{}, fmt.Errorf("az account show: %w: %s", err, said(stderr.String()))
	}
	tenant := strings.TrimSpace(string(out))
	token, err := azidentity.NewAzureCLICredential(
		&azidentity.AzureCLICredentialOptions{Subscription: c.SubscriptionID})
	terraform := map[string]string{"ARM_USE_CLI": "true", "ARM_TENANT_ID": tenant}
	maps.Copy(terraform, c.identityVariables()) // which az needs again after az login --identity
	return Credential{Token: token, Terraform: terraform}, err
}

// offline matches what az prints when it cannot reach the login.
var offline = regexp.MustCompile(
	`(?i)network connection|max retries exceeded|name resolution|establish a new connection|connection aborted|timed out`)

func azIsOffline(err error) bool {
	text := err.Error()
	return offline.MatchString(text) && !strings.Contains(strings.ToLower(text), "certificate")
}

// reason returns the reason for a missing token on one line: the login's own words if it gave any.
func reason(err error) string {
	failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	if !ok || failed.RawResponse == nil {
		return said(err.Error())
	}
	var body struct {
		Description string `json:"error_description"`
	}
	content, err := runtime.Payload(failed.RawResponse)
	if err != nil || json.Unmarshal(content, &body) != nil || body.Description == "" {
		return "the answer was " + failed.RawResponse.Status
	}
	return said(body.Description)
}

// maxReason bounds the reason for a missing token, in bytes.
const maxReason = 400

// said returns the line of a text that has the error, shortened.
func said(text string) string {
	text, _, _ = strings.Cut(text, " Trace ID: ")
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	line := ""
	for _, l := range lines {
		if line == "" || strings.Contains(l, "ERROR:") {
			line = strings.TrimSpace(l)
		}
	}
	line, _, _ = strings.Cut(line, ". To troubleshoot, visit ")
	return strings.ToValidUTF8(line[:min(len(line), maxReason)], "")
}
