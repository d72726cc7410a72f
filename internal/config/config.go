// Package config reads the settings of a daemon from flags, environment and configuration file. One table holds all of
// them: the name of a setting in the file, its flag and its variable derive from one row, and so do its default, its
// check and its help. Every value keeps its origin, and all problems are reported at once. The package must not know
// commands: it adds flags to a pflag.FlagSet and reads them when they are parsed.
//
//	flags := config.AddFlags(fs, config.Options{File: config.DefaultFile})
//	... fs.Parse(args) ...
//	loaded := flags.Load(os.Environ())
//	if err := loaded.Err(); err != nil { ... }
//	use(loaded.Config())
package config

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"github.com/sockerless/backend-azf/internal/engine"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/suggest"
	"github.com/sockerless/backend-azf/server"
	"github.com/sockerless/backend-azf/workspace"
)

// DefaultFile is the configuration file that serve reads when no other is named.
const DefaultFile = "/etc/sockerless-backend-azf/config.yaml"

const environmentPrefix = "SOCKERLESS_AZF_"

// Config holds the settings of a daemon, checked and put together.
type Config struct {
	Listen          server.ListenConfig
	StateDir        string
	ShutdownTimeout time.Duration
	// GC is GCReport or GCDelete.
	GC      string
	GCGrace time.Duration
	// Attach is AttachOff or AttachOutput.
	Attach string
	// FoundationChanges is one of the Foundation constants.
	FoundationChanges string
	// ArchiveSecrets is ArchiveSecretsRemove or ArchiveSecretsKeep. ArchiveKeep is 0 to keep archived workspaces for
	// ever.
	ArchiveSecrets    string
	ArchiveKeep       time.Duration
	Audit             Audit
	Policy            Policy
	ReconcileInterval time.Duration
	// Terraform is the path of a binary; empty finds or installs one.
	Terraform      string
	LogLevel       string
	Providers      Providers
	Limits         engine.Limits
	SubscriptionID string
	Azure          engine.Settings
	Wrap           Wrap
	// CloudName is the name of a cloud in package azurecloud, or the URL of its Resource Manager.
	CloudName string
	// CredentialMethod is one of the Method constants.
	CredentialMethod string
	// Database is the URL of a PostgreSQL database; empty means SQLite in StateDir.
	Database string
	Backend  workspace.Backend
}

// Audit configures the audit trail.
type Audit struct {
	// Keep is 0 to keep records for ever.
	Keep time.Duration
	// Sinks are the URLs of sinks with commas between them.
	Sinks string
	// Anchor is AnchorOff or AnchorAzure, and Container the blob container for it.
	Anchor, Container string
}

// Wrap configures how images without a Functions host are wrapped.
type Wrap struct {
	// Mode is WrapAuto or WrapOff.
	Mode string
	// Base is the reference of the image with the Functions host, which is looked up again after Refresh.
	Base    string
	Refresh time.Duration
	// Repository is a prefix in Azure.Registry. MaxSize is a size as go-units reads it.
	Repository, MaxSize string
	// Handler is the path of azf-handler; "" is the one beside the program.
	Handler string
	// Keep is the time for which derived images are kept that no container uses; 0 is for ever.
	Keep time.Duration
}

// Policy configures the policies.
type Policy struct {
	Sets []policy.Set
	// Digest pins their digest, "" takes any. Contact ends refusals: whom to ask.
	Digest, Contact string
}

