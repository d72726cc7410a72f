package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/bench"
	"github.com/sockerless/backend-azf/internal/command"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/demo"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/workspace"
)

// run is the program. It measures and prints tables. The hidden commands are what it starts in processes of their own.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:   "azf-bench",
		Short: "Measure what containers cost, against plain terraform and on an embedded Azure",
	}
	cfg := bench.Config{Environ: environ, Progress: func(line string) {
		_, _ = fmt.Fprintln(stderr, line) // the benchmark goes on without progress lines
	}}
	flags := root.Flags()
	flags.IntVar(&cfg.Rounds, "rounds", 5, "`number` of measurements of each thing")
	flags.IntVar(&cfg.TrailRecords, "trail-records", 10_000, "`number` of audit records that are written and verified")
	flags.IntVar(&cfg.ProfileRounds, "arm-rounds", 3,
		"`number` of measurements with the latency of Azure Resource Manager; 0 leaves it out")
	flags.IntVar(&cfg.Batch, "batch", 40, "`number` of containers that are created at once")
	flags.IntVar(&cfg.Parallel, "parallel", 16, "`number` of them at a time")
	flags.IntSliceVar(&cfg.Growth, "growth", []int{1, 100, 1000}, "`numbers` of existing containers to measure with")
	flags.StringVar(&cfg.Program, "program", "",
		"`binary` of this program for the processes that are measured; empty means this one")
	source := flags.String("source", ".", "checkout of this project, which the example image is built from")
	file := flags.String("json", "bench.json", "`file` for the results")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, n := range append(cfg.Growth, cfg.Rounds, cfg.ProfileRounds+1, cfg.Batch, cfg.Parallel) {
			if n < 1 {
				return command.Mistakef("numbers must be positive (azf-bench --help lists the flags)")
			}
		}
		return measureAndPrint(cmd.Context(), cfg, *source, *file, stdout, stderr)
	}
	root.AddCommand(daemonCommand(environ, stderr), replayCommand(stdout), sdkCommand(stdout))
	return command.Execute(ctx, root, args, stdout, stderr)
}

// measureAndPrint writes the results to file and the tables to stdout. It fails when a bar is missed.
func measureAndPrint(ctx context.Context, cfg bench.Config, source, file string, stdout, stderr io.Writer) error {
	report, err := measure(ctx, cfg, source, stderr)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := errors.Join(report.Print(stdout), os.WriteFile(file, content, 0o644)); err != nil {
		return err
	}
	if missed := report.Missed(); len(missed) > 0 {
		return fmt.Errorf("%d bars are missed:\n  %s", len(missed), strings.Join(missed, "\n  "))
	}
	return nil
}

