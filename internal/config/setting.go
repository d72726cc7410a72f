package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
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
	// *map[string]string, which the file may give as a mapping.
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
		*field, err = time.ParseDuration(text)
	case *fs.FileMode:
		var mode uint64
		mode, err = strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
		*field = fs.FileMode(mode)
	case *map[string]string:
		*field, err = parsePairs(text)
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

// kind describes the values that the setting takes.
func (s *setting) kind() string {
	switch s.field(&given{}).(type) {
	case *int:
		return "a whole number such as 600"
	case *bool:
		return "true or false"
	case *time.Duration:
		return "a duration with a unit such as 30s"
	case *fs.FileMode:
		return "a file mode in octal digits such as 0660"
	case *map[string]string:
		return "pairs such as team=ci,cost=42, or in the file a mapping of names to strings"
	default:
		return "a string"
	}
}

// parsePairs reads pairs NAME=VALUE, separated by commas. A pair with a comma or a quote stands in quotes, as in CSV.
func parsePairs(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, err
	}
	pairs := map[string]string{}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if _, twice := pairs[name]; !ok || name == "" || twice {
			return nil, fmt.Errorf("%q is no pair, or given twice", field)
		}
		pairs[name] = value
	}
	return pairs, nil
}

// formatPairs is the opposite of parsePairs.
func formatPairs(pairs []string) (string, error) {
	var out strings.Builder
	w := csv.NewWriter(&out)
	err := w.Write(pairs)
	w.Flush()
	return strings.TrimSuffix(out.String(), "\n"), errors.Join(err, w.Error())
}
