package funchost

import "golang.org/x/sys/unix"

// waitid blocks until the child has exited and leaves it to be reaped by os/exec.
func waitid(pid int) error {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
}
