// Command tool stands for the Functions host and for users' commands. It needs no files but itself.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) == 1 && filepath.Base(os.Args[0]) == "Microsoft.Azure.WebJobs.Script.WebHost" {
		host()
		return
	}
	switch os.Args[1] {
	case "show":
		show()
	case "daemonize":
		orphan()
	case "crowd":
		crowd()
	case "pause":
		pause()
	}
}

// host starts the custom handler, as the Functions host does, leaves an orphan if HOST_ORPHAN is set, and ends after a
// signal: with the code HOST_EXIT, or by the signal of that number if HOST_EXIT is negative.
func host() {
	if os.Getenv("HOST_ORPHAN") != "" {
		self, err := os.Executable()
		check(err)
		check(exec.Command(self, "daemonize").Run())
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	home := os.Getenv("HOME")
	content, err := json.Marshal(os.Environ())
	check(err)
	check(os.WriteFile(filepath.Join(home, "environ"), content, 0o600))
	handler := exec.Command(filepath.Join(filepath.Dir(home), "init"), "handler")
	handler.Env = append(os.Environ(), "FUNCTIONS_CUSTOMHANDLER_PORT="+os.Getenv("FUNCTIONS_TEST_PORT"))
	handler.Stdout, handler.Stderr = os.Stdout, os.Stderr
	check(handler.Start())
	received := <-signals
	check(handler.Process.Signal(syscall.SIGTERM))
	check(handler.Wait())
	check(os.WriteFile(filepath.Join(home, "signal"), []byte(received.String()), 0o600))
	code, _ := strconv.Atoi(os.Getenv("HOST_EXIT"))
	if code < 0 {
		check(syscall.Kill(os.Getpid(), syscall.Signal(-code)))
		select {} // until the signal comes
	}
	os.Exit(code)
}

// show prints the surroundings of a command as JSON.
func show() {
	dir, err := os.Getwd()
	check(err)
	groups, err := os.Getgroups()
	check(err)
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"env": os.Environ(), "args": os.Args, "dir": dir, "uid": os.Getuid(), "gid": os.Getgid(), "groups": groups,
	}))
}

// orphan starts a process in a session of its own, which stays when this process ends, and prints its number.
func orphan() {
	self, err := os.Executable()
	check(err)
	child := exec.Command(self, "pause")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(child.Start())
	fmt.Println(child.Process.Pid)
}

// crowd leaves many orphans that end at the same time as this process, which exits with 7.
func crowd() {
	self, err := os.Executable()
	check(err)
	for range 20 {
		check(exec.Command(self, "nothing").Start())
	}
	os.Exit(7)
}

// pause waits for a signal that ends it.
func pause() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	<-signals
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
