package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// cliConfigEnv is in the environment of every terraform of ours, and of its providers. Its value is unique to
// Config.Dir.
const cliConfigEnv = "TF_CLI_CONFIG_FILE"

// EndLeftoverProcesses kills the Terraform processes that a killed daemon left behind, and blocks until they are gone.
// The kernel ends terraform with its daemon, but not the provider, which would go on changing Azure while nobody knows
// of it. EndLeftoverProcesses must be called before the first operation, and only by the owner of Config.Dir.
func (m *Manager) EndLeftoverProcesses() error {
	return m.endProcesses(cliConfigEnv, m.env[cliConfigEnv])
}

// endProcesses kills the processes that have a variable in their environment, and blocks until they are gone.
func (m *Manager) endProcesses(variable, value string) error {
	marker := []byte(variable + "=" + value + "\x00")
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := m.endProcess(pid, path, marker); err != nil {
			return fmt.Errorf("end leftover Terraform process %d: %w", pid, err)
		}
	}
	return nil
}

func (m *Manager) endProcess(pid int, environ string, marker []byte) error {
	// Opened before its environment is read, so that the process whose environment was read is the one that is killed.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // it ended meanwhile
	}
	defer func() { _ = unix.Close(fd) }()
	content, err := os.ReadFile(environ)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH) {
		return nil // it ended, or is another user's
	}
	if err != nil || !bytes.Contains(content, marker) {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	m.cfg.Log.Warn().Int("pid", pid).Msg("ended a leftover Terraform process")
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
