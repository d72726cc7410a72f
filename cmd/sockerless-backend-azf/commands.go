package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/azurecloud"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// Groups of commands, in the order of help.
const (
	running = "running"
	trying  = "trying"
	about   = "about"
)

// run is the program. It blocks until the command is done; serve is done when ctx ends.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:     "sockerless-backend-azf",
		Short:   "Docker API on top, Azure Functions underneath, Terraform in between",
		Version: versionText(),
	}
	root.SetVersionTemplate("{{.Version}}")
	root.AddGroup(
		&cobra.Group{ID: running, Title: "Run containers:"},
		&cobra.Group{ID: trying, Title: "Try it and prepare:"},
		&cobra.Group{ID: about, Title: "About the program:"})
	root.AddCommand(
		serveCommand(environ), configCommand(environ), gcCommand(environ), auditCommand(environ), policyCommand(environ),
		planCommand(environ), foundationCommand(environ), wrapCommand(environ),
		demoCommand(environ), toolsCommand(), versionCommand(),
		command.Completion(about), command.Man("8", "System administration"))
	err := command.Execute(ctx, root, args, stdout, stderr)
	if _, ok := errors.AsType[config.Problems](err); ok {
		return command.Mistake{Err: err}
	}
	return err
}

func serveCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", GroupID: running,
		Short: "Answer the API and run containers in Azure",
		Long: "serve answers the Docker API and runs each container as an Azure Function App, until INT or TERM.\n" +
			"HUP makes it read the policies again. Settings come from flags, environment (SOCKERLESS_AZF_...) and the\n" +
			"configuration file, in this order.",
	}
	flags := config.AddFlags(cmd.Flags(), config.Options{File: config.DefaultFile})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return serve(cmd.Context(), flags.Load(environ), environ, cmd.ErrOrStderr())
	}
	return cmd
}

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, loaded *config.Loaded, environ []string, stderr io.Writer) error {
	if err := loaded.Err(); err != nil {
		return err
	}
	// Before what takes longer.
	if err := daemon.CheckPolicies(ctx, loaded.Config()); err != nil {
		return command.Mistake{Err: err}
	}
	cfg, err := daemonConfig(ctx, loaded, environ, stderr)
	if err != nil {
		return err
	}
	d, err := daemon.New(ctx, cfg)
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// daemonConfig returns the configuration of a daemon with its cloud, credential and tools.
func daemonConfig(
	ctx context.Context, loaded *config.Loaded, environ []string, stderr io.Writer,
) (cfg daemon.Config, err error) {
	settings := loaded.Config()
	cfg = daemon.Config{
		Config: settings, Version: programVersion(), Environ: environ, Log: settings.Logger(stderr),
	}
	for _, warning := range loaded.Warnings() {
		cfg.Log.Warn().Msg(warning)
	}
	var shown strings.Builder
	if err := loaded.Print(&shown); err != nil {
		return cfg, err
	}
	cfg.Shown = shown.String()
	cfg.Cloud, err = azurecloud.Read(ctx, settings.CloudName, settings.CloudFile(), nil)
	if err != nil {
		return cfg, err
	}
	if cfg.Cloud.Stale != nil {
		cfg.Log.Warn().Err(cfg.Cloud.Stale).Msg("the daemon starts with the endpoints that it read before")
	}
	cfg.Credential, err = daemon.NewCredentialChain(cfg).Choose(ctx, settings.CredentialMethod)
	if err != nil {
		return cfg, err
	}
	cfg.Tools, err = toolchain.Prepare(ctx, toolchain.Config{Terraform: settings.Terraform, Progress: stderr})
	return cfg, err
}

func configCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{Use: "config", GroupID: running, Short: "Look at the configuration that serve would have"}
	show := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration that serve would have, and its problems",
		Long: "config print takes the flags of serve and prints the configuration that serve would have, as a file\n" +
			"that can be used again, with the origin of each value. Problems follow on stderr, with exit status 2.",
	}
	flags := config.AddFlags(show.Flags(), config.Options{File: config.DefaultFile})
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded := flags.Load(environ)
		return errors.Join(loaded.Print(cmd.OutOrStdout()), loaded.Err())
	}
	cmd.AddCommand(show)
	return cmd
}

func demoCommand(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", GroupID: trying,
		Short: "Take a container through its whole life on an embedded Azure",
		Long: "demo takes a container through its whole life on an embedded Azure, with real Terraform and azurerm.\n" +
			"It needs no account. With --serve, daemon and simulator answer until INT or TERM.\n" +
			"It takes the settings of serve, from flags, environment and a configuration file that is named. The\n" +
			"simulator has the subscription, resource group, location and storage account that they name.",
	}
	flags := config.AddFlags(cmd.Flags(), demo.Options())
	cfg := demo.Config{Version: programVersion(), Environ: environ}
	cmd.Flags().BoolVar(&cfg.Serve, "serve", false, "keep daemon and simulator running until INT or TERM")
	cmd.Flags().BoolVar(&cfg.JSON, "json", false, "print one JSON object per step")
	verbose := cmd.Flags().Bool("verbose", false, "show the daemon's log, as log_level debug does")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		loaded := flags.Load(environ)
		if err := loaded.Err(); err != nil {
			return err
		}
		cfg.Settings, cfg.Out, cfg.Err = loaded.Config(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		if *verbose {
			cfg.Settings.LogLevel = "debug"
		}
		if cfg.Program, err = os.Executable(); err != nil {
			return err
		}
		return demo.Run(cmd.Context(), cfg)
	}
	return cmd
}

func toolsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tools", GroupID: trying,
		Short: "Find, install or build terraform and the azurerm provider",
		Long: "tools prepares terraform and the azurerm provider, so that the first serve or demo does not have to.\n" +
			"It prints their versions and paths.",
	}
	terraform := cmd.Flags().String("terraform", "", "`path` of the terraform or tofu binary to use")
	tofu := cmd.Flags().Bool("tofu", false, "prepare OpenTofu, which tests need beside terraform")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := toolchain.Prepare(cmd.Context(),
			toolchain.Config{Terraform: *terraform, Tofu: *tofu, Progress: cmd.ErrOrStderr()})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "terraform %s %s\nazurerm %s %s\n",
			t.TerraformVersion, t.Terraform, t.ProviderVersion, t.ProviderPath)
		return err
	}
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: about,
		Short: "Print the version, its commit, and the versions of the tools",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), versionText())
			return err
		},
	}
}
