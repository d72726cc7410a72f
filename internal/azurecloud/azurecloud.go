// Package azurecloud holds the endpoints of Azure's clouds: for clients of the SDK, for azurerm, for the login and for
// container registries. A cloud that Microsoft's SDK does not list describes itself at its Resource Manager. The
// package must not know credentials or the daemon.
//
//	c, err := azurecloud.Read(ctx, "https://management.example.com", filepath.Join(stateDir, "cloud.json"), nil)
package azurecloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime" // adds Resource Manager to the listed clouds
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/sockerless/backend-azf/logs"
)

// Names of the clouds that need no URL.
const (
	Public       = "public"
	USGovernment = "usgovernment"
	China        = "china"
)

// Cloud holds the endpoints of one cloud.
type Cloud struct {
	// Configuration is for clients of Azure's SDK, with Resource Manager and Log Analytics.
	Configuration cloud.Configuration
	// Unlisted is true for a cloud that Microsoft's directory of clouds may not list. Credentials must not look there.
	Unlisted bool
	// RegistrySuffix is the domain below which the cloud's container registries are; empty means that it has none.
	RegistrySuffix string
	// StorageSuffix is the domain below which the endpoints of storage accounts are, such as core.windows.net.
	StorageSuffix string
	// Terraform holds the variables that make azurerm, and Terraform's backend of that name, use the cloud.
	Terraform map[string]string
	// Stale, when set, is the reason why the endpoints are those that an earlier Read kept.
	Stale error
}

// Scope returns the scope of tokens for Resource Manager.
func (c Cloud) Scope() string {
	return c.Configuration.Services[cloud.ResourceManager].Audience + "/.default"
}

// listed returns a cloud that the SDK lists.
func listed(name string) (c Cloud, ok bool) {
	c.Terraform = map[string]string{"ARM_ENVIRONMENT": name}
	switch name {
	case Public:
		c.Configuration, c.RegistrySuffix, c.StorageSuffix = cloud.AzurePublic, "azurecr.io", "core.windows.net"
	case USGovernment:
		c.Configuration, c.RegistrySuffix, c.StorageSuffix = cloud.AzureGovernment, "azurecr.us", "core.usgovcloudapi.net"
	case China:
		c.Configuration, c.RegistrySuffix, c.StorageSuffix = cloud.AzureChina, "azurecr.cn", "core.chinacloudapi.cn"
	default:
		return Cloud{}, false
	}
	return c, true
}

// Check returns the mistake in a cloud's name, which may be the URL of its Resource Manager.
func Check(name string) error {
	if _, ok := listed(name); ok {
		return nil
	}
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q: use %s, %s or %s, or the https URL of the cloud's Resource Manager, such as "+
			"https://management.example.com", name, Public, USGovernment, China)
	}
	return nil
}

// unreachableError reports that a cloud could not be asked for its endpoints. It may answer later.
type unreachableError struct{ error }

// Timing and size of the answer of a Resource Manager to the question for its endpoints.
const (
	askTimeout  = 10 * time.Second
	maxDocument = 1 << 20
)

// path is where a Resource Manager describes its cloud, in the version that azurerm reads.
const path = "/metadata/endpoints?api-version=2022-09-01"

// Read returns a cloud by the name that Check accepts. It asks the Resource Manager of a URL, over transport; nil means
// Go's default. It keeps the answer in the file kept, and returns it, with Stale set, as long as the Resource Manager
// cannot be reached. Without a name of a file it keeps nothing.
func Read(ctx context.Context, name, kept string, transport http.RoundTripper) (Cloud, error) {
	if err := Check(name); err != nil {
		return Cloud{}, fmt.Errorf("cloud %w", err)
	}
	if c, ok := listed(name); ok {
		return c, nil
	}
	document, unreachable := ask(ctx, name, transport)
	if _, ok := errors.AsType[unreachableError](unreachable); ok && kept != "" {
		var last keptAnswer
		content, err := os.ReadFile(kept)
		if err != nil || json.Unmarshal(content, &last) != nil || last.Cloud != name {
			return Cloud{}, unreachable
		}
		c, err := parse(name, last.Endpoints)
		c.Stale = unreachable
		return c, err
	} else if unreachable != nil {
		return Cloud{}, unreachable
	}
	document = bytes.TrimPrefix(document, []byte("\xef\xbb\xbf")) // of Azure Stack
	c, err := parse(name, document)
	if err != nil || kept == "" {
		return c, err
	}
	return c, keptAnswer{Cloud: name, Endpoints: document}.write(kept)
}

