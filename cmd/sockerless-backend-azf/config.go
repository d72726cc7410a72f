package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/workspace"
)

// defaultConfigFile is read when it exists and no other is named.
const defaultConfigFile = "/etc/sockerless-backend-azf/config.yaml"

const environmentPrefix = "SOCKERLESS_AZF_"

// config is everything that a user sets.
type config struct {
	Listen          server.ListenConfig
	StateDir        string
	ShutdownTimeout time.Duration
	GC              string
	Reconcile       time.Duration
	Terraform       string
	LogLevel        string
	Providers       providerSettings
	Limits          engine.Limits
	SubscriptionID  string
	Azure           engine.Settings // without Identity and Timeout
	Identity        workspace.Identity
	Timeout         int // seconds
	Credential      string
	Database        string            // a PostgreSQL URL; empty is SQLite in the state folder
	Backend         workspace.Backend // as it is given: see terraformBackend
}

// providerSettings say how Terraform runs get their azurerm processes.
type providerSettings struct {
	Pool      string // on or off
	Size      int
	Reuse     int
	MaxAge    time.Duration
	Eager     bool
	EagerRuns int
}

// eagerRuns is how many runs at once may poll eagerly.
func (p providerSettings) eagerRuns() int {
	if !p.Eager {
		return 0
	}
	return p.EagerRuns
}

// daemonConfig is what the configuration says of a daemon. Cloud, credential and tools are not in it.
func (c config) daemonConfig(environ []string, stderr io.Writer) (daemonConfig, error) {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return daemonConfig{}, usageError{err}
	}
	settings := c.Azure
	settings.Timeout = time.Duration(c.Timeout) * time.Second
	if c.Identity.ID != "" {
		settings.Identity = &c.Identity
	}
	return daemonConfig{
		Listen: c.Listen, StateDir: c.StateDir, SubscriptionID: c.SubscriptionID, Settings: settings, ShutdownTimeout: c.ShutdownTimeout,
		ReconcileInterval: c.Reconcile, GC: c.GC,
		Limits: c.Limits, Providers: c.Providers, Database: c.Database, Backend: c.terraformBackend(), Environ: environ, Log: zerolog.New(stderr).Level(level).With().Timestamp().Logger(),
	}, nil
}

// setting is one row of the table of settings. Its names in flags and environment, and its kind, derive from it.
type setting struct {
	section  string // of the file: "azf", or "" for the top level
	key      string
	fallback string
	help     string
	required bool
	secret   bool // has no flag and is not printed
	number   bool // a text that the file may give as a number
	check    func(string) error
	// field is where the value goes: a *string, *int, *bool, *time.Duration or *fs.FileMode.
	field func(*config) any
}

// path is the setting's name in the file.
func (s *setting) path() string {
	if s.section == "" {
		return s.key
	}
	return s.section + "." + s.key
}

func (s *setting) flag() string        { return strings.ReplaceAll(s.key, "_", "-") }
func (s *setting) environment() string { return environmentPrefix + strings.ToUpper(s.key) }

// store puts a value that is given as text into the configuration.
func (s *setting) store(c *config, text string) error {
	if text == "" && s.fallback != "" {
		return fmt.Errorf("it must not be empty; the default is %s", s.fallback)
	}
	var err error
	switch field := s.field(c).(type) {
	case *string:
		*field = text
	case *int:
		*field, err = strconv.Atoi(text)
	case *bool:
		*field, err = strconv.ParseBool(text)
	case *time.Duration:
		*field, err = time.ParseDuration(text)
	case *fs.FileMode:
		var mode uint64
		mode, err = strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
		*field = fs.FileMode(mode)
	}
	if err != nil {
		return fmt.Errorf("%q: use %s", text, s.kind())
	}
	if s.secret && text == hidden {
		return errors.New("this is what config print shows in place of the secret: put the secret itself here")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("it holds a line break or another control character: remove it")
	}
	if s.check != nil && text != "" {
		return s.check(text)
	}
	return nil
}

// kind says what a value looks like.
func (s *setting) kind() string {
	switch s.field(&config{}).(type) {
	case *int:
		return "a whole number such as 600"
	case *bool:
		return "true or false"
	case *time.Duration:
		return "a duration with a unit such as 30s"
	case *fs.FileMode:
		return "a file mode in octal digits such as 0660"
	default:
		return "a text"
	}
}

// origin is where a value comes from.
type origin struct{ kind, name string }

const (
	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
	notGiven        = "not given"
)

func (o origin) String() string { return strings.TrimSuffix(o.kind+" "+o.name, " ") }

// value is a setting's value as it was given.
type value struct {
	text   string
	origin origin
	bad    bool // its problem is reported
}

// loaded is a configuration with where it comes from, and what is wrong with it.
type loaded struct {
	rows     []setting
	config   config
	values   map[string]value // by key
	backend  map[string]backendSetting
	fileMode fs.FileMode // of the file, 0 when there is none
	problems []string
	unread   bool // there is a file, and nobody knows what is in it
}

// err is all problems as one usageError, or nil.
func (l *loaded) err() error {
	switch len(l.problems) {
	case 0:
		return nil
	case 1:
		return usageError{errors.New(l.problems[0])}
	default:
		return usageError{fmt.Errorf("the configuration has %d problems:\n  %s", len(l.problems), strings.Join(l.problems, "\n  "))}
	}
}

