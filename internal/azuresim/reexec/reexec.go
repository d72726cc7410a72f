// Package reexec lets a program start itself again as another one, and starts processes that end with it. It must not
// know what those programs do.
//
//	func init() { reexec.Register("other", func() int { ...; return 0 }) } // in a package of the program
//	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"other"}}
//	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
//	err := reexec.Start(cmd)
package reexec

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// Register runs main and ends the process with its result if the process was started under this name. Packages call it
// in init, so that it works in each program that imports them, test binaries too.
func Register(name string, main func() int) {
	if len(os.Args) > 0 && filepath.Base(os.Args[0]) == name {
		os.Exit(main())
	}
}

// starter is one thread that lives as long as the program. The death signal (PR_SET_PDEATHSIG in prctl(2)) comes when
// the thread that started a process ends, and not when the program does.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// Start starts a command from a thread that ends with this program only.
func Start(cmd *exec.Cmd) error {
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}
