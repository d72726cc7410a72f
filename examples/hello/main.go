// Command hello is an example of a container's command: it greets, writes a line to stderr, and ends with the exit code
// of its flag -exit.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	exit := flag.Int("exit", 0, "exit code")
	flag.Parse()
	greeting := os.Getenv("GREETING")
	if greeting == "" {
		greeting = "Hello"
	}
	fmt.Printf("%s, %s!\n", greeting, strings.Join(flag.Args(), " "))
	fmt.Fprintf(os.Stderr, "run %s ends with code %d\n", os.Getenv("AZF_RUN_ID"), *exit)
	os.Exit(*exit)
}
