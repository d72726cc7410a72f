// Package demo shows the product without an account: it takes a container through its life on a simulated Azure, or
// keeps daemon and simulator running for others to try. It also makes a simulator the cloud of a daemon, for
// benchmark and tests. It must not know commands or flags.
//
// A demo needs nothing but the program itself, and neither a checkout nor Go. Its image knows nothing of Azure
// Functions, so the daemon wraps it. In the wrapped image, a copy of the program is the Functions host, and another
// is azf-handler where there is none beside the program. So the program must be static. The image's own command is a
// script for the shell of this machine, whose programs all containers share.
//
//	err := demo.Run(ctx, demo.Config{Settings: settings, Program: executable, Out: os.Stdout, Err: os.Stderr})
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/examples"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuresim/appimage"
	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/toolchain"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/workspace"
)

// Config configures Run.
type Config struct {
	// Settings are the daemon's, loaded with Options. StateDir is the folder for everything; empty means a temporary
	// one. An empty address means a unix socket in that folder.
	Settings config.Config
	// Serve keeps daemon and simulator running until the context ends, in place of the journey.
	Serve bool
	// JSON prints one JSON object for each step.
	JSON bool
	// Program is the path of the running executable; Version is its version.
	Program, Version string
	Environ          []string
	// Out takes the report, Err the log and the progress of preparations.
	Out, Err io.Writer
}

// demo is a demo under way.
type demo struct {
	Config
	report *Report
	log    zerolog.Logger
	dir    string
	tools  toolchain.Tools
	sim    *azuresim.Sim
	image  string
	// refuses: the daemon has the example policy.
	refuses bool
}

// registry is the container registry of the simulated Azure, for the demo's image and for the wrapped one.
const registry = "demo.azurecr.io"

