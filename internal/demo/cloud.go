package demo

import (
	"context"
	"net/http"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/azurecloud"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// Connect makes a simulator the daemon's cloud, as serve does with the setting cloud and a service principal in its
// environment. What is left to do here is trust in the simulator's certificate, and its host names. The caller keeps
// the simulator running, and closes idle connections of transport, which must reach the simulator under every host
// name.
func Connect(ctx context.Context, cfg *daemon.Config, sim azuresim.Access, transport http.RoundTripper) error {
	cfg.CloudName, cfg.SubscriptionID = sim.URL, sim.SubscriptionID
	cfg.Architecture = runtime.GOARCH // the simulator runs images on this machine
	cfg.Transport, cfg.AppTransport = transporter{transport}, transport
	cfg.TerraformEnv = map[string]string{"SSL_CERT_FILE": sim.CAFile}
	var err error
	if cfg.Cloud, err = azurecloud.Read(ctx, cfg.CloudName, cfg.CloudFile(), transport); err != nil {
		return err
	}
	env := sim.CredentialEnv()
	chain := daemon.NewCredentialChain(*cfg)
	chain.Getenv = func(name string) string { return env[name] }
	cfg.Credential, err = chain.Choose(ctx, config.MethodEnvironment)
	return err
}

// transporter lets the Azure SDK use a transport.
type transporter struct{ http.RoundTripper }

// Do sends one request.
func (t transporter) Do(req *http.Request) (*http.Response, error) { return t.RoundTrip(req) }

// Options adapt the settings of serve to a daemon on a simulator: what they leave open is the simulator's.
func Options() config.Options {
	const own = "it cannot be used here: the simulator has none but those that the daemon creates; remove it"
	return config.Options{
		Defaults: map[string]string{
			"listen": "", "state_dir": "", "shutdown_timeout": "5s", "log_level": "error",
			"provider_pool_size": "1", "provider_max_age": "1h",
			"subscription_id": azuresim.DefaultSubscriptionID, "resource_group": azuresim.DefaultResourceGroup,
			"location": azuresim.DefaultLocation, "storage_account": azuresim.DefaultStorageAccount,
			"service_plan_sku": "B1", "owner": "demo",
		},
		Help: map[string]string{
			"listen":          "`address` to answer on, as for serve; empty means a unix socket in state_dir",
			"state_dir":       "new or empty `folder` for everything, which is kept; empty means a temporary one",
			"subscription_id": "subscription of the simulated Azure",
			"resource_group":  "resource group of the simulated Azure",
			"location":        "region of the simulated Azure",
			"storage_account": "storage account of the simulated Azure",
			"cloud":           "has no effect: the simulator is the cloud",
			"credential":      "has no effect: the daemon uses the simulator's own credential",
		},
		Refused: map[string]string{
			"cloud":            "it cannot be used here: the simulator is the cloud; remove it",
			"credential":       "it cannot be used here: the simulator knows no credential but its own; remove it",
			"app_service_plan": own, "log_analytics_workspace": own, "application_insights": own,
			"identity_id": own, "identity_client_id": own,
			"registry":          "it cannot be used here: the simulator's is " + registry + "; remove it",
			"registry_username": "it cannot be used here: the simulator's registry takes the daemon's identity; remove it",
			"wrap":              "it cannot be used here: the image of a demo must be wrapped; remove it",
		},
	}
}

// Settings returns the settings that a daemon has in a demo, with its state in dir and its unix socket at the path
// socket.
func Settings(dir, socket string) (config.Config, error) {
	loaded := config.AddFlags(pflag.NewFlagSet("", pflag.ContinueOnError), Options()).Load(nil)
	cfg := loaded.Config()
	cfg.StateDir, cfg.Listen.Address = dir, "unix://"+socket
	return cfg, loaded.Err()
}
