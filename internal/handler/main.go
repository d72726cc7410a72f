package handler

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main is the program azf-handler: what arguments and environment of the process ask for. It returns the exit code.
func Main() int {
	code, err := run(os.Args[1:], os.Environ())
	if err != nil {
		fmt.Fprintf(os.Stderr, "azf-handler: %v\n", err)
		code = 1
	}
	return code
}

func run(args, environ []string) (code int, err error) {
	subcommand := Subcommand(args, environ)
	if subcommand == HostCommand {
		return Host(environ)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if subcommand == ProbeCommand {
		return 0, Probe(ctx, environ, os.Stdout)
	}
	return 0, Run(ctx, args, environ, os.Stdout, os.Stderr)
}
