// Command sockerless-backend-azf runs containers as Azure Function Apps, made and destroyed by Terraform, behind a Docker-shaped
// API on a unix socket or TCP. Its package reads flags, environment and configuration file and wires the parts; it must not do their work.
//
//	sockerless-backend-azf serve --subscription-id ID --resource-group NAME --location REGION --storage-account NAME
//	sockerless-backend-azf config print
//	sockerless-backend-azf demo
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once the first signal has been taken, a second one ends the process at once; the next start recovers.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "sockerless-backend-azf: %v\n", err)
		os.Exit(exitStatus(err))
	}
}
