// Package container runs the entrypoint of an unpacked image as App Service does: in a root, mount namespace and PID
// namespace of its own, as root with Docker's default capabilities, on the machine's network. It must not know what
// runs there.
//
//	c, err := container.Start(container.Config{Root: dir, Args: argv, Env: env, Output: w})
//	defer c.Stop(5 * time.Second)
//	<-c.Done()
//
// Three things differ from a container engine. The network is the machine's, so each container listens on a port of its
// own. System calls are not filtered. Without root, the kernel maps one user only: it is root in the container, and no
// other user can be taken.
package container

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
)

// Config describes a container. Root and Args are required.
type Config struct {
	// Root is the folder of the unpacked image. Mount points are created there.
	Root string
	Args []string
	Env  []string
	// Dir is the working folder in the container, which is created if it is missing; "" is /.
	Dir string
	// User is USER[:GROUP] in Docker's form, names by the image's own files; "" is root.
	User string
	// Empty are folders of the image that a mount hides. Shared are folders of this machine that the container sees at
	// the same path, unless they are missing.
	Empty, Shared []string
	// Output takes what the container writes on stdout and stderr, until it has ended; nil drops it.
	Output io.Writer `json:"-"`
}

// Container is a started container. Its methods may be called from any goroutine.
type Container struct {
	cmd   *exec.Cmd
	group bool // without a PID namespace, the others of its process group must be killed, too
	ended chan struct{}
}

// Isolation says how containers are kept apart from this machine.
type Isolation int

// The kinds of isolation: none, where the system refuses namespaces; with a user namespace of one user, without root;
// and as a container engine has it.
const (
	None Isolation = iota
	OneUser
	Full
)

// Supported returns the isolation that containers have here. The error is the reason why it is none, with what to do
// about it. The first call tries it.
var Supported = sync.OnceValues(func() (Isolation, error) {
	kind := Full
	if os.Geteuid() != 0 {
		kind = OneUser
	}
	root, err := os.MkdirTemp("", "azuresim-probe-")
	if err != nil {
		return None, err
	}
	defer func() { _ = os.RemoveAll(root) }() // nothing depends on it
	var out bytes.Buffer
	c, err := start(Config{Root: root, Args: []string{probe}, Output: &out}, kind)
	if err == nil {
		<-c.ended
		if err = nil; c.cmd.ProcessState.ExitCode() != 0 {
			err = fmt.Errorf("%s", strings.TrimSpace(out.String()))
		}
	}
	if err != nil {
		return None, fmt.Errorf("containers get no root of their own here: %w; run as root, or allow unprivileged user "+
			"namespaces (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0)", err)
	}
	return kind, nil
})

// Start starts a container and returns at once. It fails if the isolation is None: see Supported. A command that cannot
// be executed ends the container with Docker's code, 126 or 127, and the reason is in its output.
func Start(cfg Config) (*Container, error) {
	kind, err := Supported()
	if err != nil {
		return nil, err
	}
	return start(cfg, kind)
}

func start(cfg Config, kind Isolation) (*Container, error) {
	settings, err := json.Marshal(inside{Config: cfg, OneUser: kind == OneUser})
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{initName}, Env: []string{}, Dir: "/", ExtraFiles: []*os.File{read},
		Stdout: cfg.Output, Stderr: cfg.Output,
	}
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if kind == OneUser {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	err = reexec.Start(cmd)
	_ = read.Close() // the child has its own
	if err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("start container: %w", err)
	}
	c := &Container{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_, _ = write.Write(settings) // a child that has ended reads nothing
		_ = write.Close()
		c.wait()
	}()
	return c, nil
}

func (c *Container) wait() {
	_ = c.cmd.Wait() // the code is in ProcessState
	close(c.ended)
}

// PID is the id of the container's first process on this machine.
func (c *Container) PID() int { return c.cmd.Process.Pid }

// Done is closed when all processes of the container have ended.
func (c *Container) Done() <-chan struct{} { return c.ended }

// ExitCode returns the code of the first process, 128 and the signal's number after a signal. It is valid after Done.
func (c *Container) ExitCode() int {
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

// Stop asks the first process to end, kills the container when it has not ended after the limit, and blocks until it
// has ended.
func (c *Container) Stop(limit time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
	}
	if c.group {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // fails when there are none
	}
	<-c.ended
}
