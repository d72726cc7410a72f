package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/bench"
	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/workspace"
)

// benchmark measures what containers cost and prints tables. daemon, replay and sdk are what it starts in processes of their own.
func benchmark(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "daemon":
			return benchDaemon(ctx, args[1:], environ, stderr)
		case "replay", "sdk":
			return benchClient(ctx, args[0], args[1:], stdout, stderr)
		}
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	cfg := bench.Config{Environ: environ, Progress: func(line string) { _, _ = fmt.Fprintln(stderr, line) }} // nobody reads it: no reason to fail
	fs.IntVar(&cfg.Rounds, "rounds", 5, "how often each thing is measured")
	fs.IntVar(&cfg.ProfileRounds, "arm-rounds", 3, "how often with the latency of Azure's Resource Manager; 0 leaves it out")
	fs.IntVar(&cfg.Batch, "batch", 40, "containers that are created at once")
	fs.IntVar(&cfg.Parallel, "parallel", 16, "how many of them at a time")
	growth := fs.String("growth", "1,100,1000", "numbers of existing containers to measure with")
	source := fs.String("source", ".", "checkout of this project, which the example image is built from")
	file := fs.String("json", "bench.json", "file for the results")
	fs.StringVar(&cfg.Program, "program", "", "binary of this program for the processes that are measured; empty means this one")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	for text := range strings.SplitSeq(*growth, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || cfg.Rounds < 1 || cfg.ProfileRounds < 0 || cfg.Batch < 1 || cfg.Parallel < 1 {
			return usageError{errors.New("bench: numbers must be positive, and those of --growth separated by commas")}
		}
		cfg.Growth = append(cfg.Growth, n)
	}
	report, err := measure(ctx, cfg, *source, stderr)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := errors.Join(report.Print(stdout), os.WriteFile(*file, content, 0o644)); err != nil {
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
	cfg.Sim, err = azuresim.Start(azuresim.Config{Dir: filepath.Join(cfg.Dir, "azuresim"), Wrap: cfg.Recorder.Wrap, Log: zerolog.New(stderr).Level(zerolog.ErrorLevel)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cfg.Sim.Close()) }()
	cfg.Image = cfg.Sim.Registry() + "/examples/hello:latest"
	if err := pushExample(ctx, cfg.Sim, cfg.Image, source, filepath.Join(cfg.Dir, "build"), cfg.Environ); err != nil {
		return nil, err
	}
	daemonCfg, err := simulatedConfig(ctx, cloudOf(cfg.Sim), tools, cfg.Dir, "", cfg.Environ, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	cfg.Terraform, cfg.CLIConfig = tools.Terraform, tools.CLIConfig()
	// Without eager polling, plain terraform would wait 10 s for each app: that is left out of the comparison.
	cfg.TerraformEnv = workspace.EagerEnvironment(cfg.Environ, daemonCfg.terraformEnv())
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

// benchDaemon is a daemon on a simulator in another process.
func benchDaemon(ctx context.Context, args, environ []string, stderr io.Writer) error {
	fs := flag.NewFlagSet("bench daemon", flag.ContinueOnError)
	url, ca := fs.String("url", "", "address of the simulator"), fs.String("ca", "", "its certificate")
	dir, socket := fs.String("dir", "", "folder for the daemon's state"), fs.String("socket", "", "socket to answer on")
	owner := fs.String("owner", "", "owner of what is made")
	settings := providerSettings{MaxAge: time.Hour, Eager: true, EagerRuns: 16}
	fs.StringVar(&settings.Pool, "pool", poolOn, "provider_pool")
	fs.IntVar(&settings.Size, "pool-size", 0, "provider_pool_size")
	fs.IntVar(&settings.Reuse, "reuse", 1, "provider_reuse")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	tools, err := toolchain.Prepare(ctx, toolchain.Config{Progress: stderr})
	if err != nil {
		return err
	}
	transport, err := bench.Transport(*url, *ca)
	if err != nil {
		return err
	}
	cfg, err := simulatedConfig(ctx, simulatedCloud{url: *url, caFile: *ca, transport: transport}, tools, *dir, *socket, environ, zerolog.New(stderr).With().Timestamp().Logger())
	if err != nil {
		return err
	}
	cfg.Providers, cfg.Settings.Owner = settings, *owner
	// What Azure allows is not what is measured: plain terraform does not wait for it either.
	cfg.Limits = engine.DefaultLimits()
	cfg.Limits.TerraformRunsPerServicePlan, cfg.Limits.AzureWritesPerMinute, cfg.Limits.Queue = cfg.Limits.TerraformRuns, 1_000_000, 1_000
	d, err := newDaemon(ctx, cfg)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// benchClient is a client of the simulator that knows no Terraform.
func benchClient(ctx context.Context, command string, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("bench "+command, flag.ContinueOnError)
	file := fs.String("task", "", "what to do")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	if command == "replay" {
		return bench.Replay(ctx, *file, stdout)
	}
	task, err := bench.ReadTask(*file)
	if err != nil {
		return err
	}
	transport, err := bench.Transport(task.URL, task.CAFile)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	cfg, err := simulatedConfig(ctx, simulatedCloud{url: task.URL, caFile: task.CAFile, transport: transport}, toolchain.Tools{}, "", "", nil, zerolog.Nop())
	if err != nil {
		return err
	}
	return bench.SDK(ctx, task, cfg.Credential.Token, azcore.ClientOptions{Cloud: cfg.Cloud, Transport: cfg.Transport}, stdout)
}
