// Command azf-handler is the Azure Functions custom handler that users put into their image, and the entrypoint and
// handler of a wrapped image. Package internal/handler describes its behaviour. It is a static binary.
//
//	azf-handler host                  start the Functions host of a wrapped image, as its entrypoint
//	azf-handler handler [COMMAND...]  run commands for the Functions host of a wrapped image
//	azf-handler probe                 print facts about the container as a line of JSON
//	azf-handler [--] [COMMAND...]     run commands for the Functions host of a user's own image
//
// A Functions host names its port in FUNCTIONS_CUSTOMHANDLER_PORT. Then host and probe are ordinary commands, and so
// is handler outside a wrapped image.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sockerless/backend-azf/internal/handler"
)

func main() {
	code, err := run(os.Args[1:], os.Environ())
	if err != nil {
		fmt.Fprintf(os.Stderr, "azf-handler: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(args, environ []string) (code int, err error) {
	subcommand := handler.Subcommand(args, environ)
	if subcommand == handler.HostCommand {
		return handler.Host(environ)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if subcommand == handler.ProbeCommand {
		return 0, handler.Probe(ctx, environ, os.Stdout)
	}
	return 0, handler.Run(ctx, args, environ, os.Stdout, os.Stderr)
}
