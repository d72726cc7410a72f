package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/command"
)

const help = `azuresim is Azure small enough for a test. It serves, over TLS on one loopback address: cloud metadata and
Entra tokens, the part of Azure Resource Manager that function apps with custom images need, the function apps
themselves on their host names, the query API of Log Analytics, and an OCI registry for their images. A function app
runs its image as processes on this machine, without isolation: use images that you trust.

Service plans take one write at a time. One with more apps than memory is kept, but none of its apps answers: with
300 MB for each Functions host (--host-memory), B1 has memory for five apps.

It runs until INT or TERM, and forgets everything then. Before that it prints what a client must know, one name=value
a line, or one JSON object with --json. A request that it does not know is answered 501 and logged, never guessed.

The daemon, in its environment:
  SSL_CERT_FILE   ca_file
  HTTPS_PROXY     proxy, which leads the host names of function apps here, and no other host name anywhere
  AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET   tenant_id, client_id, client_secret
  and serve --cloud url, with --subscription-id, --resource-group, --location and --storage-account as printed

Terraform with azurerm, in its environment:
  ARM_METADATA_HOSTNAME   the registry value, which is host and port of the url
  SSL_CERT_FILE           ca_file
  ARM_SUBSCRIPTION_ID     subscription_id
  ARM_TENANT_ID, ARM_CLIENT_ID, ARM_CLIENT_SECRET   the values of these names
  and in the provider block: resource_provider_registrations = "none"

The Azure SDK for Go:
  cloud.Configuration{ActiveDirectoryAuthorityHost: url, Services: ...}, where Resource Manager has the endpoint and
  the audience url, and azquery the endpoint url + "/loganalytics/v1" and the audience url + "/loganalytics"
  DisableInstanceDiscovery: true in the options of the credential
  SSL_CERT_FILE and HTTPS_PROXY as for the daemon

sockerless-backend-azf demo --serve starts a daemon and a simulator of its own, with the settings of serve.

GET /azuresim/resources and /azuresim/calls, without a token, show what there is and what was asked.`

// facts are what a client must know.
type facts struct {
	URL            string `json:"url"`
	CAFile         string `json:"ca_file"`
	Proxy          string `json:"proxy"`
	Registry       string `json:"registry"`
	SubscriptionID string `json:"subscription_id"`
	ResourceGroup  string `json:"resource_group"`
	Location       string `json:"location"`
	StorageAccount string `json:"storage_account"`
	TenantID       string `json:"tenant_id"`
	ClientID       string `json:"client_id"`
	ClientSecret   string `json:"client_secret"`
}

// run is the program. It blocks until ctx ends.
func run(ctx context.Context, args, _ []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{Use: "azuresim", Short: "Run a simulated Azure for tests", Long: help}
	var cfg azuresim.Config
	flags := root.Flags()
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "loopback `address` to serve on; port 0 takes a free one")
	flags.StringVar(&cfg.Dir, "dir", "", "new or empty `folder` for certificate and images, which is removed in the end; "+
		"empty takes a temporary one")
	for _, f := range []struct {
		field                *string
		name, standard, help string
	}{
		{&cfg.SubscriptionID, "subscription-id", azuresim.DefaultSubscriptionID, "the one subscription"},
		{&cfg.ResourceGroup, "resource-group", azuresim.DefaultResourceGroup, "resource group that exists"},
		{&cfg.Location, "location", azuresim.DefaultLocation, "region of what exists"},
		{&cfg.StorageAccount, "storage-account", azuresim.DefaultStorageAccount, "storage account that exists"},
		{&cfg.TenantID, "tenant-id", azuresim.DefaultTenantID, "tenant of the one service principal"},
		{&cfg.ClientID, "client-id", azuresim.DefaultClientID, "client id of the service principal"},
		{&cfg.ClientSecret, "client-secret", azuresim.DefaultClientSecret, "secret of the service principal"},
	} {
		flags.StringVar(f.field, f.name, f.standard, f.help)
	}
	flags.IntVar(&cfg.HostMemory, "host-memory", azuresim.DefaultHostMemory,
		"what an idle app's Functions host takes of its service plan's memory, in `MB`")
	flags.BoolVar(&cfg.RateLimits, "rate-limits", false,
		"answer 429 beyond Resource Manager's limits on requests: reads 250 and 25 a second, writes and deletes "+
			"200 and 10 a second")
	asJSON := flags.Bool("json", false, "print one JSON object in place of lines")
	verbose := flags.Bool("verbose", false, "log every request, on stderr")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		level := zerolog.WarnLevel
		if *verbose {
			level = zerolog.DebugLevel
		}
		cfg.Log = zerolog.New(stderr).Level(level).With().Timestamp().Logger()
		return serve(cmd.Context(), cfg, *asJSON, stdout)
	}
	return command.Execute(ctx, root, args, stdout, stderr)
}

// serve runs a simulator until ctx ends, and removes its folder.
func serve(ctx context.Context, cfg azuresim.Config, asJSON bool, stdout io.Writer) (err error) {
	if cfg.Dir, err = folder(cfg.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	sim, err := azuresim.Start(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()
	err = show(stdout, asJSON, facts{
		URL: sim.URL(), CAFile: sim.CAFile(), Proxy: sim.ProxyURL(), Registry: sim.Registry(),
		SubscriptionID: cfg.SubscriptionID,
		ResourceGroup:  cfg.ResourceGroup, Location: cfg.Location, StorageAccount: cfg.StorageAccount,
		TenantID: cfg.TenantID, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret,
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// folder returns a folder that is empty: a new temporary one for "".
func folder(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "azuresim-")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("prepare folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("prepare folder: %w", err)
	}
	if len(entries) > 0 {
		return "", command.Mistakef("--dir: %s is not empty: choose a new folder, since azuresim removes it in the end", dir)
	}
	return dir, nil
}

// show prints the facts.
func show(w io.Writer, asJSON bool, f facts) error {
	content, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if asJSON {
		_, err = fmt.Fprintf(w, "%s\n", content)
		return err
	}
	for _, line := range []struct{ name, value string }{
		{"url", f.URL}, {"ca_file", f.CAFile}, {"proxy", f.Proxy}, {"registry", f.Registry},
		{"subscription_id", f.SubscriptionID},
		{"resource_group", f.ResourceGroup}, {"location", f.Location}, {"storage_account", f.StorageAccount},
		{"tenant_id", f.TenantID}, {"client_id", f.ClientID}, {"client_secret", f.ClientSecret},
	} {
		_, writeErr := fmt.Fprintf(w, "%s=%s\n", line.name, line.value)
		err = cmp.Or(err, writeErr)
	}
	return err
}
