package azuretest

import (
	"net"
	"runtime"
	"syscall"
)

// DialAs connects to a unix socket as another user. The caller is root.
func DialAs(uid int, path string) (conn net.Conn, err error) {
	// The kernel keeps the effective user of the thread that connects.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		return nil, errno
	}
	defer func() {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno != 0 {
			panic(errno)
		}
	}()
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}
