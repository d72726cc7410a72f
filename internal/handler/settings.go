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
	// spec is what runs.
	spec protocol.Spec
	// image is the user's image in a wrapped one, and otherwise nil.
	image *image
	// problem is the reason why no command can run: the settings cannot be read.
	problem error
}

// own are the variables of the handler's own environment that a command gets: no others can be told from those of the
// Functions host. PATH is the image's, and App Service knows the host name.
var own = []string{"PATH", "HOME", "HOSTNAME"}

func readConfig(args, environ []string, img *image) (config, error) {
	c := config{environ: environ, outputLimit: protocol.DefaultOutputLimit, image: img}
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
	default:
		c.problem = err
	}
	// host.json may separate the handler's own arguments and the command by "--".
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(c.spec.Command) == 0 {
		c.spec.Command = args
	}
	if img != nil {
		img.wrap(&c.spec)
		c.environ, err = containerEnv(environ)
		c.problem = errors.Join(c.problem, err)
	}
	return c, nil
}

// readSettings reads the settings of protocol 1, which containers of earlier releases have.
func (c *config) readSettings() error {
	c.spec.PartialEnv = true
	c.spec.WorkingDir = c.getenv(protocol.WorkingDirEnv)
	if value := c.getenv(protocol.CommandEnv); value != "" {
		if err := json.Unmarshal([]byte(value), &c.spec.Command); err != nil {
			return fmt.Errorf("%s is not a valid JSON array of strings: %w", protocol.CommandEnv, err)
		}
	}
	return nil
}

// getenv returns the last value of a setting, or "" when the setting is absent.
func (c config) getenv(name string) string { return lookup(c.environ, name) }

// visible returns the handler's environment without what is the Functions host's.
func (c config) visible() []string {
	return slices.DeleteFunc(slices.Clone(c.environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, hidden := protocol.Match(name, protocol.HostSettings)
		return hidden
	})
}

// env returns the command's environment without AZF_RUN_ID. What the spec gives comes first, and then, each for the
// names that are still missing: in a wrapped image, the container's own settings for a partial spec, and the user's
// image; the user's home folder, unless that is ""; and what the handler itself has.
func (c config) env(home string) (env []string, err error) {
	given := map[string]bool{}
	add := func(entries ...string) {
		for _, entry := range entries {
			if name, _, ok := strings.Cut(entry, "="); ok && !given[name] {
				env, given[name] = append(env, entry), true
			}
		}
	}
	add(c.spec.Env...)
	for _, name := range slices.Sorted(maps.Keys(c.spec.References)) {
		value := c.getenv(c.spec.References[name])
		if strings.HasPrefix(value, "@Microsoft.") {
			return nil, fmt.Errorf("variable %s: App Service has not resolved its reference: check it, and that the app's "+
				"identity may read the secret", name)
		}
		add(name + "=" + value)
	}
	if c.image != nil {
		if c.spec.PartialEnv {
			add(c.visible()...)
		}
		add(c.image.env(c.spec.PartialEnv)...)
	}
	if home != "" {
		add("HOME=" + home)
	}
	if c.spec.PartialEnv {
		add(c.visible()...)
	}
	for _, name := range own {
		if value := c.getenv(name); value != "" {
			add(name + "=" + value)
		}
	}
	if c.image != nil {
		add("PATH=" + dockerPath)
	}
	return env, nil
}
