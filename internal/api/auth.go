package api

import "github.com/moby/moby/api/pkg/authconfig"

// DecodeAuth reads credentials in the form of Docker's X-Registry-Auth header: JSON as base64url. An empty header
// means no credentials. An invalid one is an InvalidParameter error, which does not show the header.
func DecodeAuth(header string) (AuthConfig, error) {
	auth, err := authconfig.Decode(header)
	if err != nil {
		return AuthConfig{}, Errorf(InvalidParameter, "invalid registry credentials: they must be a JSON object as base64url")
	}
	return *auth, nil
}
