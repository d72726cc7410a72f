package monitor

import "slices"

func (p *parser) expr() expr {
	p.enter()
	defer p.leave()
	l := p.and()
	for p.is("or") {
		at := pos(p.take().off)
		l = binary{pos: at, op: "or", l: l, r: p.and()}
	}
	return l
}

func (p *parser) and() expr {
	l := p.comparison()
	for p.is("and") {
		at := pos(p.take().off)
		l = binary{pos: at, op: "and", l: l, r: p.comparison()}
	}
	return l
}

func (p *parser) comparison() expr {
	l := p.sum()
	t := p.tok()
	negate := false
	if t.typ == tPunct && t.text == "!" {
		p.take()
		if p.tok().off != t.off+1 || !slices.Contains([]string{"in", "contains", "has", "startswith", "endswith"}, p.tok().text) {
			p.refuse("an operator after '!'")
		}
		negate = true
	}
	switch op := p.tok().text; op {
	case "==", "!=", "=~", "!~", "<", "<=", ">", ">=", "contains", "has", "startswith", "endswith":
		p.take()
		return binary{pos: pos(t.off), op: op, negate: negate, l: l, r: p.sum()}
	case "in":
		p.take()
		e := inList{pos: pos(t.off), l: l, negate: negate, fold: p.accept("~")}
		p.expect("(")
		e.list = p.list(")")
		if len(e.list) == 0 {
			p.refuse("a value")
		}
		p.expect(")")
		return e
	case "between":
		p.take()
		p.expect("(")
		e := between{pos: pos(t.off), l: l, lo: p.sum()}
		p.expect("..")
		e.hi = p.sum()
		p.expect(")")
		return e
	}
	return l
}

func (p *parser) sum() expr {
	l := p.unary()
	for p.is("+") || p.is("-") {
		t := p.take()
		l = binary{pos: pos(t.off), op: t.text, l: l, r: p.unary()}
	}
	return l
}

func (p *parser) unary() expr {
	if p.is("-") {
		at := pos(p.take().off)
		return negation{at, p.postfix()}
	}
	return p.postfix()
}

func (p *parser) postfix() expr {
	e := p.primary()
	for depth := p.depth; ; depth++ { // evaluation nests as deep as this loop is long
		switch {
		case depth > maxDepth:
			p.refuse("fewer members")
		case p.is("."):
			p.take()
			n := p.name("a member's name")
			e = member{n.pos, e, n.name}
		case p.is("["):
			p.take()
			t := p.tok()
			if t.kind != kString && t.kind != kLong {
				p.refuse("a string or an integer")
			}
			p.take()
			p.expect("]")
			e = member{pos(t.off), e, t.val}
		default:
			return e
		}
	}
}

func (p *parser) primary() expr {
	t := p.tok()
	switch {
	case t.typ == tLiteral:
		p.take()
		return literal{pos(t.off), t.kind, t.val}
	case t.typ == tName:
		p.take()
		if !p.accept("(") {
			return name{pos(t.off), t.text}
		}
		c := call{pos: pos(t.off), fn: t.text, args: p.list(")")}
		p.expect(")")
		return c
	case p.accept("("):
		e := p.expr()
		p.expect(")")
		return e
	}
	p.refuse("an expression")
	return nil
}

// list reads expressions separated by commas up to end, which it leaves.
func (p *parser) list(end string) []expr {
	var out []expr
	for !p.is(end) {
		out = append(out, p.expr())
		if !p.accept(",") {
			break
		}
	}
	return out
}
