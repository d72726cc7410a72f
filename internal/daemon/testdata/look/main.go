// Command look prints what an engine has made of the layers of its image. It needs no files but itself. Under another
// name than look, it prints what the process may do.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if name := filepath.Base(os.Args[0]); name != "look" {
		status, err := os.ReadFile("/proc/self/status")
		check(err)
		_, after, _ := strings.Cut(string(status), "CapEff:")
		fmt.Printf("%s: uid=%d euid=%d capabilities=%s\n", name, os.Getuid(), os.Geteuid(), strings.Fields(after)[0])
		return
	}
	content, err := os.ReadFile("/opt/link")
	check(err)
	fmt.Printf("link=%s opt=%v\n", content, names("/opt"))
	folder, err := os.Readlink("/bin")
	check(err)
	fmt.Printf("srv=%v bin=%s layers=%d\n", names("/srv"), folder, len(names("/layers")))
	for _, name := range []string{"suid", "raw"} {
		output, err := exec.Command("/bin/" + name).CombinedOutput()
		check(err)
		fmt.Printf("%s", output)
	}
}

func names(dir string) (found []string) {
	entries, err := os.ReadDir(dir)
	check(err)
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