// measure runs the benchmark on a simulator of its own.
func measure(ctx context.Context, cfg bench.Config, source string, stderr io.Writer) (_ *bench.Report, err error) {
	if cfg.Dir, err = os.MkdirTemp("", "azf-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	if cfg.Program == "" {
		if cfg.Program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	tools, err := toolchain.Prepare(ctx, toolchain.Config{Progress: stderr})
	if err != nil {
		return nil, err
	}
	cfg.Recorder = &bench.Recorder{}
	cfg.Sim, err = azuresim.Start(azuresim.Config{
		Dir: filepath.Join(cfg.Dir, "azuresim"), Wrap: cfg.Recorder.Wrap, Log: zerolog.New(stderr).Level(zerolog.ErrorLevel),
		Shared: azuresim.Programs(),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cfg.Sim.Close()) }()
	cfg.Image = cfg.Sim.Registry() + "/examples/hello:latest"
	err = demo.PushExample(ctx, cfg.Sim, cfg.Image, source, filepath.Join(cfg.Dir, "build"), cfg.Environ)
	if err != nil {
		return nil, err
	}
	// Files of a checkout may be writable by others.
	cfg.Policy = filepath.Join(cfg.Dir, "policy")
	if err := copyPolicy(filepath.Join(source, "examples", "policy"), cfg.Policy); err != nil {
		return nil, err
	}
	simulated, err := connected(ctx, cfg.Sim.Access(), cfg.Sim.Transport(), cfg.Dir, "")
	if err != nil {
		return nil, err
	}
	cfg.Terraform, cfg.CLIConfig = tools.Terraform, tools.CLIConfig()
	// Without eager polling, plain terraform would wait 10 s for each app. The comparison leaves that out.
	cfg.TerraformEnv = workspace.EagerEnvironment(cfg.Environ, simulated.FullTerraformEnv())
	report, err := bench.Run(ctx, cfg)
	if err != nil {
		return nil, err
	}
	report.Versions["azurerm"] = tools.ProviderVersion
	product := "terraform"
	if tools.Tofu {
		product = "OpenTofu"
	}
	report.Versions[product] = tools.TerraformVersion
	return report, nil
}

// copyPolicy copies a folder of rules, so that nobody else may change the copy.
func copyPolicy(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// connected returns the configuration of a daemon on a simulator, with its state in dir.
func connected(
	ctx context.Context, sim azuresim.Access, transport http.RoundTripper, dir, socket string,
) (cfg daemon.Config, err error) {
	if cfg.Config, err = demo.Settings(filepath.Join(dir, "daemon"), socket); err != nil {
		return cfg, err
	}
	return cfg, demo.Connect(ctx, &cfg, sim, transport)
}

// daemonCommand runs a daemon on the simulator of another process.
func daemonCommand(environ []string, stderr io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "daemon", Hidden: true}
	flags := cmd.Flags()
	access := flags.String("sim", "", "the simulator's access, as JSON")
	dir := flags.String("dir", "", "folder for the daemon's state")
	socket := flags.String("socket", "", "socket to answer on")
	owner := flags.String("owner", "", "owner of the resources")
	pool := flags.String("pool", config.PoolOn, "provider_pool")
	rules := flags.String("policy", "", "folder of rules")
	size, reuse := flags.Int("pool-size", 0, "provider_pool_size"), flags.Int("reuse", 1, "provider_reuse")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		tools, err := toolchain.Prepare(ctx, toolchain.Config{Progress: stderr})
		if err != nil {
			return err
		}
		var sim azuresim.Access
		if err := json.Unmarshal([]byte(*access), &sim); err != nil {
			return fmt.Errorf("read --sim: %w", err)
		}
		transport, err := sim.Transport()
		if err != nil {
			return err
		}
		cfg, err := connected(ctx, sim, transport, *dir, *socket)
		if err != nil {
			return err
		}
		cfg.Tools, cfg.Environ, cfg.Log = tools, environ, zerolog.New(stderr).With().Timestamp().Logger()
		cfg.Azure.Owner = *owner
		if *rules != "" {
			cfg.Policy.Sets = []policy.Set{{Name: "example", Path: *rules}}
		}
		cfg.Providers.Pool, cfg.Providers.Size, cfg.Providers.Reuse = *pool, *size, *reuse
		cfg.Providers.EagerTerraformRuns = 16
		// What Azure allows is not measured: plain terraform does not wait for it either.
		cfg.Limits.TerraformRunsPerServicePlan = cfg.Limits.TerraformRuns
		cfg.Limits.AzureWritesPerMinute, cfg.Limits.Queue = 1_000_000, 1_000
		d, err := daemon.New(ctx, cfg)
		if err != nil {
			return err
		}
		return d.Run(ctx)
	}
	return cmd
}

// replayCommand repeats calls of azurerm to the simulator of another process.
func replayCommand(stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "replay", Hidden: true}
	file := cmd.Flags().String("task", "", "`file` with the task")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return bench.Replay(cmd.Context(), *file, stdout) }
	return cmd
}

// sdkCommand creates a function app with the SDK on the simulator of another process.
func sdkCommand(stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "sdk", Hidden: true}
	file := cmd.Flags().String("task", "", "`file` with the task")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		ctx := cmd.Context()
		task, err := bench.ReadTask(*file)
		if err != nil {
			return err
		}
		transport, err := task.Sim.Transport()
		if err != nil {
			return err
		}
		defer transport.CloseIdleConnections()
		dir, err := os.MkdirTemp("", "azf-bench-sdk-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		cfg, err := connected(ctx, task.Sim, transport, dir, "")
		if err != nil {
			return err
		}
		options := azcore.ClientOptions{Cloud: cfg.Cloud.Configuration, Transport: cfg.Transport}
		return bench.SDK(ctx, task, cfg.Credential.Token, options, stdout)
	}
	return cmd
}
