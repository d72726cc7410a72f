package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/sockerless/backend-azf/internal/toolchain"
)

// version is set by the linker for releases; else the module's own version is used.
var version = ""

const usage = `Usage: sockerless-backend-azf COMMAND [flags]

Commands:
  serve    answer the API and run containers in Azure
  config   print the configuration that serve would have, and what is wrong with it
  demo     take a container through its whole life on an embedded Azure
  tools    find, install or build terraform and the azurerm provider
  bench    measure what containers cost, against plain terraform and an embedded Azure
  version  print the version

COMMAND -h lists a command's flags.
`

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exitStatus is 2 for mistakes on the command line and in the configuration, else 1.
func exitStatus(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// run is the program. It blocks until the command is done; serve is done when ctx ends.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return usageError{fmt.Errorf("no command given\n%s", strings.TrimSpace(usage))}
	}
	command, args := args[0], args[1:]
	var err error
	switch command {
	case "serve":
		err = serve(ctx, args, environ, stderr)
	case "config":
		err = configCommand(args, environ, stdout, stderr)
	case "demo":
		err = demo(ctx, args, environ, stdout, stderr)
	case "tools":
		err = tools(ctx, args, stdout, stderr)
	case "bench":
		err = benchmark(ctx, args, environ, stdout, stderr)
	case "version", "--version":
		_, err = fmt.Fprintf(stdout, "sockerless-backend-azf %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	case "help", "-h", "--help":
		_, err = io.WriteString(stdout, usage)
	default:
		err = usageError{fmt.Errorf("unknown command %q\n%s", command, strings.TrimSpace(usage))}
	}
	if errors.Is(err, flag.ErrHelp) {
		return nil // the flag set has printed it
	}
	return err
}

// parse reads a command's flags.
func parse(fs *flag.FlagSet, args []string, output io.Writer) error {
	fs.SetOutput(output)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if fs.NArg() > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, got %q", fs.Name(), fs.Arg(0))}
	}
	return nil
}

// lookup finds a variable in an environment; the last of several counts, as in os/exec.
func lookup(environ []string, name string) (value string, ok bool) {
	for _, entry := range environ {
		if v, found := strings.CutPrefix(entry, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// tools prepares terraform and the provider, so that the first serve, demo or test does not have to.
func tools(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("tools", flag.ContinueOnError)
	terraform := fs.String("terraform", "", "path of the terraform or tofu binary to use")
	tofu := fs.Bool("tofu", false, "prepare OpenTofu, which tests need beside terraform")
	if err := parse(fs, args, stderr); err != nil {
		return err
	}
	t, err := toolchain.Prepare(ctx, toolchain.Config{Terraform: *terraform, Tofu: *tofu, Progress: stderr})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "terraform %s %s\nazurerm %s %s\n", t.TerraformVersion, t.Terraform, t.ProviderVersion, t.ProviderPath)
	return err
}
