package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	maxConfigFile = 64 << 10
	azureSection  = "azf"
	// hidden stands for a secret where a configuration is shown.
	hidden      = "(hidden)"
	hiddenGiven = "this is what config print shows in place of the secret: put the secret itself here"
)

// configFile is a YAML file that is being read.
type configFile struct {
	*Loaded
	path string
}

// readFile reads a configuration file. A missing file is a problem only when it was named.
func (l *Loaded) readFile(path string, named bool) {
	content, mode, err := readAll(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return
	}
	if err != nil {
		l.unread = true
		l.problems = append(l.problems, "the configuration file: "+err.Error())
		return
	}
	l.fileMode = mode
	f := configFile{Loaded: l, path: path}
	f.decode(content)
	for i := range l.rows {
		s := &l.rows[i]
		if v := l.values[s.key]; s.secret && v.origin.kind == fromFile && v.text != "" && mode&0o004 != 0 {
			l.problem(s, fmt.Errorf("every user of the machine can read this secret: run chmod 0600 %s, or give it as %s",
				path, s.environment()))
		}
	}
}

// readAll reads a file, up to the size that a configuration may have.
func readAll(path string) (content []byte, mode fs.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	content, err = io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(content) > maxConfigFile {
		err = fmt.Errorf("%s is longer than %d bytes: name another file", path, maxConfigFile)
	}
	return content, info.Mode(), err
}

// problemf reports a problem of a line.
func (f configFile) problemf(line int, format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf("%s:%d: %s", f.path, line, fmt.Sprintf(format, args...)))
}

// decode takes the settings out of the file's content.
func (f configFile) decode(content []byte) {
	file, err := parser.ParseBytes(content, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, message := 1, err.Error()
		if at, ok := errors.AsType[yaml.Error](err); ok {
			message = at.GetMessage()
			if at.GetToken() != nil {
				line = at.GetToken().Position.Line
			}
		}
		f.unread = true
		f.problemf(line, "this is not YAML: %s", message)
		return
	}
	read := false
	for _, doc := range file.Docs {
		switch body := doc.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode:
		case *ast.MappingNode:
			if read {
				f.problemf(lineOf(body), "a second document begins here: keep one")
				return
			}
			read = true
			f.mapping("", body)
		default:
			f.problemf(lineOf(body), "a configuration is made of lines such as state_dir: /var/lib/azf")
		}
	}
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 1
	}
	return n.GetToken().Position.Line
}

// mapping reads the settings of the top level, or of a section.
func (f configFile) mapping(section string, m *ast.MappingNode) {
	seen := map[string]int{}
	for _, pair := range m.Values {
		line := lineOf(pair.Key)
		key, ok := pair.Key.(*ast.StringNode)
		if !ok {
			f.problemf(line, "%s is not a key: use the plain name of a setting", pair.Key)
			continue
		}
		name := key.Value
		if first, twice := seen[name]; twice {
			f.problemf(line, "%s is given twice, first in line %d: keep one", name, first)
			continue
		}
		seen[name] = line
		if section == "" && name == azureSection {
			switch inner := pair.Value.(type) {
			case *ast.NullNode:
			case *ast.MappingNode:
				f.mapping(azureSection, inner)
			default:
				f.problemf(line, "%s holds the settings of Azure: indent them below it", azureSection)
			}
			continue
		}
		if section == "" && name == backendSection {
			f.backendSettings(pair.Value, line)
			continue
		}
		if section == "" && name == policiesSection {
			f.policySettings(pair.Value, line)
			continue
		}
		s := f.find(section, name, line)
		if s == nil {
			continue
		}
		text, err := scalar(s, pair.Value)
		f.values[s.key] = value{text: text, origin: origin{fromFile, f.path + ":" + strconv.Itoa(line)}}
		if err != nil {
			f.problem(s, err)
		}
	}
}

// find returns the setting of a key. It reports a problem and returns nil when there is none.
func (f configFile) find(section, name string, line int) *setting {
	names := []string{}
	for i := range f.rows {
		s := &f.rows[i]
		switch {
		case s.section == section && s.key == name:
			return s
		case s.section == section:
			names = append(names, s.key)
		case s.key == name && section == "":
			f.problemf(line, "%s belongs below %s: indent it there", name, s.section)
			return nil
		case s.key == name:
			f.problemf(line, "%s belongs at the top level, not below %s", name, section)
			return nil
		}
	}
	f.problemf(line, "there is no setting %q here: %s", name, meant(name, names))
	return nil
}

// scalar returns a value as a string, when the file gives it in the kind that the setting takes.
func scalar(s *setting, n ast.Node) (string, error) {
	switch field := s.field(&given{}).(type) {
	case *int:
		if n, ok := n.(*ast.IntegerNode); ok {
			return n.Token.Value, nil
		}
	case *bool:
		if n, ok := n.(*ast.BoolNode); ok {
			return n.Token.Value, nil
		}
	default:
		_, mode := field.(*fs.FileMode)
		if n, ok := n.(*ast.IntegerNode); ok && (mode || s.number) {
			return n.Token.Value, nil
		}
		if m, ok := n.(*ast.MappingNode); ok && s.isMap() {
			return mapText(m)
		}
		if text, ok := stringOf(n); ok {
			return text, nil
		}
	}
	text := ""
	if token := n.GetToken(); token != nil {
		text = token.Value
	}
	if _, null := n.(*ast.NullNode); null {
		return "", errors.New(`it has no value: give one, "" for an empty one, or remove the line`)
	}
	if _, isText := s.field(&given{}).(*string); isText {
		return text, errors.New("it must be a string: put it in quotes")
	}
	return text, fmt.Errorf("it must be %s", s.kind())
}

// stringOf returns the value of a string.
func stringOf(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// Print writes the configuration as a file that can be read again. A comment names the origin of each value.
func (l *Loaded) Print(w io.Writer) error {
	var out strings.Builder
	for _, warning := range l.Warnings() {
		fmt.Fprintf(&out, "# Warning: %s\n", warning)
	}
	section := ""
	for i := range l.rows {
		s := &l.rows[i]
		v := l.values[s.key]
		if s.section != section {
			if err := errors.Join(l.printBackend(&out), l.printPolicies(&out)); err != nil {
				return err
			}
			section = s.section
			fmt.Fprintf(&out, "%s:\n", section)
		}
		if section != "" {
			out.WriteString("  ")
		}
		shown, err := shown(s, v.text)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s: %s # %s\n", s.key, shown, v.origin)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// shown returns a value as YAML. Strings are JSON strings, which no reader takes for anything else.
func shown(s *setting, text string) (string, error) {
	var g given
	if s.store(&g, text) == nil {
		switch field := s.field(&g).(type) {
		case *int:
			return strconv.Itoa(*field), nil
		case *bool:
			return strconv.FormatBool(*field), nil
		case *map[string]string:
			return quoteMap(*field)
		}
	}
	if s.secret && text != "" {
		text = hidden
	}
	return quote(text)
}

// quote returns text as a JSON string.
func quote(text string) (string, error) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(text)
	return strings.TrimSpace(out.String()), err
}
