package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// parseMap reads a map in the form of a flag, "name=value,name=value". It is one line of CSV, so that quotes around a
// pair keep its commas.
func parseMap(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	r := csv.NewReader(strings.NewReader(text))
	r.TrimLeadingSpace = true
	pairs, err := r.Read()
	if err != nil {
		return nil, err
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has several lines")
	}
	m := map[string]string{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q has no =", pair)
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("%q is given twice", name)
		}
		m[name] = value
	}
	return m, nil
}

// formatMap returns a map in the form that parseMap reads.
func formatMap(m map[string]string) (string, error) {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, name+"="+m[name])
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	if err := w.Write(pairs); err != nil {
		return "", err
	}
	w.Flush()
	return strings.TrimSuffix(out.String(), "\n"), w.Error()
}

// mapText returns a map of the file in the form of a flag.
func mapText(n *ast.MappingNode) (string, error) {
	m := map[string]string{}
	for _, pair := range n.Values {
		name, ok := stringOf(pair.Key)
		if !ok {
			return "", fmt.Errorf("the name %s must be a string: put it in quotes", pair.Key)
		}
		if strings.Contains(name, "=") {
			return "", fmt.Errorf("the name %q must not contain =", name)
		}
		if _, twice := m[name]; twice {
			return "", fmt.Errorf("%q is given twice: keep one", name)
		}
		if m[name], ok = stringOf(pair.Value); !ok {
			return "", fmt.Errorf("the value of %q must be a string: put it in quotes", name)
		}
	}
	if len(m) == 0 {
		return "", nil
	}
	return formatMap(m)
}

// quoteMap returns a map as YAML on one line.
func quoteMap(m map[string]string) (string, error) {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key, err := quote(name)
		if err != nil {
			return "", err
		}
		value, err := quote(m[name])
		if err != nil {
			return "", err
		}
		pairs = append(pairs, key+": "+value)
	}
	return "{" + strings.Join(pairs, ", ") + "}", nil
}
