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

// cliConfigEnv is in the environment of every terraform of ours, and of its providers; its value is unique to the folder of the workspaces.
const cliConfigEnv = "TF_CLI_CONFIG_FILE"

// EndLeftoverProcesses kills the Terraform processes that runs of a killed daemon left behind and blocks until they are gone: the kernel ends
// terraform with its daemon, but not the provider, which would go on changing Azure while nobody knows of it. It must be called
// before the first run, and only by the owner of Config.Dir.
func (m *Manager) EndLeftoverProcesses() error {
	marker := []byte(cliConfigEnv + "=" + m.env[cliConfigEnv] + "\x00")
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := m.endStray(pid, path, marker); err != nil {
			return fmt.Errorf("end process %d that an earlier daemon left: %w", pid, err)
		}
	}
	return nil
}

func (m *Manager) endStray(pid int, environ string, marker []byte) error {
	// Opened before the look at its environment, so that the one that is killed is the one that was looked at.
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // it ended meanwhile
	}
	defer func() { _ = unix.Close(fd) }()
	content, err := os.ReadFile(environ)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH) {
		return nil // ended, or another user's
	}
	if err != nil || !bytes.Contains(content, marker) {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	m.cfg.Log.Warn().Int("pid", pid).Msg("ended a Terraform process that an earlier daemon left behind")
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
