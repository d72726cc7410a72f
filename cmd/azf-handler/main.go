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
	"os"

	"github.com/sockerless/backend-azf/internal/handler"
)

func main() { os.Exit(handler.Main()) }
