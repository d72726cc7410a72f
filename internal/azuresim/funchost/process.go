package funchost

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
)

// stopLimit is the time that a handler has to end after TERM (App Service: WEBSITES_CONTAINER_STOP_TIME_LIMIT).
const stopLimit = 5 * time.Second

// process is one process of the handler.
type process struct {
	url   string
	cmd   *exec.Cmd
	ended chan struct{}
	code  int // valid when ended is closed
}

// startProcess starts the handler on a free port. The handler gets the host's environment.
func (h *host) startProcess(ctx context.Context, s *site) (*process, error) {
	port, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{url: "http://127.0.0.1:" + port, ended: make(chan struct{})}
	p.cmd = exec.Command(s.executable, s.args...)
	p.cmd.Dir = s.workDir
	p.cmd.Env = append(slices.Clone(h.environ), "FUNCTIONS_CUSTOMHANDLER_PORT="+port, "FUNCTIONS_HTTPWORKER_PORT="+port)
	// A process group of its own, so that its children can be ended with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start handler: %w", err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start handler: %w", err)
	}
	if err := reexec.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start handler: %w", err)
	}
	h.work.Go(func() {
		var read sync.WaitGroup
		read.Go(func() { h.console(stdout, false) })
		read.Go(func() { h.console(stderr, true) })
		exited := make(chan struct{})
		var reaper sync.WaitGroup
		reaper.Go(func() {
			// Children that the handler left hold its pipes open: they end with the handler.
			waitExit(p.cmd.Process.Pid)
			close(exited)
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // leaves no process
		})
		reaper.Wait()
		read.Wait()
		_ = p.cmd.Wait() // the code is in ProcessState
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.ended)
	})
	return p, nil
}

// Ports of servers that others start. They are below those that the kernel gives to connections
// (net.ipv4.ip_local_port_range), of which one could take a free port before its server does.
const (
	minPort = 20_000
	maxPort = 32_000
)

// FreePort returns a port of this machine's loopback that nobody uses.
func FreePort(ctx context.Context) (string, error) {
	var cfg net.ListenConfig
	for ctx.Err() == nil {
		port := strconv.Itoa(minPort + rand.IntN(maxPort-minPort))
		l, err := cfg.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find a free port: %w", err)
		}
		return port, l.Close()
	}
	return "", ctx.Err()
}

// waitExit blocks until a child has exited, without reaping it.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// waitReady blocks until the handler answers anything on /. It returns false if the handler or ctx ended first.
func (p *process) waitReady(ctx context.Context, client *http.Client) bool {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/", nil)
		if err != nil {
			return false
		}
		if res, err := client.Do(req); err == nil {
			return res.Body.Close() == nil
		}
		select {
		case <-p.ended:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop asks the handler's process group to end, and kills it if it has not ended in time.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) // it may have ended by itself
	timer := time.NewTimer(stopLimit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Severity levels of Application Insights.
const (
	information = 1
	warning     = 2
	failure     = 3
)

// workerLog begins the lines of language workers that are not output of functions.
const workerLog = "LanguageWorkerConsoleLog"

// console logs a handler's lines as the Functions host does for custom handlers: a line of stderr is an error, or a
// warning if it contains "warn". The host reads with .NET's Process, for which a carriage return ends a line as well
// (AsyncStreamReader in https://github.com/dotnet/runtime). A line that begins as one of a language worker goes to the
// host's own log (IsConsoleLog in https://github.com/Azure/azure-functions-host).
func (h *host) console(stream io.Reader, isStderr bool) {
	r := bufio.NewReader(stream)
	for {
		read, err := r.ReadString('\n')
		for line := range strings.FieldsFuncSeq(read, func(c rune) bool { return c == '\r' || c == '\n' }) {
			if len(line) >= len(workerLog) && strings.EqualFold(line[:len(workerLog)], workerLog) {
				continue
			}
			severity := information
			if isStderr {
				severity = failure
				if strings.Contains(strings.ToLower(line), "warn") {
					severity = warning
				}
			}
			h.trace("Host.Function.Console", severity, line)
		}
		if err != nil {
			return
		}
	}
}
