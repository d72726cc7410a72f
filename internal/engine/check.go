package engine

import (
	"path"
	"regexp"
	"strings"

	sysignal "github.com/moby/sys/signal"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// minMemory is the smallest limit of memory that Docker takes, in bytes.
const minMemory = 6 << 20

// maxHostName is the longest host name that Linux takes, in bytes.
const maxHostName = 64

// checkRequest refuses what Docker refuses whatever the daemon can do, in Docker's words (moby's daemon/container.go,
// daemon/daemon_unix.go and daemon/internal/runconfig).
func checkRequest(c store.Container) error {
	config, h := c.Config, c.HostConfig
	if err := api.CheckRestartPolicy(h.RestartPolicy); err != nil {
		return api.Errorf(api.InvalidParameter, "%w", err)
	}
	if config.StopSignal != "" {
		if _, err := sysignal.ParseSignal(config.StopSignal); err != nil {
			return api.Errorf(api.InvalidParameter, "%w", err)
		}
	}
	for _, entry := range config.Env {
		if name, _, _ := strings.Cut(entry, "="); name == "" {
			return api.Errorf(api.InvalidParameter, "invalid environment variable: %s: its variable name %q is empty",
				entry, name)
		}
	}
	for _, rule := range []struct {
		broken  bool
		message string
	}{
		{config.WorkingDir != "" && !path.IsAbs(config.WorkingDir),
			"the working directory '" + config.WorkingDir + "' is invalid, it needs to be an absolute path"},
		{len(config.Hostname) > maxHostName, `hostname "` + config.Hostname + `" is too long (maximum 64 bytes)`},
		{config.Image != "" && strings.TrimSpace(config.Image) == "", "invalid reference format"},
		{h.AutoRemove && h.RestartPolicy.Name != "" && h.RestartPolicy.Name != "no",
			"can't create 'AutoRemove' container with restart policy"},
		{!h.Isolation.IsDefault(), "invalid isolation (" + string(h.Isolation) + "): linux only supports 'default'"},
		{h.Memory != 0 && h.Memory < minMemory, "Minimum memory limit allowed is 6MB"},
		{h.Memory > 0 && h.MemorySwap > 0 && h.MemorySwap < h.Memory,
			"Minimum memoryswap limit should be larger than memory limit, see usage"},
		{h.Memory == 0 && h.MemorySwap > 0, "You should always set the Memory limit when using Memoryswap limit, see usage"},
		{h.MemoryReservation > 0 && h.MemoryReservation < minMemory, "Minimum memory reservation allowed is 6MB"},
		{h.Memory > 0 && h.MemoryReservation > h.Memory,
			"Minimum memory limit can not be less than memory reservation limit, see usage"},
		{h.MemorySwappiness != nil && (*h.MemorySwappiness < -1 || *h.MemorySwappiness > 100),
			"Invalid value, valid memory swappiness range is 0-100"},
		{h.NanoCPUs > 0 && h.CPUPeriod > 0, "Conflicting options: Nano CPUs and CPU Period cannot both be set"},
		{h.NanoCPUs > 0 && h.CPUQuota > 0, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
		{h.NanoCPUs < 0, "range of CPUs is from 0.01: a number below 0 is none"},
		{h.CPUShares < 0, "invalid CPU shares: value must be a positive integer"},
		{h.CPUPeriod != 0 && (h.CPUPeriod < 1000 || h.CPUPeriod > 1000000),
			"CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"},
		{h.CPUQuota > 0 && h.CPUQuota < 1000, "CPU cfs quota can not be less than 1ms (i.e. 1000)"},
		{h.BlkioWeight > 0 && (h.BlkioWeight < 10 || h.BlkioWeight > 1000), "Range of blkio weight is from 10 to 1000"},
		{h.IOMaximumBandwidth != 0, "invalid option: QoS maximum bandwidth configuration is not supported on linux"},
		{h.IOMaximumIOps != 0, "invalid option: QoS maximum IOPs configuration is not supported on linux"},
		{h.ShmSize < 0, "SHM size can not be less than 0"},
		{h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000, "Invalid value, range for oom score adj is [-1000, 1000]"},
		{!h.IpcMode.Valid(), "invalid IPC mode: " + string(h.IpcMode)},
		{!h.PidMode.Valid(), "invalid PID mode: " + string(h.PidMode)},
		{!h.UTSMode.Valid(), "invalid UTS mode: " + string(h.UTSMode)},
		{!h.CgroupnsMode.Valid(), "invalid cgroup namespace mode: " + string(h.CgroupnsMode)},
	} {
		if rule.broken {
			return api.Errorf(api.InvalidParameter, "%s", rule.message)
		}
	}
	return checkPorts(h.PortBindings)
}

var hostPort = regexp.MustCompile(`^[0-9]+(-[0-9]+)?$`)

func checkPorts(ports api.PortMap) error {
	for port, bindings := range ports {
		if !port.IsValid() || port.Num() == 0 {
			return api.Errorf(api.InvalidParameter, "invalid port specification: %q", port.String())
		}
		for _, binding := range bindings {
			if binding.HostPort == "" {
				continue
			}
			if _, err := api.ParsePorts(binding.HostPort); err != nil || !hostPort.MatchString(binding.HostPort) {
				return api.Errorf(api.InvalidParameter, "invalid port specification: %q", binding.HostPort)
			}
		}
	}
	return nil
}
