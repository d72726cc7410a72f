package api

import (
	"strings"

	"github.com/moby/moby/api/pkg/authconfig"
)

// urlAlphabet turns base64 into base64url.
var urlAlphabet = strings.NewReplacer("+", "-", "/", "_")

// DecodeAuth reads credentials in the form of Docker's X-Registry-Auth header: JSON as base64url, or as base64 in its
// other alphabet, padded or not. An empty header means no credentials. An invalid one is an InvalidParameter error,
// which does not show the header.
func DecodeAuth(header string) (AuthConfig, error) {
	encoded := strings.TrimRight(urlAlphabet.Replace(header), "=")
	encoded += strings.Repeat("=", -len(encoded)&3)
	auth, err := authconfig.Decode(encoded)
	if err != nil {
		return AuthConfig{}, Errorf(InvalidParameter, "invalid registry credentials: they must be a JSON object as base64url")
	}
	return *auth, nil
}
