package worker

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sockerless/backend-azf/internal/azuresim/container"
	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
)

// plain is an entrypoint that runs without a root of its own, where the system refuses namespaces. The image's
// programs are found, since they are looked for in the unpacked image first. But each path that they open is one of
// this machine.
type plain struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startWithoutRoot starts a container's entrypoint as a process of this machine.
func startWithoutRoot(cfg container.Config) (*plain, error) {
	env := make([]string, 0, len(cfg.Env))
	for _, entry := range cfg.Env {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HOME":
			value = filepath.Join(cfg.Root, value)
		case "PATH":
			var inside []string
			for _, dir := range filepath.SplitList(value) {
				inside = append(inside, filepath.Join(cfg.Root, dir))
			}
			value = strings.Join(append(inside, value), string(filepath.ListSeparator))
		}
		env = append(env, name+"="+value)
	}
	program := cfg.Args[0]
	if filepath.IsAbs(program) {
		program = filepath.Join(cfg.Root, program)
	}
	cmd := &exec.Cmd{
		Path: program, Args: cfg.Args, Env: env, Dir: filepath.Join(cfg.Root, cfg.Dir), Stdout: cfg.Output,
		Stderr: cfg.Output, SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if err := reexec.Start(cmd); err != nil {
		return nil, err
	}
	p := &plain{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the code is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

func (p *plain) Done() <-chan struct{} { return p.ended }

func (p *plain) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Stop ends the whole process group.
func (p *plain) Stop(limit time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // leaves no process
	<-p.ended
}
