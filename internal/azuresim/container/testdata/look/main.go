// Command look prints what a process sees in a container.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && (os.Args[1] == "wait" || os.Args[1] == "stay") {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		if err := os.WriteFile(os.Args[2], nil, 0o600); err != nil {
			panic(err)
		}
		if <-term; os.Args[1] == "wait" {
			os.Exit(3)
		}
		select {}
	}
	groups, err := os.Getgroups()
	if err != nil {
		panic(err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	host, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	fmt.Printf("pid=%d\nuid=%d gid=%d groups=%v\ncwd=%s\nenv=%v\nargs=%v\nhostname=%s\n",
		os.Getpid(), os.Getuid(), os.Getgid(), groups, cwd, os.Environ(), os.Args, host)
	fmt.Printf("root=%v\ndescriptors=%v\n", names("/"), names("/proc/self/fd"))
	processes := 0
	for _, name := range names("/proc") {
		if strings.Trim(name, "0123456789") == "" {
			processes++
		}
	}
	fmt.Printf("processes=%d\n", processes)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Cap") {
			fmt.Print(strings.ReplaceAll(line, ":\t", "="))
		}
	}
	if info, err := os.Stat("/dev/null"); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		fmt.Println("/dev/null is a device")
	}
	if _, err := os.ReadFile("/etc/resolv.conf"); err == nil {
		fmt.Println("resolv.conf is there")
	}
	for _, dir := range os.Args[1:] {
		fmt.Printf("%s=%v\n", dir, names(dir))
	}
	os.Exit(7)
}

func names(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
