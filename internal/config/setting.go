package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/sockerless/backend-azf/internal/engine"
)

// setting is one row of the table of settings. Its names in flags and environment, and its kind, derive from it.
type setting struct {
	section  string // of the file: "azf", or "" for the top level
	key      string
	fallback string
	help     string
	required bool
	secret   bool // has no flag and is not printed
	number   bool // a string that the file may give as a number
	check    func(string) error
	// field returns where the value is stored: a *string, *int, *bool, *time.Duration, *fs.FileMode or
	// *map[string]string, which holds tags.
	field func(*given) any

	// refused and tableDefault are set from Options: see there.
	refused, tableDefault string
}

// path returns the setting's name in the file.
func (s *setting) path() string {
	if s.section == "" {
		return s.key
	}
	return s.section + "." + s.key
}

func (s *setting) flag() string        { return strings.ReplaceAll(s.key, "_", "-") }
func (s *setting) environment() string { return environmentPrefix + strings.ToUpper(s.key) }

func (s *setting) boolean() bool {
	_, ok := s.field(&given{}).(*bool)
	return ok
}

func (s *setting) isMap() bool {
	_, ok := s.field(&given{}).(*map[string]string)
	return ok
}

// store checks a value that is given as a string and stores it.
func (s *setting) store(g *given, text string) error {
	if text == "" && s.fallback != "" {
		return fmt.Errorf("it must not be empty; the default is %s", s.fallback)
	}
	var err error
	switch field := s.field(g).(type) {
	case *string:
		*field = text
	case *int:
		*field, err = strconv.Atoi(text)
	case *bool:
		*field, err = strconv.ParseBool(text)
	case *time.Duration:
		*field, err = parseDuration(text)
	case *fs.FileMode:
		var mode uint64
		mode, err = strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
		*field = fs.FileMode(mode)
	case *map[string]string:
		if *field, err = parseMap(text); err != nil {
			return fmt.Errorf("%w: use %s", err, s.kind())
		}
		return engine.CheckTags(*field)
	}
	if err != nil {
		return fmt.Errorf("%q: use %s", text, s.kind())
	}
	if s.secret && text == hidden {
		return errors.New(hiddenGiven)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("it holds a line break or another control character: remove it")
	}
	if s.check != nil && text != "" {
		return s.check(text)
	}
	return nil
}

// parseDuration takes Go's durations, and whole days.
func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	return time.ParseDuration(text)
}

// kind describes the values that the setting takes.
func (s *setting) kind() string {
	switch s.field(&given{}).(type) {
	case *int:
		return "a whole number such as 600"
	case *bool:
		return "true or false"
	case *time.Duration:
		return "a duration with a unit such as 30s or 90d"
	case *fs.FileMode:
		return "a file mode in octal digits such as 0660"
	case *map[string]string:
		return "a map: {name: value} in the file, name=value,name=value elsewhere"
	default:
		return "a string"
	}
}
