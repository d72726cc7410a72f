// Command azf-handler is the Azure Functions custom handler that users put into their image. Package internal/handler
// describes its behaviour. It is a static binary.
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := handler.Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "azf-handler: %v\n", err)
		os.Exit(1)
	}
}