// Logger returns a logger to w with the level that is set. The level must be valid, as Load checks.
func (c Config) Logger(w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// RunsImages reports whether Azure runs custom images on the service plans that the settings lead to.
func (c Config) RunsImages() bool {
	sku := strings.ToUpper(c.Azure.ServicePlanSKU)
	return c.Azure.AppServicePlan != "" || sku != "" && sku != "Y1" && sku != "FC1"
}

// Providers configures the azurerm processes of Terraform operations.
type Providers struct {
	// Pool is PoolOn or PoolOff.
	Pool   string
	Size   int
	Reuse  int
	MaxAge time.Duration
	// Eager allows at most EagerTerraformRuns to poll Azure without delay.
	Eager              bool
	EagerTerraformRuns int
}

// CloudFile returns the path of the file that keeps the endpoints of a cloud that is given by a URL.
func (c Config) CloudFile() string { return filepath.Join(c.StateDir, "cloud.json") }

// EagerLimit returns how many Terraform runs may poll eagerly at once.
func (p Providers) EagerLimit() int {
	if !p.Eager {
		return 0
	}
	return p.EagerTerraformRuns
}

// given holds what the rows of the table store. Config lacks what complete makes of the other fields.
type given struct {
	Config
	backendType     string
	backendSettings map[string]any
	identity        workspace.Identity
	timeout         int // seconds
	policyPath      string
}

// complete returns the configuration that the settings make together.
func (g given) complete() Config {
	c := g.Config
	c.Azure.Timeout = time.Duration(g.timeout) * time.Second
	if g.identity.ID != "" {
		c.Azure.Identity = &g.identity
	}
	c.Backend = Backend(g.backendType, g.backendSettings, c.Database, c.Azure.Owner)
	return c
}

// Origin kinds of values.
const (
	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
	notGiven        = "not given"
)

// origin names where a value comes from.
type origin struct{ kind, name string }

func (o origin) String() string { return strings.TrimSuffix(o.kind+" "+o.name, " ") }

// value is a setting's value as it was given.
type value struct {
	text   string
	origin origin
	bad    bool // its problem is reported
}

// Problems are mistakes in a configuration, each with its place.
type Problems []string

func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0]
	}
	return fmt.Sprintf("the configuration has %d problems:\n  %s", len(p), strings.Join(p, "\n  "))
}

// Options adapt the table to a command. The zero value reads no file unless one is named.
type Options struct {
	// File is read when it exists and no other file is named.
	File string
	// Defaults replace defaults of the table, and Help its help, by key.
	Defaults, Help map[string]string
	// Refused maps keys to the reason why the command does not take a value that differs from the table's default.
	Refused map[string]string
}

// Flags are the flags of all settings, and how to load what they and the other sources say.
type Flags struct {
	options Options
	rows    []setting
	set     *pflag.FlagSet
	file    *string
	given   map[string]value
}

// AddFlags adds to set a flag for each setting that is not secret, and --config. The set may be parsed once.
func AddFlags(set *pflag.FlagSet, options Options) *Flags {
	f := &Flags{options: options, rows: settings(), set: set, given: map[string]value{}}
	help := "configuration `file`; empty reads none"
	if options.File != "" {
		help += " (default " + options.File + " if it exists)"
	}
	f.file = set.String("config", "", help)
	for i := range f.rows {
		s := &f.rows[i]
		s.refused, s.tableDefault = options.Refused[s.key], s.fallback
		if text, ok := options.Defaults[s.key]; ok {
			s.fallback, s.required = text, false
		}
		if text, ok := options.Help[s.key]; ok {
			s.help = text
		}
		if s.secret {
			continue
		}
		flag := set.VarPF(&flagValue{setting: s, given: f.given}, s.flag(), "", s.help)
		if s.boolean() {
			flag.NoOptDefVal = "true"
		}
	}
	return f
}

// flagValue is a setting's flag. It takes any string, which Load checks with all others.
type flagValue struct {
	setting *setting
	given   map[string]value
}

func (f *flagValue) Set(text string) error {
	f.given[f.setting.key] = value{text: text, origin: origin{fromFlag, "--" + f.setting.flag()}}
	return nil
}

// String returns the default, which help shows.
func (f *flagValue) String() string { return f.setting.fallback }

// Type returns the kind of value that help shows where the help names none.
func (f *flagValue) Type() string {
	switch f.setting.field(&given{}).(type) {
	case *int:
		return "number"
	case *bool:
		return "bool"
	default:
		return "string"
	}
}

// Loaded is a configuration with the origins of its values, and its problems.
type Loaded struct {
	rows     []setting
	given    given
	values   map[string]value // by key
	backend  map[string]backendSetting
	policies map[string]policySet
	fileMode fs.FileMode // of the file, 0 when there is none
	problems Problems
	unread   bool // there is a file whose content is unknown
}

