// Command azf-bench measures what containers cost, against plain terraform and on an embedded Azure: see package
// internal/bench. It does not belong to the product.
package main

import "github.com/sockerless/backend-azf/internal/command"

func main() { command.Main("azf-bench", run) }
