package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sockerless/backend-azf/internal/api"
)

// session serves one call of a method of Client, to one registry.
type session struct {
	registry name.Registry
	auth     authn.Authenticator
	guard    *guard
	identity *identity // nil unless auth is an identity
}

// open chooses the credentials for a registry. host is the registry's name in references, which for Docker Hub is
// not the name of the host to call.
func (c *Client) open(host string, registry name.Registry, auth api.AuthConfig) (*session, error) {
	s := &session{registry: registry, auth: authn.Anonymous, guard: &guard{next: c.cfg.Transport}}
	ours := c.cfg.Host != "" && strings.EqualFold(host, c.cfg.Host)
	switch {
	case given(auth):
		config := authn.AuthConfig{
			Username: auth.Username, Password: auth.Password,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		}
		if auth.Auth != "" && auth.Username == "" {
			s.guard.hide(auth.Auth)
			var ok bool
			if config.Username, config.Password, ok = decodeAuth(auth.Auth); !ok {
				return nil, api.Errorf(api.InvalidParameter,
					"the field auth of the credentials for %s is not user:password in base64", host)
			}
		}
		s.useConfig(config)
	case ours && c.cfg.Username != "":
		s.useConfig(authn.AuthConfig{Username: c.cfg.Username, Password: c.cfg.Password})
	case c.cfg.Credential != nil && (ours || IsBelow(host, c.cfg.AzureSuffix)):
		s.identity = &identity{credential: c.cfg.Credential, host: registry.RegistryStr(), guard: s.guard}
		s.auth = s.identity
	}
	return s, nil
}

func (s *session) useConfig(config authn.AuthConfig) {
	s.guard.hide(config.Password, config.IdentityToken, config.RegistryToken)
	s.auth = authn.FromConfig(config)
}

// given reports whether auth holds any credentials.
func given(auth api.AuthConfig) bool {
	return auth.Username != "" || auth.Password != "" || auth.Auth != "" ||
		auth.IdentityToken != "" || auth.RegistryToken != ""
}

func decodeAuth(text string) (user, password string, ok bool) {
	content, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(content), ":")
}

// IsBelow reports whether a host, with or without a port, is below a domain. No host is below the empty domain.
func IsBelow(host, domain string) bool {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	return domain != "" && strings.HasSuffix(host, "."+domain)
}

// guard carries the requests of one session. It refuses plain HTTP to other machines and collects the secrets that it
// carries.
type guard struct {
	next    http.RoundTripper
	mu      sync.Mutex
	secrets []string
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if host := r.URL.Hostname(); r.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		var err error
		if r.Body != nil {
			err = r.Body.Close()
		}
		return nil, errors.Join(fmt.Errorf("requests to %s must use TLS", host), err)
	}
	if _, value, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		g.hide(value)
	}
	return g.next.RoundTrip(r)
}

// minSecret is the shortest secret, in bytes, that mask replaces. A shorter one may occur in ordinary text by
// chance: its replacement would garble the text and reveal the secret by the gaps.
const minSecret = 8

// hide adds secrets for mask to replace.
func (g *guard) hide(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range secrets {
		if len(s) >= minSecret && !slices.Contains(g.secrets, s) {
			g.secrets = append(g.secrets, s)
		}
	}
}

// mask replaces the secrets in a string from elsewhere.
func (g *guard) mask(text string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.secrets {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}

// azureScope is the scope of tokens that every Azure Container Registry accepts, even one that refuses the tokens for
// Azure Resource Manager.
const azureScope = "https://containerregistry.azure.net/.default"

// azureUser is the user name that accompanies a refresh token of an Azure Container Registry.
const azureUser = "00000000-0000-0000-0000-000000000000"

// identity authenticates with an Azure credential. It exchanges the credential's token for the registry's refresh
// token when the registry first asks for authentication. When the credential is refused, identity continues
// anonymously and records the reason in refusal. A temporary failure is an error. It is safe for concurrent use.
type identity struct {
	credential azcore.TokenCredential
	host       string
	guard      *guard

	mu      sync.Mutex
	asked   bool
	config  authn.AuthConfig
	refusal string
}

// refusedError is a permanent refusal of a token.
type refusedError struct{ reason string }

func (e refusedError) Error() string { return e.reason }

// Authorization implements authn.Authenticator.
func (i *identity) Authorization() (*authn.AuthConfig, error) {
	return i.AuthorizationContext(context.Background())
}

// AuthorizationContext implements authn.ContextAuthenticator.
func (i *identity) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.asked {
		token, err := i.exchange(ctx)
		if refused, ok := errors.AsType[refusedError](err); ok {
			i.refusal = refused.reason
		} else if err != nil {
			return nil, err
		} else {
			i.config = authn.AuthConfig{Username: azureUser, IdentityToken: token}
		}
		i.asked = true
	}
	return &i.config, nil
}

// refused returns the reason why the credential is refused, or "".
func (i *identity) refused() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refusal
}

func (i *identity) exchange(ctx context.Context) (token string, err error) {
	access, err := i.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{azureScope}})
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", refusedError{"it got no token from Azure: " + i.guard.short(err.Error())}
	}
	i.guard.hide(access.Token)
	form := url.Values{"grant_type": {"access_token"}, "service": {i.host}, "access_token": {access.Token}}
	exchange := "https://" + i.host + "/oauth2/exchange"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, exchange, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// The token is for this host only, so the client follows no redirect.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := (&http.Client{Transport: i.guard, CheckRedirect: noRedirect}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		if te, ok := errors.AsType[*transport.Error](err); ok && !temporary(te) {
			return "", refusedError{"the registry gave it no token: " + i.guard.answer(te)}
		}
		return "", err
	}
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&body)
	if err != nil || body.RefreshToken == "" {
		return "", refusedError{"the registry gave it no token: its answer to /oauth2/exchange has none"}
	}
	i.guard.hide(body.RefreshToken)
	return body.RefreshToken, nil
}
