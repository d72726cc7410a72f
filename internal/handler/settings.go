package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sockerless/backend-azf/invoker/protocol"
)

// config holds the app settings.
type config struct {
	environ     []string
	outputLimit int
	// spec is what runs. env returns the command's environment without AZF_RUN_ID, with the user's home folder if the user
	// is another one than the handler's.
	spec protocol.Spec
	env  func(home string) ([]string, error)
	// problem is the reason why no command can run: the settings cannot be read.
	problem error
}

// own are the variables of the handler's own environment that a command gets: no others can be told from those of the
// Functions host. PATH is the image's, and App Service knows the host name.
var own = []string{"PATH", "HOME", "HOSTNAME"}

func readConfig(args, environ []string) (config, error) {
	c := config{environ: environ, outputLimit: protocol.DefaultOutputLimit}
	if value := c.getenv(protocol.OutputLimitEnv); value != "" {
		limit, err := strconv.Atoi(value)
		if err != nil || limit < 1 {
			return c, fmt.Errorf("%s is %q: give a number of bytes", protocol.OutputLimitEnv, value)
		}
		c.outputLimit = limit
	}
	var err error
	switch c.spec, err = protocol.DecodeSpec(c.getenv); {
	case errors.Is(err, protocol.ErrNoSpec):
		if err := c.readSettings(); err != nil {
			return c, err
		}
		c.env = func(string) ([]string, error) { return c.visible(nil), nil }
	default:
		c.env, c.problem = c.specEnv, err
	}
	// host.json may separate the handler's own arguments and the command by "--".
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(c.spec.Command) == 0 {
		c.spec.Command = args
	}
	return c, nil
}

// readSettings reads the settings of protocol 1, which containers of earlier releases have.
func (c *config) readSettings() error {
	c.spec.WorkingDir = c.getenv(protocol.WorkingDirEnv)
	if value := c.getenv(protocol.CommandEnv); value != "" {
		if err := json.Unmarshal([]byte(value), &c.spec.Command); err != nil {
			return fmt.Errorf("%s is not a valid JSON array of strings: %w", protocol.CommandEnv, err)
		}
	}
	return nil
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

// visible returns the handler's environment without what is the Functions host's, and without some names.
func (c config) visible(without map[string]bool) (env []string) {
	for _, entry := range c.environ {
		name, _, _ := strings.Cut(entry, "=")
		if _, hidden := protocol.Match(name, protocol.HostSettings); !hidden && !without[name] {
			env = append(env, entry)
		}
	}
	return env
}

// specEnv returns the environment that the spec describes.
func (c config) specEnv(home string) ([]string, error) {
	given := map[string]bool{}
	env := slices.Clone(c.spec.Env)
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		given[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.spec.References)) {
		value := c.getenv(c.spec.References[name])
		if strings.HasPrefix(value, "@Microsoft.") {
			return nil, fmt.Errorf("variable %s: App Service has not resolved its reference: check it, and that the app's "+
				"identity may read the secret", name)
		}
		env, given[name] = append(env, name+"="+value), true
	}
	if home != "" && !given["HOME"] {
		env, given["HOME"] = append(env, "HOME="+home), true
	}
	if c.spec.PartialEnv {
		return append(env, c.visible(given)...), nil
	}
	for _, name := range own {
		if value := c.getenv(name); value != "" && !given[name] {
			env = append(env, name+"="+value)
		}
	}
	return env, nil
}
