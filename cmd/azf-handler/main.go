// Command azf-handler is the Azure Functions custom handler that users put into their image. The Functions host starts it and passes
// requests on to it; it runs the container's command as a child process for each run, prints and captures its output, and answers with
// its exit code, as package invoker/protocol defines. It never ends with the child's code: to the Functions host that would be a crash.
//
// The command is the app setting AZF_COMMAND, else azf-handler's own arguments, which host.json gives in customHandler.description.arguments.
// It is a static binary and must import nothing but the standard library and invoker/protocol.
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
	err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "azf-handler: %v\n", err)
		os.Exit(1)
	}
}
