package server

import (
	"context"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"golang.org/x/sys/unix"
)

type connKey struct{}

// withConn keeps the connection of requests in their context.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// peerCommand returns the command line of the process that sends a request over a unix socket, nil when it cannot be
// known.
func peerCommand(c echo.Context) []string {
	conn, ok := c.Request().Context().Value(connKey{}).(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var peer *unix.Ucred
	err = raw.Control(func(fd uintptr) { peer, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || peer == nil || peer.Pid == 0 {
		return nil
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(int(peer.Pid)) + "/cmdline")
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
}

// isDockerRun reports whether a create comes from the docker CLI's run. Its create sends the same, so that only the
// command line tells them apart; where that cannot be read, every create of the CLI counts.
func isDockerRun(c echo.Context) bool {
	if !strings.HasPrefix(c.Request().UserAgent(), "Docker-Client/") {
		return false
	}
	command := peerCommand(c)
	if len(command) == 0 {
		return true
	}
	if path.Base(command[0]) != "docker" {
		return false
	}
	verb := slices.IndexFunc(command, func(arg string) bool { return arg == "run" || arg == "create" || arg == "compose" })
	return verb >= 0 && command[verb] == "run"
}
