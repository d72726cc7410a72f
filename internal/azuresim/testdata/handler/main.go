// Command handler is the custom handler of the images that azuresim's tests push. It answers with its setting A and its
// process id.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	address := "127.0.0.1:" + os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	err := http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "A=%s pid=%d", os.Getenv("A"), os.Getpid()) // a lost answer fails the test
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
