// Command azuresim is the simulator of package internal/azuresim as a program of its own, for others' tests.
package main

import "github.com/sockerless/backend-azf/internal/command"

func main() { command.Main("azuresim", run) }
