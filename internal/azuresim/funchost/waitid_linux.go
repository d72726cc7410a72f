package funchost

import "golang.org/x/sys/unix"

// waitid blocks until the child has exited, and leaves the reaping to os/exec.
func waitid(pid int) error {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
}