// keptAnswer is the content of the file that Read keeps.
type keptAnswer struct {
	Cloud     string          `json:"cloud"`
	Endpoints json.RawMessage `json:"endpoints"`
}

func (a keptAnswer) write(path string) error {
	content, err := json.Marshal(a)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("keep the endpoints of the cloud: %w", err)
	}
	return nil
}

// ask returns the description of the cloud with a URL.
func ask(ctx context.Context, name string, transport http.RoundTripper) (document []byte, err error) {
	address := strings.TrimRight(name, "/") + path
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	// Where to log in is nothing that another host may say.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := (&http.Client{Transport: transport, CheckRedirect: noRedirect}).Do(req)
	if err != nil {
		return nil, unreachableError{fmt.Errorf("cloud %s: ask for its endpoints: %w: check the setting cloud, the network "+
			"and SSL_CERT_FILE", name, err)}
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	document, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	} else if err == nil {
		return document, nil
	}
	err = fmt.Errorf("cloud %s: ask for its endpoints: GET %s: %w: set cloud to the URL of a Resource Manager",
		name, address, err)
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError ||
		resp.StatusCode == http.StatusOK {
		err = unreachableError{err}
	}
	return nil, err
}

// parse returns the cloud with a URL from its description.
func parse(name string, document []byte) (Cloud, error) {
	var d struct {
		ResourceManager        string `json:"resourceManager"`
		LogAnalyticsResourceID string `json:"logAnalyticsResourceId"`
		Authentication         struct {
			LoginEndpoint string   `json:"loginEndpoint"`
			Audiences     []string `json:"audiences"`
		} `json:"authentication"`
		Suffixes struct {
			ACRLoginServer string `json:"acrLoginServer"`
			Storage        string `json:"storage"`
		} `json:"suffixes"`
	}
	fail := func(format string, args ...any) (Cloud, error) {
		return Cloud{}, fmt.Errorf("cloud %s: the description of its endpoints (%s) "+format+
			": set cloud to the URL of a Resource Manager", append([]any{name, path}, args...)...)
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return fail("is not valid JSON: %w", err)
	}
	if len(d.Authentication.Audiences) == 0 {
		return fail("lacks authentication.audiences")
	}
	for _, field := range []struct{ name, value string }{
		{"resourceManager", d.ResourceManager}, {"authentication.loginEndpoint", d.Authentication.LoginEndpoint},
		{"logAnalyticsResourceId", d.LogAnalyticsResourceID},
	} {
		u, err := url.Parse(field.value)
		switch {
		case field.value == "":
			return fail("lacks %s", field.name)
		case err != nil || u.Scheme != "https" || u.Host == "":
			return fail("has %q as %s, which is not a valid https URL", field.value, field.name)
		}
	}
	host := strings.TrimPrefix(strings.TrimRight(name, "/"), "https://")
	bare := func(text string) string { return strings.TrimRight(text, "/") }
	logAnalytics := bare(d.LogAnalyticsResourceID)
	return Cloud{
		Configuration: cloud.Configuration{
			ActiveDirectoryAuthorityHost: bare(d.Authentication.LoginEndpoint),
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: bare(d.ResourceManager), Audience: bare(d.Authentication.Audiences[0])},
				logs.ServiceName:      {Endpoint: logAnalytics + "/v1", Audience: logAnalytics},
			},
		},
		Unlisted:       true,
		RegistrySuffix: strings.ToLower(strings.TrimPrefix(d.Suffixes.ACRLoginServer, ".")),
		StorageSuffix:  strings.ToLower(strings.TrimPrefix(d.Suffixes.Storage, ".")),
		// azurerm and Terraform's backend read the first one, OpenTofu's backend the second one.
		Terraform: map[string]string{"ARM_METADATA_HOSTNAME": host, "ARM_METADATA_HOST": host},
	}, nil
}
