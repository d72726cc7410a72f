package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
)

// policiesSection names the part of the file with sets of rules, by their names.
const policiesSection = "policies"

// shortSet is the name of the set that the setting policy stands for.
const shortSet = "default"

// policySet is a set as the file gives it.
type policySet struct {
	set    policy.Set
	origin origin
}

// policyField is a setting of a set.
type policyField struct {
	name string
	// text, list: where the value is stored, by its kind. check may be nil.
	text  func(*policy.Set) *string
	list  func(*policy.Set) *[]string
	check func(string) error
}

var policyFields = []policyField{
	{name: "path", text: func(s *policy.Set) *string { return &s.Path }, check: checkAbsolute},
	{name: "verify_key", text: func(s *policy.Set) *string { return &s.VerifyKey }, check: checkAbsolute},
	{name: "command", list: func(s *policy.Set) *[]string { return &s.Command }},
	{name: "query", text: func(s *policy.Set) *string { return &s.Query }},
	{name: "package", text: func(s *policy.Set) *string { return &s.Package }, check: checkPackage},
	{name: "rego", text: func(s *policy.Set) *string { return &s.Rego }, check: oneOf("v0", "v1")},
	{name: "enforcement", text: func(s *policy.Set) *string { return (*string)(&s.Enforcement) },
		check: oneOf(string(policy.Advisory), string(policy.Soft), string(policy.Hard))},
	{name: "on", list: func(s *policy.Set) *[]string { return &s.On }, check: oneOf(gate.Actions()...)},
	{name: "override", list: func(s *policy.Set) *[]string { return &s.Override }, check: gate.CheckOverride},
}

// policyTimeout is the one field that is neither a string nor a list.
const policyTimeout = "timeout"

var policyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$`)

func checkAbsolute(text string) error {
	if !filepath.IsAbs(text) {
		return fmt.Errorf("%q: use an absolute path", text)
	}
	return nil
}

var packagePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

func checkPackage(text string) error {
	return matching(packagePattern, text, "the name of a package of Rego, such as main")
}

// checkDigest takes the digest of policies.
func checkDigest(text string) error {
	return matching(digestPattern, text, "the digest that docker info shows: sha256: and 64 hex digits")
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// policySettings reads the sets of rules in the file.
func (f configFile) policySettings(node ast.Node, line int) {
	m, ok := node.(*ast.MappingNode)
	if _, null := node.(*ast.NullNode); null {
		return
	}
	if !ok {
		f.problemf(line, "%s holds sets of rules by their names: indent them below it", policiesSection)
		return
	}
	for _, pair := range m.Values {
		line := lineOf(pair.Key)
		name, ok := pair.Key.(*ast.StringNode)
		if !ok || !policyName.MatchString(name.Value) {
			f.problemf(line, "%s.%s: use a name of 1 to 64 lower-case letters, digits, hyphens and underscores",
				policiesSection, pair.Key)
			continue
		}
		if _, twice := f.policies[name.Value]; twice {
			f.problemf(line, "%s.%s is given twice: keep one", policiesSection, name.Value)
			continue
		}
		fields, ok := pair.Value.(*ast.MappingNode)
		if !ok {
			f.problemf(line, "%s.%s: indent its settings below it, such as path: /etc/sockerless-backend-azf/policy",
				policiesSection, name.Value)
			continue
		}
		set := policy.Set{Name: name.Value}
		f.policyFields(&set, fields)
		if (set.Path == "") == (len(set.Command) == 0) {
			f.problemf(line, "%s.%s: give it a path or a command", policiesSection, set.Name)
		}
		if len(set.Override) > 0 && set.Enforcement != policy.Soft {
			f.problemf(line, "%s.%s.override: only a set with enforcement soft can be overridden",
				policiesSection, set.Name)
		}
		f.policies[set.Name] = policySet{set, origin{fromFile, f.path + ":" + strconv.Itoa(line)}}
	}
}

func (f configFile) policyFields(set *policy.Set, m *ast.MappingNode) {
	seen := map[string]bool{}
	names := []string{policyTimeout}
	for _, field := range policyFields {
		names = append(names, field.name)
	}
	for _, pair := range m.Values {
		line, key := lineOf(pair.Key), pair.Key.String()
		if name, ok := stringOf(pair.Key); ok {
			key = name // without quotes
		}
		place := policiesSection + "." + set.Name + "." + key
		if seen[key] {
			f.problemf(line, "%s is given twice: keep one", place)
			continue
		}
		seen[key] = true
		var err error
		at := slices.IndexFunc(policyFields, func(field policyField) bool { return field.name == key })
		switch {
		case key == policyTimeout:
			set.Timeout, err = policyDuration(pair.Value)
		case at < 0:
			f.problemf(line, "%s.%s: there is no setting %q: %s", policiesSection, set.Name, key, meant(key, names))
			continue
		default:
			err = policyFields[at].store(set, pair.Value)
		}
		if err != nil {
			f.problemf(line, "%s: %v", place, err)
		}
	}
}

func policyDuration(n ast.Node) (time.Duration, error) {
	text, ok := stringOf(n)
	d, err := parseDuration(text)
	if !ok || err != nil || d <= 0 {
		return 0, errors.New("it must be a duration with a unit, more than 0s, such as 2s")
	}
	return d, nil
}

func (field policyField) store(set *policy.Set, n ast.Node) error {
	var values []string
	if field.text != nil {
		text, ok := stringOf(n)
		if !ok || text == "" {
			return errors.New("it must be a string: put it in quotes")
		}
		*field.text(set), values = text, []string{text}
	} else {
		sequence, ok := n.(*ast.SequenceNode)
		if !ok || len(sequence.Values) == 0 {
			return errors.New("it must be a list, such as [a, b]")
		}
		for _, value := range sequence.Values {
			text, ok := stringOf(value)
			if !ok {
				return fmt.Errorf("%s must be a string: put it in quotes", value)
			}
			values = append(values, text)
		}
		*field.list(set) = values
	}
	for _, text := range values {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("it holds a line break or another control character: remove it")
		}
		if field.check == nil {
			continue
		}
		if err := field.check(text); err != nil {
			return err
		}
	}
	return nil
}

// checkPolicies puts the sets together.
func (l *Loaded) checkPolicies() {
	g := &l.given
	for _, name := range slices.Sorted(maps.Keys(l.policies)) {
		g.Policy.Sets = append(g.Policy.Sets, l.policies[name].set)
	}
	if g.policyPath == "" {
		return
	}
	if given, twice := l.policies[shortSet]; twice {
		l.problem(l.row("policy"), fmt.Errorf("%s: %s.%s has this name, too: rename that one",
			given.origin.name, policiesSection, shortSet))
	}
	g.Policy.Sets = append(g.Policy.Sets, policy.Set{Name: shortSet, Path: g.policyPath})
}

// printPolicies writes the sets as they are in the file.
func (l *Loaded) printPolicies(out *strings.Builder) error {
	if len(l.policies) == 0 {
		return nil
	}
	fmt.Fprintf(out, "%s:\n", policiesSection)
	for _, name := range slices.Sorted(maps.Keys(l.policies)) {
		given := l.policies[name]
		fmt.Fprintf(out, "  %s: # %s\n", name, given.origin)
		for _, field := range policyFields {
			shown := ""
			var err error
			if field.text != nil {
				shown, err = quote(*field.text(&given.set))
			} else {
				shown, err = quoteList(*field.list(&given.set))
			}
			if err != nil {
				return err
			}
			if shown != `""` && shown != "[]" {
				fmt.Fprintf(out, "    %s: %s\n", field.name, shown)
			}
		}
		if given.set.Timeout > 0 {
			fmt.Fprintf(out, "    %s: %q\n", policyTimeout, given.set.Timeout)
		}
	}
	return nil
}

func quoteList(list []string) (string, error) {
	quoted := make([]string, len(list))
	for i, text := range list {
		var err error
		if quoted[i], err = quote(text); err != nil {
			return "", err
		}
	}
	return "[" + strings.Join(quoted, ", ") + "]", nil
}
