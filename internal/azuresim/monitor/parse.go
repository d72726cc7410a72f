package monitor

import (
	"fmt"
	"slices"
)

// maxDepth bounds how deep a query may nest.
const maxDepth = 100

type parser struct {
	toks  []token
	i     int
	depth int
}

// parse reads a query by the grammar in the package doc.
func parse(s string) (q *query, err *queryError) {
	defer catch(&err)
	p := &parser{toks: lex(s)}
	q = p.query()
	p.accept(";")
	if p.tok().typ != tEnd {
		p.refuse("the end of the query")
	}
	return q, nil
}

func (p *parser) tok() token { return p.toks[p.i] }

func (p *parser) take() token {
	t := p.toks[p.i]
	if t.typ != tEnd {
		p.i++
	}
	return t
}

// is tells whether the token is this punctuation or word. A string literal never is, since its text has the quotes.
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

// refuse refuses the token; a word behind a complete expression is an operator that the subset does not have.
func (p *parser) refuse(want string) {
	t := p.tok()
	if t.typ == tName && p.i > 0 {
		want += fmt.Sprintf("; an operator '%s' is not supported here", t.text)
	}
	unexpected(t, want)
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		panic(&queryError{code: "SYN0003", msg: fmt.Sprintf("the query nests deeper than %d levels", maxDepth), token: p.tok().text, off: p.tok().off})
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) name(want string) name {
	if p.tok().typ != tName {
		p.refuse(want)
	}
	t := p.take()
	return name{pos(t.off), t.text}
}

func (p *parser) query() *query {
	p.enter()
	defer p.leave()
	q := &query{source: p.source()}
	for p.accept("|") {
		q.ops = append(q.ops, p.operator()...)
	}
	return q
}

func (p *parser) source() any {
	switch {
	case p.is("("):
		return p.parenthesized()
	case p.is("union"):
		return p.union()
	case p.is("datatable"):
		return p.datatable()
	}
	n := p.name("a table")
	switch n.name {
	case "let", "set", "declare", "print", "search", "find", "range", "externaldata", "evaluate", "materialize", "view":
		unexpected(token{typ: tName, text: n.name, off: n.at()}, fmt.Sprintf("a table; '%s' is not supported", n.name))
	}
	return tableRef(n)
}

func (p *parser) parenthesized() *query {
	p.expect("(")
	q := p.query()
	p.expect(")")
	return q
}

func (p *parser) union() union {
	u := union{pos: pos(p.take().off)}
	if p.is("isfuzzy") {
		p.take()
		p.expect("=")
		v, ok := p.tok().val.(bool)
		if !ok {
			p.refuse("true or false")
		}
		p.take()
		u.fuzzy = v
	}
	for {
		if p.is("(") {
			u.legs = append(u.legs, p.parenthesized())
		} else {
			n := p.name("a table")
			if p.is("=") {
				unexpected(token{typ: tName, text: n.name, off: n.at()}, fmt.Sprintf("a table; the parameter '%s' of union is not supported", n.name))
			}
			u.legs = append(u.legs, &query{source: tableRef(n)})
		}
		if !p.accept(",") {
			return u
		}
	}
}

func (p *parser) datatable() datatable {
	p.take()
	var d datatable
	p.expect("(")
	for {
		n := p.name("a column name")
		p.expect(":")
		k := kind(p.tok().text)
		if !slices.Contains([]kind{kString, kInt, kLong, kReal, kBool, kDatetime, kTimespan, kDynamic}, k) {
			p.refuse("a type")
		}
		p.take()
		d.cols = append(d.cols, column{n.name, k})
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	p.expect("[")
	for !p.is("]") {
		t := p.tok()
		if t.typ != tLiteral {
			p.refuse("a literal")
		}
		p.take()
		want := d.cols[len(d.vals)%len(d.cols)].kind
		lit := literal{pos(t.off), t.kind, t.val}
		switch {
		case t.kind == kLong && want == kReal:
			lit.val = float64(t.val.(int64))
		case t.kind == kLong && want == kInt, t.kind == want:
		default:
			unexpected(t, "a literal of type "+string(want))
		}
		d.vals = append(d.vals, lit)
		if !p.accept(",") {
			break
		}
	}
	end := p.expect("]")
	if len(d.vals)%len(d.cols) != 0 {
		unexpected(end, "more values, as many as there are columns in each row")
	}
	return d
}

// operator reads one operator; top is two.
func (p *parser) operator() []any {
	t := p.tok()
	if t.typ != tName {
		p.refuse("an operator")
	}
	p.take()
	word := t.text
	for p.is("-") && p.tok().off == t.off+len(word) && p.toks[p.i+1].typ == tName { // project-rename
		p.take()
		word += "-" + p.take().text
	}
	switch word {
	case "where":
		return []any{whereOp{p.expr()}}
	case "extend":
		return []any{extendOp{p.items()}}
	case "project":
		return []any{projectOp{p.items()}}
	case "project-rename":
		return []any{p.rename()}
	case "order", "sort":
		p.expect("by")
		keys := []sortKey{p.sortKey()}
		for p.accept(",") {
			keys = append(keys, p.sortKey())
		}
		return []any{sortOp{keys}}
	case "top":
		n := p.integer()
		p.expect("by")
		return []any{sortOp{[]sortKey{p.sortKey()}}, takeOp{n}}
	case "take", "limit":
		return []any{takeOp{p.integer()}}
	case "count":
		return []any{countOp{}}
	case "distinct":
		return []any{p.distinct(t)}
	case "summarize":
		return []any{p.summarize(t)}
	}
	unexpected(token{typ: tName, text: word, off: t.off}, fmt.Sprintf("an operator; '%s' is not supported", word))
	return nil
}

func (p *parser) integer() int64 {
	n, ok := p.tok().val.(int64)
	if !ok {
		p.refuse("an integer")
	}
	p.take()
	return n
}

func (p *parser) items() []item {
	var out []item
	for {
		var it item
		if p.tok().typ == tName && p.toks[p.i+1].typ == tPunct && p.toks[p.i+1].text == "=" {
			it.name = p.take().text
			p.take()
		}
		it.e = p.expr()
		out = append(out, it)
		if !p.accept(",") {
			return out
		}
	}
}

func (p *parser) rename() renameOp {
	var r renameOp
	for {
		to := p.name("a new name")
		p.expect("=")
		r.to, r.from = append(r.to, to), append(r.from, p.name("a column"))
		if !p.accept(",") {
			return r
		}
	}
}

func (p *parser) sortKey() sortKey {
	k := sortKey{e: p.expr()}
	if !p.accept("desc") {
		k.asc = p.accept("asc")
	}
	k.nullsFirst = k.asc
	if p.accept("nulls") {
		k.nullsFirst = p.is("first")
		if !p.accept("first") {
			p.expect("last")
		}
	}
	return k
}

func (p *parser) distinct(t token) distinctOp {
	d := distinctOp{pos: pos(t.off)}
	if p.accept("*") {
		return d
	}
	d.cols = append(d.cols, p.name("a column"))
	for p.accept(",") {
		d.cols = append(d.cols, p.name("a column"))
	}
	return d
}

func (p *parser) summarize(t token) summarizeOp {
	s := summarizeOp{pos: pos(t.off)}
	if !p.is("by") {
		s.aggs = p.items()
	}
	if p.accept("by") {
		s.by = p.items()
	}
	return s
}
