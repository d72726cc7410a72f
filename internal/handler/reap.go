package handler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"
)

// Numbers of Linux that package syscall lacks.
const (
	prSetChildSubreaper = 36 // linux/prctl.h
	waitAll             = 0  // P_ALL in linux/wait.h
)

// adoptOrphans makes this process the parent of the descendants whose own parents end.
func adoptOrphans() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	return nil
}

// peek returns a child that has ended, and leaves it for another call to reap. It blocks until there is one unless
// flags has WNOHANG; then pid may be 0.
func peek(flags int) (pid int, err error) {
	// Of siginfo_t, si_pid is the first field after three numbers and the padding before the union (64 bits).
	var info struct {
		_   [4]int32
		pid int32
		_   [27]int32
	}
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, waitAll, 0, uintptr(unsafe.Pointer(&info)),
			uintptr(syscall.WEXITED|syscall.WNOWAIT|flags), 0, 0)
		switch errno {
		case 0:
			return int(info.pid), nil
		case syscall.EINTR:
		default:
			return 0, fmt.Errorf("wait for children: %w", errno)
		}
	}
}

// wait reaps a child that has ended.
func wait(pid int, status *syscall.WaitStatus) (err error) {
	for {
		if _, err = syscall.Wait4(pid, status, 0, nil); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// reapUntil reaps all children that end before the child with this pid, and returns when that one has ended.
func reapUntil(pid int) error {
	for {
		ended, err := peek(0)
		if err != nil || ended == pid {
			return err
		}
		if err := wait(ended, nil); err != nil {
			return fmt.Errorf("reap process %d: %w", ended, err)
		}
	}
}

// reaper reaps orphans beside commands whose exit status os/exec reads. A nil reaper leaves orphans alone. The process
// must start children only through it.
type reaper struct {
	mu  sync.Mutex
	own map[int]bool // the commands that os/exec waits for
}

// start starts a command.
func (r *reaper) start(cmd *exec.Cmd) error {
	if r == nil {
		return cmd.Start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	r.own[cmd.Process.Pid] = true
	return nil
}

// wait waits for a command that start has started, as os/exec does.
func (r *reaper) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	if r != nil {
		r.mu.Lock()
		delete(r.own, cmd.Process.Pid)
		r.mu.Unlock()
		r.reap()
	}
	return err
}

// reap reaps the orphans that have ended, up to a command that os/exec is about to reap: wait goes on after that.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		pid, err := peek(syscall.WNOHANG)
		if err != nil || pid == 0 || r.own[pid] {
			return // the error says that there are no children
		}
		_ = wait(pid, nil) // the orphan has ended, and nobody else reaps it
	}
}

// run reaps orphans until ctx ends.
func (r *reaper) run(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		r.reap()
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}
