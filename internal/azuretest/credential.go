package azuretest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Credential is an azcore.TokenCredential that asks nobody. Its tokens are valid for an hour.
type Credential struct {
	// Token is the token. If it is empty, the token consists of the requested scopes, separated by spaces.
	Token string
	// Scope is the only scope that gets a token. If it is empty, every scope does.
	Scope string
	// Err, if set, is the error of every call.
	Err error
}

var _ azcore.TokenCredential = Credential{}

// GetToken implements azcore.TokenCredential.
func (c Credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	scopes := strings.Join(o.Scopes, " ")
	if c.Err != nil {
		return azcore.AccessToken{}, c.Err
	}
	if c.Scope != "" && c.Scope != scopes {
		return azcore.AccessToken{}, fmt.Errorf("a token for scope %q was requested, want %q", scopes, c.Scope)
	}
	token := c.Token
	if token == "" {
		token = scopes
	}
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}
