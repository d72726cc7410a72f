package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/server"
)

// loadOther loads the configuration of a daemon that was started with a configuration file and a value of one setting,
// each "" if it is not given, and environ.
func loadOther(file, key, text string, environ []string) *Loaded {
	f := AddFlags(pflag.NewFlagSet("", pflag.ContinueOnError), Options{File: DefaultFile})
	if file != "" {
		environ = append(slices.Clone(environ), environmentPrefix+"CONFIG="+file)
	}
	if text != "" {
		flag := "--" + strings.ReplaceAll(key, "_", "-")
		f.given[key] = value{text: text, origin: origin{fromFlag, flag}}
	}
	return f.Load(environ)
}

// Listening returns where a daemon answers that was started with a configuration file and a value of --listen, each ""
// if it is not given, and environ. Other settings may have problems. It returns an error when the file that may name
// the address cannot be read.
func Listening(file, listen string, environ []string) (server.ListenConfig, error) {
	l := loadOther(file, "listen", listen, environ)
	if l.unread && l.values["listen"].origin.kind == fromDefault {
		return server.ListenConfig{}, fmt.Errorf("%s: give the address as --listen", l.problems[0])
	}
	return l.Config().Listen, nil
}

// Trail returns the state folder and the database of a daemon that was started with a configuration file and a value of
// --state-dir, each "" if it is not given, and environ. Other settings may have problems. It returns an error when the
// file cannot be read.
func Trail(file, stateDir string, environ []string) (dir, database string, err error) {
	l := loadOther(file, "state_dir", stateDir, environ)
	if l.unread {
		return "", "", errors.New(l.problems[0])
	}
	c := l.Config()
	return c.StateDir, c.Database, nil
}

// Policies returns the settings of a daemon that was started with a configuration file and a value of --state-dir, each
// "" if it is not given, and environ. A folder of rules or a bundle that is given replaces its policies. Only problems
// of policies are errors: other settings may be missing.
func Policies(file, stateDir, rules string, environ []string) (Config, error) {
	l := loadOther(file, "state_dir", stateDir, environ)
	if l.unread {
		return Config{}, errors.New(l.problems[0])
	}
	c := l.Config()
	if rules != "" {
		path, err := filepath.Abs(rules)
		if err != nil {
			return c, err
		}
		c.Policy = Policy{Sets: []policy.Set{{Name: shortSet, Path: path}}}
		return c, nil
	}
	problems := slices.DeleteFunc(slices.Clone(l.problems), func(p string) bool {
		_, what, _ := strings.Cut(p, ": ") // after the place
		return !strings.HasPrefix(what, "polic") && !strings.HasPrefix(p, "polic") &&
			!strings.HasPrefix(p, environmentPrefix+"POLICY")
	})
	if len(problems) > 0 {
		return c, problems
	}
	return c, nil
}
