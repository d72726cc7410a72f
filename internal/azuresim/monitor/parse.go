package monitor

import (
	"fmt"
	"slices"
)

// maxDepth bounds how deep a query may nest.
const maxDepth = 100

// table is a tabular value.
type table struct {
	cols []column
	rows []row
	// ordered means that the rows have an order: Kusto calls them serialized.
	ordered bool
}

func (t table) index(name string) int {
	return slices.IndexFunc(t.cols, func(c column) bool { return c.name == name })
}

// parser reads a query by the grammar in the package doc and evaluates it on the way.
type parser struct {
	toks  []token
	i     int
	depth int
	// read returns a stored table, or false when there is none of that name.
	read func(name string) (table, bool)
	// wrong is the first semantic error. Parsing goes on after it, because a syntax error comes first, as in Kusto.
	wrong *queryError
}

// run evaluates a query. It checks the query over tables without rows first.
func run(query string, read func(string) (table, bool)) (table, *queryError) {
	_, err := pass(query, func(name string) (table, bool) {
		t, ok := read(name)
		return table{cols: t.cols}, ok
	})
	if err != nil {
		return table{}, err
	}
	return pass(query, read)
}

func pass(query string, read func(string) (table, bool)) (t table, err *queryError) {
	defer catch(&err)
	p := &parser{toks: lex(query), read: read}
	t = p.source()
	for p.accept("|") {
		t = p.operator(t)
	}
	if p.tok().typ != tEnd {
		p.refuse("the end of the query")
	}
	return t, p.wrong
}

func (p *parser) tok() token { return p.toks[p.i] }

func (p *parser) take() token {
	t := p.toks[p.i]
	if t.typ != tEnd {
		p.i++
	}
	return t
}

// is reports whether the token is this punctuation or word. A string literal never is, since its text has the quotes.
func (p *parser) is(text string) bool { return p.tok().text == text }

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(text string) token {
	if !p.is(text) {
		p.refuse("'" + text + "'")
	}
	return p.take()
}

// syntax refuses a token.
func syntax(t token, format string, args ...any) {
	at := fmt.Sprintf("at '%s'", t.text)
	if t.typ == tEnd {
		at = "at its end"
	}
	msg := "Query could not be parsed " + at + ": " + fmt.Sprintf(format, args...)
	panic(&queryError{code: "SYN0002", msg: msg, token: t.text, off: t.off})
}

// semantic refuses the query because of the meaning of a token, when it has been parsed to its end.
func (p *parser) semantic(t token, code, format string, args ...any) {
	if p.wrong == nil {
		p.wrong = &queryError{semantic: true, code: code, msg: fmt.Sprintf(format, args...), token: t.text, off: t.off}
	}
}

// refuse refuses the current token where something else is wanted, such as an operator that the subset does not have.
func (p *parser) refuse(want string) {
	t := p.tok()
	if t.typ == tEnd {
		syntax(t, "expected %s", want)
	}
	syntax(t, "expected %s; '%s' is not supported here by azuresim", want, t.text)
}

func (p *parser) name(want string) token {
	if p.tok().typ != tName {
		p.refuse(want)
	}
	return p.take()
}

// list reads one or more elements separated by commas.
func (p *parser) list(element func()) {
	element()
	for p.accept(",") {
		element()
	}
}

func (p *parser) source() table {
	if p.accept("union") {
		return p.union()
	}
	t := p.name("a table")
	source, ok := p.read(t.text)
	if !ok && p.tok().typ != tEnd && !p.is("|") { // let, print, search and others
		syntax(t, "'%s' is not supported by azuresim", t.text)
	}
	if !ok {
		p.noTable(t)
	}
	return source
}

func (p *parser) noTable(t token) {
	p.semantic(t, "SEM0100", "Failed to resolve table or column expression named '%s'", t.text)
}

// union is the outer union of the legs that exist, in their order.
func (p *parser) union() (out table) {
	if t := p.tok(); t.typ == tName && t.text != "isfuzzy" && p.toks[p.i+1].text == "=" {
		syntax(t, "the parameter '%s' of union is not supported by azuresim", t.text)
	}
	p.expect("isfuzzy")
	p.expect("=")
	p.expect("true")
	var legs []table
	var missing token
	p.list(func() {
		if p.accept("(") {
			legs = append(legs, p.datatable())
			p.expect(")")
			return
		}
		t := p.name("a table")
		leg, ok := p.read(t.text)
		if !ok {
			missing = t
			return
		}
		legs = append(legs, leg)
	})
	if legs == nil {
		p.noTable(missing)
	}
	for _, leg := range legs {
		for _, c := range leg.cols {
			switch i := out.index(c.name); {
			case i < 0:
				out.cols = append(out.cols, c)
			case out.cols[i].kind != c.kind:
				p.semantic(p.toks[0], "SEM0101", "The column '%s' has types %s and %s, which azuresim does not unite",
					c.name, out.cols[i].kind, c.kind)
			}
		}
	}
	for _, leg := range legs {
		for _, r := range leg.rows {
			vals := make(row, len(out.cols))
			for i, c := range out.cols {
				vals[i] = c.kind.null()
				if from := leg.index(c.name); from >= 0 {
					vals[i] = r[from]
				}
			}
			out.rows = append(out.rows, vals)
		}
	}
	return out
}

// datatable reads a table without rows.
func (p *parser) datatable() (t table) {
	p.expect("datatable")
	p.expect("(")
	p.list(func() {
		n := p.name("a column name")
		p.expect(":")
		k := kind(p.tok().text)
		if !slices.Contains([]kind{kString, kInt, kLong, kReal, kBool, kDatetime, kDynamic}, k) {
			p.refuse("a type")
		}
		p.take()
		t.cols = append(t.cols, column{n.text, k})
	})
	p.expect(")")
	p.expect("[")
	p.expect("]")
	return t
}
