package daemon

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/config"
)

// hand completes the Terraform settings of a credential that is taken. azurerm knows no service of managed identities
// but that of virtual machines; any other, such as that of App Service, Container Apps or Azure Arc, reaches it through
// a relay.
func (c CredentialChain) hand(credential Credential) error {
	if credential.Method != config.MethodManagedIdentity {
		return nil
	}
	source, err := managedidentity.GetSource()
	if err != nil || source == managedidentity.DefaultToIMDS {
		return err
	}
	maps.Copy(credential.Terraform, c.identityVariables()) // which OpenTofu's backend knows
	credential.Terraform["ARM_MSI_ENDPOINT"], err = relay(credential.Token, c.Log)
	return err
}

// relay serves a credential's tokens on loopback as the service of virtual machines does, until the process ends:
// Terraform needs them while the daemon stops. Only who knows the returned URL gets one.
func relay(token azcore.TokenCredential, log zerolog.Logger) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("relay the managed identity: %w", err)
	}
	path := "/" + rand.Text() + "/token"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		resource := r.URL.Query().Get("resource")
		if r.Header.Get("Metadata") != "true" || resource == "" {
			http.Error(w, "give the header Metadata and the parameter resource", http.StatusBadRequest)
			return
		}
		got, err := token.GetToken(r.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
		if err != nil {
			http.Error(w, reason(err), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		err = json.NewEncoder(w).Encode(map[string]string{
			"access_token": got.Token, "token_type": "Bearer", "resource": resource,
			"expires_in": strconv.Itoa(int(time.Until(got.ExpiresOn).Seconds())),
		})
		if err != nil {
			log.Debug().Err(err).Msg("relay the managed identity")
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: askTimeout}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("the relay of the managed identity ended: restart the daemon")
		}
	}()
	return "http://" + listener.Addr().String() + path, nil
}
