package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/sockerless/backend-azf/workspace"
)

// backendSection names the part of the file with the settings of Terraform's backend. These are Terraform's own.
const backendSection = "terraform_backend_config"

// backendSetting is one of these settings as it is given.
type backendSetting struct {
	value  any // string, int64 or bool
	origin origin
}

// backendSettings reads the settings of Terraform's backend. checkBackend checks them later, when the backend is known.
func (f configFile) backendSettings(node ast.Node, line int) {
	m, ok := node.(*ast.MappingNode)
	if _, null := node.(*ast.NullNode); null {
		return
	}
	if !ok {
		f.problemf(line, "%s holds the settings of Terraform's backend: indent them below it", backendSection)
		return
	}
	for _, pair := range m.Values {
		line := lineOf(pair.Key)
		key, ok := pair.Key.(*ast.StringNode)
		if !ok {
			f.problemf(line, "%s is not a key: use the plain name of a setting", pair.Key)
			continue
		}
		if _, twice := f.backend[key.Value]; twice {
			f.problemf(line, "%s is given twice: keep one", key.Value)
			continue
		}
		s := backendSetting{origin: origin{fromFile, f.path + ":" + strconv.Itoa(line)}}
		switch n := pair.Value.(type) {
		case *ast.StringNode, *ast.LiteralNode:
			s.value, _ = stringOf(n)
		case *ast.BoolNode:
			s.value = n.Value
		case *ast.IntegerNode:
			n64, err := strconv.ParseInt(n.Token.Value, 10, 64)
			if err != nil {
				f.problemf(line, "%s.%s: use a whole number in decimal digits, or quotes", backendSection, key.Value)
				continue
			}
			s.value = n64
		default:
			f.problemf(line, "%s.%s: it must be a string, a whole number, true or false", backendSection, key.Value)
			continue
		}
		if s.value == hidden {
			f.problemf(line, "%s.%s: %s", backendSection, key.Value, hiddenGiven)
		}
		f.backend[key.Value] = s
	}
}

// checkBackend puts the backend together and reports its problems.
func (l *Loaded) checkBackend() {
	g := &l.given
	if len(l.backend) > 0 {
		g.backendSettings = map[string]any{}
	}
	for name, s := range l.backend {
		g.backendSettings[name] = s.value
		if l.secretOfBackend(name) && l.fileMode&0o004 != 0 {
			l.problems = append(l.problems, fmt.Sprintf("%s: %s.%s: every user of the machine can read this secret: "+
				"run chmod 0600 on the file", s.origin.name, backendSection, name))
		}
	}
	if l.values["terraform_backend"].bad || l.values["database"].bad {
		return
	}
	backend := g.complete().Backend
	if g.Database != "" && !backend.Remote() {
		l.problem(l.row("terraform_backend"), fmt.Errorf("with a PostgreSQL database, several daemons may work on the "+
			"same containers, so Terraform's states must be where all of them are: use %s",
			strings.Join(workspace.BackendTypes()[1:], ", ")))
		return
	}
	for _, problem := range backend.Check() {
		if s, ok := l.backend[problem.Setting]; ok {
			l.problems = append(l.problems,
				fmt.Sprintf("%s: %s.%s: %v", s.origin.name, backendSection, problem.Setting, problem.Err))
			continue
		}
		l.problem(l.row("terraform_backend"),
			fmt.Errorf("%s.%s is not given in the file: %w", backendSection, problem.Setting, problem.Err))
	}
}

// secretOfBackend reports whether a setting of the backend is a secret.
func (l *Loaded) secretOfBackend(name string) bool {
	return workspace.Backend{Type: l.given.backendType, Settings: l.given.backendSettings}.Secret(name)
}

// Backend returns Terraform's backend, completed from other settings: a backend pg without a database of its own uses
// the daemon's database.
func Backend(kind string, settings map[string]any, database, owner string) workspace.Backend {
	b := workspace.Backend{Type: kind, Settings: settings, Owner: owner}
	if _, given := settings["conn_str"]; kind == "pg" && !given && database != "" {
		b.Settings = maps.Clone(settings)
		if b.Settings == nil {
			b.Settings = map[string]any{}
		}
		b.Settings["conn_str"] = withoutPool(database)
	}
	return b
}

// withoutPool returns a database's URL without the parameters that only the daemon knows.
func withoutPool(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		return database // checked before
	}
	query := u.Query()
	for name := range query {
		if strings.HasPrefix(name, "pool_") || strings.HasPrefix(name, "default_query_exec_mode") ||
			strings.HasSuffix(name, "_cache_capacity") {
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// printBackend writes the backend's settings as they are in the file.
func (l *Loaded) printBackend(out *strings.Builder) error {
	if len(l.backend) == 0 {
		return nil
	}
	fmt.Fprintf(out, "%s:\n", backendSection)
	for _, name := range slices.Sorted(maps.Keys(l.backend)) {
		s := l.backend[name]
		text := ""
		switch value := s.value.(type) {
		case string:
			if l.secretOfBackend(name) && value != "" {
				value = hidden
			}
			quoted, err := quote(value)
			if err != nil {
				return err
			}
			text = quoted
		default:
			text = fmt.Sprint(value)
		}
		key, err := quote(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s: %s # %s\n", key, text, s.origin)
	}
	return nil
}
