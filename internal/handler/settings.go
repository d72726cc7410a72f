package handler

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// config holds the app settings.
type config struct {
	environ     []string
	command     []string
	workingDir  string
	outputLimit int
}

func readConfig(args, environ []string) (config, error) {
	c := config{environ: environ, command: args, outputLimit: protocol.DefaultOutputLimit}
	// host.json may separate the handler's own arguments and the command by "--".
	if len(c.command) > 0 && c.command[0] == "--" {
		c.command = c.command[1:]
	}
	c.workingDir = c.getenv(protocol.WorkingDirEnv)
	if value := c.getenv(protocol.CommandEnv); value != "" {
		var command []string
		if err := json.Unmarshal([]byte(value), &command); err != nil {
			return c, fmt.Errorf("%s is not a valid JSON array of strings: %w", protocol.CommandEnv, err)
		}
		if len(command) > 0 {
			c.command = command
		}
	}
	if value := c.getenv(protocol.OutputLimitEnv); value != "" {
		limit, err := strconv.Atoi(value)
		if err != nil || limit < 1 {
			return c, fmt.Errorf("%s is %q: give a number of bytes", protocol.OutputLimitEnv, value)
		}
		c.outputLimit = limit
	}
	return c, nil
}

// getenv returns the last value of a setting, or "" when the setting is absent.
func (c config) getenv(name string) string {
	value := ""
	for _, entry := range c.environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

// childEnv returns the environment of the command of one run.
func (c config) childEnv(runID string) []string {
	var env []string
	for _, entry := range c.environ {
		name, _, _ := strings.Cut(entry, "=")
		if _, hidden := protocol.Match(name, protocol.HostSettings); !hidden {
			env = append(env, entry)
		}
	}
	return append(env, "AZF_RUN_ID="+runID)
}
