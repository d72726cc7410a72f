// Command webhost is the stand-in for the Azure Functions host, under any name. Tests build it for their images.
package main

import (
	"os"

	"github.com/sockerless/backend-azf/internal/azuresim/funchost"
)

func main() { os.Exit(funchost.Main()) }
