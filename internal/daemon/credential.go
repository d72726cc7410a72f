package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azurecloud"
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

// CredentialChain finds a credential for a subscription in a cloud.
type CredentialChain struct {
	Getenv         func(string) string
	Cloud          azurecloud.Cloud
	SubscriptionID string
	// Transport carries the calls of the login; nil means the SDK's own.
	Transport policy.Transporter
	// Timeout is the time that a link has to give a token.
	Timeout time.Duration
	Log     zerolog.Logger
}

// NewCredentialChain returns the chain that a daemon with the configuration uses on this machine.
func NewCredentialChain(cfg Config) CredentialChain {
	return CredentialChain{
		Getenv: os.Getenv, Cloud: cfg.Cloud, SubscriptionID: cfg.SubscriptionID, Transport: cfg.Transport,
		Timeout: askTimeout, Log: cfg.Log,
	}
}

// askTimeout is the time that a link of the chain has to give a token. The Azure CLI has cliFactor times as much, as it
// starts an interpreter twice.
const (
	askTimeout = 5 * time.Second
	cliFactor  = 3
)

// advice is what to do about a link that gives no token.
var advice = map[string]string{
	config.MethodEnvironment: "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or " +
		"AZURE_CLIENT_CERTIFICATE_PATH of a service principal",
	config.MethodWorkloadIdentity: "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE of a service " +
		"principal that trusts the token's issuer",
	config.MethodManagedIdentity: "give this machine an identity, or set AZURE_CLIENT_ID to that of one that it has",
	config.MethodAzureCLI:        "install the Azure CLI and run az login with an account that may use the subscription",
}

// unreachableError reports that a credential could not be asked for a token, which therefore may be fine.
type unreachableError struct{ error }

// Choose takes the link that method names, or with config.MethodAuto the first that gives a token. It asks each of them
// for one, for some seconds at most.
//
// A link that is set up and cannot reach its login is taken too, with a warning, because the network of a machine may
// come up after the daemon. Choose skips a managed identity of that kind unless method names it: on other machines, the
// address of its service is often one that does not answer, or that of another service.
func (c CredentialChain) Choose(ctx context.Context, method string) (Credential, error) {
	links := []string{method}
	if method == config.MethodAuto {
		links = config.Methods()[1:]
	}
	var reasons []string
	for _, link := range links {
		credential, err := c.ask(ctx, link)
		if ctx.Err() != nil {
			return Credential{}, context.Cause(ctx)
		}
		_, unreachable := errors.AsType[unreachableError](err)
		if unreachable && (link == method || link != config.MethodManagedIdentity) {
			c.Log.Warn().Str("credential", link).Err(err).
				Msg("the login could not be reached; the daemon starts with this credential all the same")
			err = nil
		}
		if err == nil {
			return credential, c.hand(credential)
		}
		reasons = append(reasons, fmt.Sprintf("%s: %v: %s", link, err, advice[link]))
	}
	if method != config.MethodAuto {
		return Credential{}, fmt.Errorf("credential %s", reasons[0])
	}
	return Credential{}, fmt.Errorf("no Azure credential works; set up one of these, and name it in the setting "+
		"credential:\n  %s", strings.Join(reasons, "\n  "))
}

// ask returns the credential of a link that gives a token for Resource Manager. With an unreachableError it returns the
// credential too.
func (c CredentialChain) ask(ctx context.Context, method string) (Credential, error) {
	timeout := c.Timeout
	if method == config.MethodAzureCLI {
		timeout *= cliFactor
	}
	// One try: the SDK asks the service of managed identities for a minute and a half.
	ctx, cancel := context.WithTimeout(policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1}), timeout)
	defer cancel()
	var last answer
	credential, err := c.link(ctx, method, &last)
	if err != nil {
		return Credential{}, err
	}
	for _, name := range []string{"ARM_USE_CLI", "ARM_USE_MSI", "ARM_USE_OIDC"} {
		if credential.Terraform[name] == "" {
			credential.Terraform[name] = "false" // azurerm tries no other method
		}
	}
	credential.Method = method
	_, err = credential.Token.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.Cloud.Scope()}})
	switch {
	case err == nil:
		return credential, nil
	case ctx.Err() != nil:
		return credential, unreachableError{fmt.Errorf("no token within %s", timeout)}
	case last.missing() || method == config.MethodAzureCLI && azIsOffline(err):
		return credential, unreachableError{errors.New(reason(err))}
	}
	return Credential{}, errors.New(reason(err))
}

// link returns the credential of a method without asking it for a token, or the reason why it is not set up. It reports
// the answers that the credential gets to last.
func (c CredentialChain) link(ctx context.Context, method string, last *answer) (Credential, error) {
	options := azcore.ClientOptions{
		Cloud: c.Cloud.Configuration, Transport: c.Transport, PerRetryPolicies: []policy.Policy{last},
	}
	switch method {
	case config.MethodEnvironment:
		return c.environment(options)
	case config.MethodWorkloadIdentity:
		return c.workloadIdentity(options)
	case config.MethodManagedIdentity:
		return c.managedIdentity(options)
	case config.MethodAzureCLI:
		return c.azureCLI(ctx)
	default:
		return Credential{}, fmt.Errorf("it is not a method: use %s", strings.Join(config.Methods(), ", "))
	}
}

// answer is a policy of Azure's SDK that remembers the outcome of the last call.
type answer struct {
	mu     sync.Mutex
	status int
	err    error
}

// Do implements policy.Policy.
func (a *answer) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.err = 0, err
	if resp != nil {
		a.status = resp.StatusCode
	}
	return resp, err
}

// missing reports whether the last call got no answer, or one that says nothing about the credential.
func (a *answer) missing() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](a.err); untrusted {
		return false
	}
	return a.err != nil || a.status >= http.StatusInternalServerError || a.status == http.StatusTooManyRequests ||
		a.status == http.StatusRequestTimeout
}

// dialTimeout bounds the connection to the service of managed identities, which is on this machine or its host.
const dialTimeout = time.Second

// direct returns a client that uses no proxy, for the service of managed identities.
func direct() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}}
}