// Run plays a demo, and returns when nothing of it runs any more. A mistake in Config is an error of type
// config.Problems.
func Run(ctx context.Context, cfg Config) (err error) {
	d := &demo{Config: cfg, report: NewReport(cfg.Out, cfg.JSON), log: cfg.Settings.Logger(cfg.Err)}
	var cleanup func() error
	if d.dir, cleanup, err = folder(cfg.Settings.StateDir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup(), d.report.err) }()
	socket, err := d.place()
	if err != nil {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	defer func() {
		if d.sim != nil {
			err = errors.Join(err, d.sim.Close())
		}
	}()
	if err := d.azure(ctx); err != nil {
		return err
	}
	running, err := d.daemon(ctx)
	if err != nil {
		return err
	}
	daemonCtx, stopDaemon := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	address := running.Addr().Network() + "://" + running.Addr().String()
	go func() { stopped <- running.Run(daemonCtx) }()
	defer func() {
		stopDaemon()
		err = errors.Join(err, <-stopped)
	}()
	if !d.Serve {
		return Journey(ctx, d.report, client.New("unix", socket), d.image, d.refuses, d.sim.Sites)
	}
	if err := d.report.serving(address, socket, d.image); err != nil {
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

// place puts the daemon's state and its address into the demo's folder. It returns the path of the daemon's unix
// socket, or "" when the daemon listens on another address.
func (d *demo) place() (socket string, err error) {
	d.Settings.StateDir = filepath.Join(d.dir, "daemon")
	listen := &d.Settings.Listen
	if listen.Address == "" {
		listen.Address = "unix://" + filepath.Join(d.dir, "azf.sock")
	}
	var problems config.Problems
	for _, problem := range listen.Check() {
		problems = append(problems, problem.Error())
	}
	network, path, err := server.ParseAddress(listen.Address)
	if err == nil && network != server.NetworkUnix {
		path = ""
		if !d.Serve {
			problems = append(problems, "listen: the journey of a demo needs a unix socket: use unix:///path, or --serve")
		}
	}
	if len(problems) > 0 {
		return "", problems
	}
	return path, nil
}

// prepare checks the program, and finds the tools.
func (d *demo) prepare(ctx context.Context) error {
	static, err := appimage.IsStatic(d.Program)
	if err != nil {
		return err
	}
	if !static {
		return errors.New("this program needs shared libraries, which the containers of a demo lack: use make demo, or " +
			"build it with CGO_ENABLED=0")
	}
	// The toolchain prints progress of its own here.
	return d.report.quietStep(ctx, "tools", func(s *Step) (err error) {
		d.tools, err = toolchain.Prepare(ctx, toolchain.Config{Terraform: d.Settings.Terraform, Progress: d.Err})
		if err == nil {
			s.Detail = fmt.Sprintf("terraform %s, azurerm %s", d.tools.TerraformVersion, d.tools.ProviderVersion)
		}
		return err
	})
}

// azure starts the simulator, which has what the settings name, and puts the image into its registry.
func (d *demo) azure(ctx context.Context) error {
	err := d.report.step(ctx, "azure", func(s *Step) (err error) {
		d.sim, err = azuresim.Start(azuresim.Config{
			Dir: filepath.Join(d.dir, "azuresim"), Log: d.log, SubscriptionID: d.Settings.SubscriptionID,
			ResourceGroup: d.Settings.Azure.ResourceGroup, Location: d.Settings.Azure.Location,
			StorageAccount: path.Base(d.Settings.Azure.StorageAccount),
			Shared:         azuresim.Programs(), // for helloImage
		})
		if err == nil {
			s.Detail = "azuresim on " + d.sim.URL()
			if _, err := container.Supported(); err != nil {
				s.Lines = []string{"commands run on this machine, and see its files: " + err.Error()}
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	const repository = "/examples/hello:latest"
	d.image = registry + repository
	return d.report.step(ctx, "image", func(s *Step) error {
		s.Detail = d.image + ", without a Functions host"
		img, err := helloImage()
		if err != nil {
			return err
		}
		return push(ctx, d.sim, d.sim.Registry()+repository, img) // the same registry, which takes no token there
	})
}

// daemon wires the daemon.
func (d *demo) daemon(ctx context.Context) (wired *daemon.Daemon, err error) {
	err = d.report.step(ctx, "daemon", func(s *Step) (err error) {
		s.Detail = "answers on " + d.Settings.Listen.Address
		if err := d.policy(); err != nil {
			return err
		}
		id, clientID := d.sim.Identity()
		d.Settings.Azure.Identity = &workspace.Identity{ID: id, ClientID: clientID}
		d.Settings.Azure.Registry = registry
		if _, err := daemon.FindHandler(); err != nil { // without a release or make build
			d.Settings.Wrap.Handler = cmp.Or(d.Settings.Wrap.Handler, d.Program)
		}
		cfg := daemon.Config{Config: d.Settings, Version: d.Version, Tools: d.tools, Environ: d.Environ, Log: d.log}
		if err := Connect(ctx, &cfg, d.sim.Access(), d.sim.Transport()); err != nil {
			return err
		}
		wired, err = daemon.New(ctx, cfg)
		return err
	})
	return wired, err
}

// policy gives the daemon of a journey the example policy, unless the settings name one.
func (d *demo) policy() error {
	if d.Serve || len(d.Settings.Policy.Sets) > 0 {
		return nil
	}
	path := filepath.Join(d.dir, "policy")
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	files, err := examples.Policy.ReadDir("policy")
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := examples.Policy.ReadFile("policy/" + file.Name())
		if err != nil {
			return err
		}
		// Nobody else may change it: the daemon would refuse it.
		if err := os.WriteFile(filepath.Join(path, file.Name()), content, 0o600); err != nil {
			return err
		}
	}
	d.Settings.Policy.Sets, d.refuses = []policy.Set{{Name: "example", Path: path}}, true
	return nil
}

// folder returns the folder for everything of a demo, and a function to call in the end.
func folder(dir string) (string, func() error, error) {
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
		// The simulated Azure forgets everything when it ends: an older state would name what does not exist any more.
		return "", nil, config.Problems{fmt.Sprintf("state folder %s is not empty: choose a new one", dir)}
	}
	dir, err = filepath.Abs(dir)
	return dir, func() error { return nil }, err
}
