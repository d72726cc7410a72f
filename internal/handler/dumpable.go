package handler

import "syscall"

// hideProcess makes the files of this process below /proc, its environment among them, those of a root with
// CAP_SYS_PTRACE, which Docker's default capabilities do not have (proc_pid_environ(5), PR_SET_DUMPABLE in prctl(2)).
// Commands can be executed nevertheless: execve makes a process dumpable again.
func hideProcess() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
