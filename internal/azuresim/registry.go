package azuresim

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
)

// registrySuffix is the domain below which the container registries of the simulated Azure are.
const registrySuffix = "azurecr.io"

// publicRegistry is Microsoft's registry, which is open to all. Here it is the one on the simulator's own address.
const publicRegistry = "mcr.microsoft.com"

// registryAudience is the audience of Entra's tokens for container registries.
const registryAudience = "https://containerregistry.azure.net"

// newRegistry returns an OCI registry for /v2/ that keeps its blobs in dir and its manifests in memory.
func newRegistry(dir string) (http.Handler, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create registry folder: %w", err)
	}
	return newRepositories(registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)),
		registry.Logger(log.New(io.Discard, "", 0)), // every request, which nobody reads
	)), nil
}

// isPrivateRegistry reports whether a host is an Azure Container Registry.
func isPrivateRegistry(host string) bool {
	return strings.HasSuffix(strings.ToLower(host), "."+registrySuffix)
}

// serveRegistry answers for the open registry on the simulator's own address. Each NAME.azurecr.io shows the same
// images to those who have a token for it, as an Azure Container Registry without anonymous pull and admin user does.
func (s *Sim) serveRegistry(w http.ResponseWriter, r *http.Request) {
	host := hostOnly(r.Host)
	if !isPrivateRegistry(host) {
		s.registry.ServeHTTP(w, r)
		return
	}
	refuse := func(message string) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q", "https://"+host+"/oauth2/token", host))
		writeJSON(w, http.StatusUnauthorized, map[string]any{
			"errors": []any{map[string]string{"code": "UNAUTHORIZED", "message": message}},
		})
	}
	// give answers with a token when the one in a field of the form has an audience.
	give := func(field, audience, granted, name string) {
		if claims, err := s.parseToken("Bearer " + r.PostFormValue(field)); err != nil || claims.Audience != audience {
			refuse("authentication required")
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{granted: s.newToken(name + " of " + host)})
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/oauth2/exchange":
		give("access_token", registryAudience, "refresh_token", "refresh")
	case r.URL.Path == "/oauth2/token":
		give("refresh_token", "refresh of "+host, "access_token", "access")
	case strings.HasPrefix(r.URL.Path, "/v2/"):
		if claims, err := s.parseToken(r.Header.Get("Authorization")); err != nil || claims.Audience != "access of "+host {
			refuse("authentication required")
			return
		}
		if s.denied(registryAction(r.Method)) {
			refuse("authentication required") // the token has no scope for it
			return
		}
		s.registry.ServeHTTP(w, r)
	default:
		s.unknownRoute(w, r)
	}
}

// registryAction returns the action that a request to an Azure Container Registry needs
// (learn.microsoft.com/azure/container-registry/container-registry-rbac-built-in-roles-overview). The simulator denies
// none for reading, as the apps read with the same kind of token.
func registryAction(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return ""
	case http.MethodDelete:
		return "Microsoft.ContainerRegistry/registries/artifacts/delete"
	}
	return "Microsoft.ContainerRegistry/registries/push/write"
}

// pullCredential returns what a site's host shows to a registry: the token of the identity that its configuration
// names, if the site has that identity and the registry is private, or nothing.
func (s *Sim) pullCredential(r *resource, host string) authn.Authenticator {
	if !isPrivateRegistry(host) || !truth(r.site.config["acrUseManagedIdentityCreds"]) {
		return authn.Anonymous
	}
	for _, identity := range object(object(r.body["identity"])["userAssignedIdentities"]) {
		if text(object(identity)["clientId"]) == text(r.site.config["acrUserManagedIdentityID"]) {
			return &authn.Bearer{Token: s.newToken("access of " + host)}
		}
	}
	return authn.Anonymous
}
