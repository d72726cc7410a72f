package toolchain

import (
	"bytes"
	"strings"
)

// graphFormat has go list print a package and the packages that it imports on a line.
const graphFormat = `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`

// graph counts how many of a program's packages are built. go build -v names a package when it begins to compile
// it, which is after all that the package imports is ready, be it compiled or taken from the build cache.
type graph struct {
	imports map[string][]string
	built   map[string]bool
}

// readLine takes a line of go list in graphFormat.
func (g *graph) readLine(line string) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return
	}
	if g.imports == nil {
		g.imports, g.built = map[string][]string{}, map[string]bool{}
	}
	g.imports[fields[0]] = fields[1:]
}

// reached takes a line of go build -v and reports whether it names a package of the graph.
func (g *graph) reached(line string) bool {
	imports, ok := g.imports[line]
	if !ok || g.built[line] {
		return ok
	}
	g.built[line] = true
	for _, name := range imports {
		g.reached(name)
	}
	return true
}

func (g *graph) done() int { return len(g.built) }
func (g *graph) all() int  { return len(g.imports) }

// lines is a writer that passes on complete lines without their ends.
type lines struct {
	take func(line string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.take(string(line))
		l.rest = rest
	}
}

// flush passes on a last line that has no end.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.take(string(l.rest))
		l.rest = nil
	}
}
