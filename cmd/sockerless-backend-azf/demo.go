package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/logs"
	"github.com/sockerless/backend-azf/server"
)

type demoConfig struct {
	Serve    bool
	JSON     bool
	Socket   string
	StateDir string
	Source   string
	Verbose  bool
}

// demo takes a container through its life on an embedded Azure, or keeps both running for others to try.
func demo(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	var cfg demoConfig
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.BoolVar(&cfg.Serve, "serve", false, "keep daemon and simulator running until INT or TERM")
	fs.BoolVar(&cfg.JSON, "json", false, "print one JSON object per step")
	listen := fs.String("listen", "", "unix socket of the daemon; empty takes one in the state folder")
	fs.StringVar(&cfg.StateDir, "state-dir", "", "new or empty folder that is kept; empty takes a temporary one")
	fs.StringVar(&cfg.Source, "source", ".", "checkout of this project, which the example image is built from")
	fs.BoolVar(&cfg.Verbose, "verbose", false, "show the daemon's log")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	if *listen != "" {
		network, path, err := server.ParseAddress(*listen)
		if err == nil && network != server.NetworkUnix {
			err = errors.New("a demo answers on a unix socket: use unix:///path")
		}
		if err != nil {
			return usageError{fmt.Errorf("--listen: %w", err)}
		}
		cfg.Socket = path
	}
	report := newReport(stdout, cfg.JSON)
	err := playDemo(ctx, cfg, environ, report, stdout, stderr)
	return errors.Join(err, report.err)
}

func playDemo(ctx context.Context, cfg demoConfig, environ []string, report *report, stdout, stderr io.Writer) (err error) {
	dir, cleanup, err := demoDir(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	level := zerolog.ErrorLevel
	if cfg.Verbose {
		level = zerolog.DebugLevel
	}
	log := zerolog.New(stderr).Level(level).With().Timestamp().Logger()

	var tools toolchain.Tools
	err = report.step(ctx, "tools", func(s *step) error {
		tools, err = toolchain.Prepare(ctx, toolchain.Config{Progress: stderr})
		s.Detail = fmt.Sprintf("terraform %s, azurerm %s", tools.TerraformVersion, tools.ProviderVersion)
		return err
	})
	if err != nil {
		return err
	}
	var sim *azuresim.Sim
	err = report.step(ctx, "azure", func(s *step) error {
		sim, err = azuresim.Start(azuresim.Config{Dir: filepath.Join(dir, "azuresim"), Log: log})
		if err != nil {
			return err
		}
		s.Detail = "azuresim on " + sim.URL()
		return nil
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()

	image := sim.Registry() + "/examples/hello:latest"
	err = report.step(ctx, "image", func(s *step) error {
		s.Detail = image
		return pushExample(ctx, sim, image, cfg.Source, filepath.Join(dir, "build"), environ)
	})
	if err != nil {
		return err
	}

	socket := cfg.Socket
	if socket == "" {
		socket = filepath.Join(dir, "azf.sock")
	}
	var d *daemon
	err = report.step(ctx, "daemon", func(s *step) error {
		s.Detail = "answers on " + socket
		daemonCfg, err := simulatedConfig(ctx, cloudOf(sim), tools, dir, socket, environ, log)
		if err != nil {
			return err
		}
		d, err = newDaemon(ctx, daemonCfg)
		return err
	})
	if err != nil {
		return err
	}
	daemonCtx, stopDaemon := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- d.run(daemonCtx) }()
	defer func() {
		stopDaemon()
		err = errors.Join(err, <-stopped)
	}()

	if cfg.Serve {
		if err := report.serving(socket, image); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-stopped:
			stopped <- nil
			return errors.Join(errors.New("the daemon ended"), err)
		}
	}
	return journey(ctx, report, newClient(socket), image, sim)
}

// demoDir is the folder that everything of a demo lies in, and what to do with it at the end.
func demoDir(dir string) (string, func() error, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "azf-demo-")
		return dir, func() error { return os.RemoveAll(dir) }, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("prepare state folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, fmt.Errorf("prepare state folder: %w", err)
	}
	if len(entries) > 0 {
		// The simulated Azure forgets everything when it ends, so an older state would speak of what is not there.
		return "", nil, usageError{fmt.Errorf("state folder %s is not empty: choose a new one", dir)}
	}
	dir, err = filepath.Abs(dir)
	return dir, func() error { return nil }, err
}

// simulatedCloud is how a simulator is reached: its address, the file with its CA, and a transport that takes every host name to it.
type simulatedCloud struct {
	url, caFile string
	transport   http.RoundTripper
}

func cloudOf(sim *azuresim.Sim) simulatedCloud {
	return simulatedCloud{url: sim.URL(), caFile: sim.CAFile(), transport: sim.Transport()}
}

// simulatedConfig is the configuration of a daemon whose cloud is the simulator: endpoints, credential and transport are all that differs.
func simulatedConfig(ctx context.Context, sim simulatedCloud, tools toolchain.Tools, dir, socket string, environ []string, log zerolog.Logger) (daemonConfig, error) {
	simulated := cloud.Configuration{
		ActiveDirectoryAuthorityHost: sim.url,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: sim.url, Audience: sim.url},
			logs.ServiceName:      {Endpoint: sim.url + "/v1", Audience: azuresim.LogsAudience},
		},
	}
	client := httpTransporter{sim.transport}
	chain := credentialChain{
		Getenv: func(name string) string {
			return map[string]string{
				"AZURE_TENANT_ID": azuresim.DefaultTenantID, "AZURE_CLIENT_ID": azuresim.DefaultClientID, "AZURE_CLIENT_SECRET": azuresim.DefaultClientSecret,
			}[name]
		},
		Options:                  azcore.ClientOptions{Cloud: simulated, Transport: client},
		DisableInstanceDiscovery: true,
	}
	cred, err := chain.choose(ctx, methodEnvironment)
	if err != nil {
		return daemonConfig{}, err
	}
	return daemonConfig{
		Listen: server.ListenConfig{Address: "unix://" + socket}, StateDir: filepath.Join(dir, "daemon"), SubscriptionID: azuresim.DefaultSubscriptionID,
		Settings: engine.Settings{
			ResourceGroup: azuresim.DefaultResourceGroup, Location: azuresim.DefaultLocation, StorageAccount: azuresim.DefaultStorageAccount,
			ServicePlanSKU: "B1", Owner: "demo", Timeout: 10 * time.Minute,
		},
		ShutdownTimeout: 5 * time.Second,
		Credential:      cred, Cloud: simulated, Transport: client, AppTransport: sim.transport,
		Tools: tools, Providers: providerSettings{Pool: poolOn, Size: 1, Reuse: 1, MaxAge: time.Hour, Eager: true, EagerRuns: 4}, Environ: environ, Log: log,
		TerraformEnv: map[string]string{
			"ARM_METADATA_HOSTNAME": strings.TrimPrefix(sim.url, "https://"),
			"SSL_CERT_FILE":         sim.caFile,
		},
	}, nil
}
