package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/workspace"
)

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, args, environ []string, stderr io.Writer) error {
	cfg, method, terraform, err := serveConfig(args, environ, stderr)
	if err != nil {
		return err
	}
	chain := newCredentialChain(azcore.ClientOptions{Cloud: cfg.Cloud})
	if cfg.Credential, err = chain.choose(ctx, method); err != nil {
		return err
	}
	if cfg.Tools, err = toolchain.Prepare(ctx, toolchain.Config{Terraform: terraform, Progress: stderr}); err != nil {
		return err
	}
	d, err := newDaemon(ctx, cfg)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// serveConfig reads flags and environment, and reports all problems at once.
func serveConfig(args, environ []string, stderr io.Writer) (cfg daemonConfig, credential, terraform string, err error) {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	s := &cfg.Settings
	var identity workspace.Identity
	var timeout int
	var level string
	fs.StringVar(&cfg.Socket, "listen", "/var/run/sockerless-backend.sock", "unix socket to answer on")
	fs.StringVar(&cfg.StateDir, "state-dir", "/var/lib/sockerless-backend-azf", "folder of database and Terraform workspaces")
	fs.StringVar(&cfg.SubscriptionID, "subscription-id", "", "Azure subscription (required)")
	fs.StringVar(&s.ResourceGroup, "resource-group", "", "existing resource group that everything is made in (required)")
	fs.StringVar(&s.Location, "location", "", "Azure region, such as westeurope (required)")
	fs.StringVar(&s.StorageAccount, "storage-account", "", "existing storage account of the Functions host: name or resource id (required)")
	fs.StringVar(&s.AppServicePlan, "app-service-plan", "", "existing Linux plan: name or resource id; empty makes one")
	fs.StringVar(&s.PlanSKU, "plan-sku", "", "SKU of the plan that is made: B1 or EP1 run images; empty means Y1 (Consumption), which does not")
	fs.StringVar(&s.LogAnalyticsWorkspace, "log-analytics-workspace", "", "existing workspace: name or resource id; empty makes one")
	fs.StringVar(&s.ApplicationInsights, "application-insights", "", "existing component on that workspace: name or resource id; empty makes one")
	fs.StringVar(&identity.ID, "identity-id", "", "resource id of a user-assigned identity with access to the storage account")
	fs.StringVar(&identity.ClientID, "identity-client-id", "", "client id of that identity")
	fs.StringVar(&s.Registry, "registry", "", "host of a private registry; pulled from with the identity unless a user name is given")
	fs.StringVar(&s.RegistryUsername, "registry-username", "", "user name for that registry; its password comes from SOCKERLESS_AZF_REGISTRY_PASSWORD")
	fs.StringVar(&s.Owner, "owner", "default", "name of this daemon in the names and tags of what it makes")
	fs.IntVar(&timeout, "timeout", 600, "longest run, in seconds")
	fs.DurationVar(&cfg.StopTimeout, "stop-timeout", 30*time.Second, "how long Terraform runs may go on after a signal before they are interrupted")
	fs.StringVar(&credential, "credential", methodAuto, "auto, environment, workload-identity, managed-identity or azure-cli")
	fs.StringVar(&terraform, "terraform", "", "path of the terraform or tofu binary; empty finds or installs one")
	fs.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	if err := parse(fs, args, environ, stderr); err != nil {
		return cfg, "", "", err
	}
	var problems []error
	for _, name := range []string{"subscription-id", "resource-group", "location", "storage-account"} {
		if fs.Lookup(name).Value.String() == "" {
			problems = append(problems, fmt.Errorf("--%s (or %s) is required", name, environmentName(name)))
		}
	}
	if (identity.ID == "") != (identity.ClientID == "") {
		problems = append(problems, errors.New("--identity-id and --identity-client-id must be given together"))
	}
	lvl, err := zerolog.ParseLevel(level)
	if err != nil {
		problems = append(problems, fmt.Errorf("--log-level %q: use debug, info, warn or error", level))
	}
	if err := errors.Join(problems...); err != nil {
		return cfg, "", "", usageError{err}
	}
	if identity.ID != "" {
		s.Identity = &identity
	}
	// A password on the command line could be read by every user of the machine.
	s.RegistryPassword, _ = lookup(environ, environmentName("registry-password"))
	s.Timeout = time.Duration(timeout) * time.Second
	cfg.Cloud = cloud.AzurePublic
	cfg.Environ = environ
	cfg.Log = zerolog.New(stderr).Level(lvl).With().Timestamp().Logger()
	return cfg, credential, terraform, nil
}
