package container

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sockerless/backend-azf/internal/azuresim/reexec"
)

// StartWithoutRoot starts a container's command as a process of this machine, where the isolation is None. The image's
// programs are found, since they are looked for in the unpacked image first. But each path that they open is one of
// this machine, and User, Empty and Shared count for nothing.
func StartWithoutRoot(cfg Config) (*Container, error) {
	env := slices.Clone(cfg.Env)
	for i, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HOME":
			env[i] = "HOME=" + filepath.Join(cfg.Root, value)
		case "PATH":
			var inside []string
			for _, dir := range filepath.SplitList(value) {
				inside = append(inside, filepath.Join(cfg.Root, dir))
			}
			env[i] = "PATH=" + strings.Join(append(inside, value), string(filepath.ListSeparator))
		}
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
	c := &Container{cmd: cmd, group: true, ended: make(chan struct{})}
	go c.wait()
	return c, nil
}