// problem reports what is wrong with the value of a setting, with where it comes from.
func (l *loaded) problem(s *setting, err error) {
	v := l.values[s.key]
	v.bad = true
	l.values[s.key] = v
	switch v.origin.kind {
	case fromFile:
		l.problems = append(l.problems, fmt.Sprintf("%s: %s: %v", v.origin.name, s.path(), err))
	case fromDefault, notGiven:
		l.problems = append(l.problems, fmt.Sprintf("%s: %v", s.path(), err))
	default:
		l.problems = append(l.problems, fmt.Sprintf("%s: %v", v.origin.name, err))
	}
}

// loadConfig reads flags, environment and file, checks everything, and gives what there is with all problems. Its error is a flag
// that cannot be read, or flag.ErrHelp.
func loadConfig(command string, args, environ []string, defaultFile string, output io.Writer) (*loaded, error) {
	l := &loaded{rows: settings(), values: map[string]value{}, backend: map[string]backendSetting{}}
	given := map[string]value{}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	file := flags.String("config", "", "configuration `file`; empty reads none (default "+defaultFile+" if it exists)")
	for i := range l.rows {
		s := &l.rows[i]
		l.values[s.key] = value{text: s.fallback, origin: origin{kind: fromDefault}}
		if s.required {
			l.values[s.key] = value{origin: origin{kind: notGiven}}
		}
		if !s.secret {
			flags.Var(&flagValue{setting: s, given: given}, s.flag(), s.help)
		}
	}
	if err := parse(flags, args, output); err != nil {
		return nil, err
	}
	named := false
	flags.Visit(func(f *flag.Flag) { named = named || f.Name == "config" })
	if path, ok := lookup(environ, environmentPrefix+"CONFIG"); ok && !named {
		*file, named = path, true
	}
	if !named {
		*file = defaultFile
	}
	if *file != "" {
		l.readFile(*file, named)
	}
	l.readEnvironment(environ)
	maps.Copy(l.values, given)
	l.check()
	return l, nil
}

// flagValue is a setting's flag: it takes any text, which is checked with all others.
type flagValue struct {
	setting *setting
	given   map[string]value
}

func (f *flagValue) Set(text string) error {
	f.given[f.setting.key] = value{text: text, origin: origin{fromFlag, "--" + f.setting.flag()}}
	return nil
}

// String is the default. The flag package also asks a value that is empty.
func (f *flagValue) String() string {
	if f.setting == nil {
		return ""
	}
	return f.setting.fallback
}

// IsBoolFlag tells the flag package that the flag needs no value.
func (f *flagValue) IsBoolFlag() bool {
	_, ok := f.setting.field(&config{}).(*bool)
	return ok
}

// readEnvironment takes the variables that name settings, and refuses those that seem to.
func (l *loaded) readEnvironment(environ []string) {
	names := []string{environmentPrefix + "CONFIG"}
	for i := range l.rows {
		s := &l.rows[i]
		names = append(names, s.environment())
		if text, ok := lookup(environ, s.environment()); ok {
			l.values[s.key] = value{text: text, origin: origin{fromEnvironment, s.environment()}}
		}
	}
	unknown := map[string]bool{}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, environmentPrefix) && !slices.Contains(names, name) && !unknown[name] {
			unknown[name] = true
			l.problems = append(l.problems, fmt.Sprintf("%s: no setting has this environment variable: %s", name, meant(name, names)))
		}
	}
}

// meant suggests one of names for one that is unknown.
func meant(name string, names []string) string {
	best, distance := "", 0
	for _, candidate := range names {
		if d := levenshtein.Distance(name, candidate, nil); best == "" || d < distance {
			best, distance = candidate, d
		}
	}
	if distance > 1+len(strings.TrimPrefix(name, environmentPrefix))/4 {
		return "remove it"
	}
	return "did you mean " + best + "?"
}

// check stores every value and reports what is wrong with it.
func (l *loaded) check() {
	for i := range l.rows {
		s := &l.rows[i]
		v := l.values[s.key]
		err := s.store(&l.config, v.text)
		switch {
		case v.bad:
		case s.required && v.text == "" && v.origin.kind == notGiven && l.unread:
			// It may well be in the file that nobody could read.
		case s.required && v.text == "":
			l.problem(s, fmt.Errorf("it is required: set it in the file, as %s or as --%s", s.environment(), s.flag()))
		case err != nil:
			l.problem(s, err)
		}
	}
	l.checkTogether()
}

// row is the setting of a key. The key must be in the table.
func (l *loaded) row(key string) *setting {
	return &l.rows[slices.IndexFunc(l.rows, func(s setting) bool { return s.key == key })]
}

// configCommand shows the configuration that serve would have with the same flags, and returns its problems.
func configCommand(args, environ []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "print" {
		return usageError{errors.New("use: sockerless-backend-azf config print [flags of serve]")}
	}
	l, err := loadConfig("config print", args[1:], environ, defaultConfigFile, stderr)
	if err != nil {
		return err
	}
	return errors.Join(l.print(stdout), l.err())
}