// Load reads the file and the environment, adds the flags, and checks everything. Err returns the problems.
func (f *Flags) Load(environ []string) *Loaded {
	l := &Loaded{
		rows: f.rows, values: map[string]value{}, backend: map[string]backendSetting{}, policies: map[string]policySet{},
	}
	for i := range l.rows {
		s := &l.rows[i]
		l.values[s.key] = value{text: s.fallback, origin: origin{kind: fromDefault}}
		if s.required {
			l.values[s.key] = value{origin: origin{kind: notGiven}}
		}
	}
	path, named := *f.file, f.set.Changed("config")
	if variable, ok := lookup(environ, environmentPrefix+"CONFIG"); ok && !named {
		path, named = variable, true
	}
	if !named {
		path = f.options.File
	}
	if path != "" {
		l.readFile(path, named)
	}
	l.readEnvironment(environ)
	maps.Copy(l.values, f.given)
	l.check()
	return l
}

// Config returns the configuration. It is complete only when Err returns nil.
func (l *Loaded) Config() Config { return l.given.complete() }

// Err returns all problems as Problems, or nil.
func (l *Loaded) Err() error {
	if len(l.problems) == 0 {
		return nil
	}
	return l.problems
}

// Warnings returns what is allowed and probably not meant.
func (l *Loaded) Warnings() (list []string) {
	if !l.Config().RunsImages() && !l.values["service_plan_sku"].bad && !l.values["app_service_plan"].bad {
		list = append(list, "no container can run: Azure runs no custom images on the Consumption plans Y1 and FC1; "+
			"set service_plan_sku to B1 or EP1, or set app_service_plan")
	}
	c := l.given
	if c.Azure.Registry != "" && c.Azure.RegistryUsername == "" && c.identity.ID == "" && !l.values["registry"].bad {
		list = append(list, "Azure pulls from registry anonymously: set identity_id to an identity with the role AcrPull, "+
			"or registry_username and registry_password")
	}
	return list
}

// problem reports a problem of a setting's value, with the value's origin.
func (l *Loaded) problem(s *setting, err error) {
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

// lookup finds a variable in an environment. The last of several counts, as in os/exec.
func lookup(environ []string, name string) (text string, ok bool) {
	for _, entry := range environ {
		if v, found := strings.CutPrefix(entry, name+"="); found {
			text, ok = v, true
		}
	}
	return text, ok
}

// readEnvironment takes the variables that name settings, and reports those that only look like one.
func (l *Loaded) readEnvironment(environ []string) {
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
			l.problems = append(l.problems,
				fmt.Sprintf("%s: no setting has this environment variable: %s", name, meant(name, names)))
		}
	}
}

// meant suggests one of names for an unknown one. Environment variables are compared without their common prefix.
func meant(name string, names []string) string {
	bare := make([]string, len(names))
	for i := range names {
		bare[i] = strings.TrimPrefix(names[i], environmentPrefix)
	}
	if best := suggest.Closest(strings.TrimPrefix(name, environmentPrefix), bare); best != "" {
		return "did you mean " + names[slices.Index(bare, best)] + "?"
	}
	return "remove it"
}

// check stores every value and reports its problem.
func (l *Loaded) check() {
	for i := range l.rows {
		s := &l.rows[i]
		v := l.values[s.key]
		err := s.store(&l.given, v.text)
		switch {
		case v.bad:
		case s.required && v.text == "" && v.origin.kind == notGiven && l.unread:
			// The file that could not be read may well have it.
		case s.required && v.text == "":
			l.problem(s, fmt.Errorf("it is required: set it in the file, as %s or as --%s", s.environment(), s.flag()))
		case err != nil:
			l.problem(s, err)
		case s.refused != "" && v.origin.kind != fromDefault && v.text != s.tableDefault:
			l.problem(s, fmt.Errorf("%s", s.refused))
		}
	}
	l.checkTogether()
}

// row returns the setting of a key, which must be in the table.
func (l *Loaded) row(key string) *setting {
	return &l.rows[slices.IndexFunc(l.rows, func(s setting) bool { return s.key == key })]
}
