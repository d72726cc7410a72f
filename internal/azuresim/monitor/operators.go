package monitor

import (
	"fmt"
	"slices"
	"strings"
)

// operator reads one operator and applies it to t.
func (p *parser) operator(t table) table {
	op := p.name("an operator")
	word := op.text
	for p.is("-") && p.tok().off == op.off+len(word) && p.toks[p.i+1].typ == tName { // such as project-away
		p.take()
		word += "-" + p.take().text
	}
	switch word {
	case "where":
		return p.where(t)
	case "extend":
		return p.extend(t)
	case "project":
		return p.project(t)
	case "order":
		return p.order(t)
	case "take":
		n, ok := p.tok().val.(int64)
		if !ok {
			p.refuse("an integer")
		}
		p.take()
		t.rows = t.rows[:min(int64(len(t.rows)), n)]
		return t
	case "summarize":
		return p.summarize(t)
	}
	op.text = word
	syntax(op, "the operator '%s' is not supported by azuresim", word)
	return t
}

func (p *parser) where(t table) table {
	at := p.tok()
	cond := p.expr(t)
	if cond.kind != kBool {
		p.semantic(at, "SEM0024", "The condition of 'where' has to be of type bool, and is of type %s", cond.kind)
	}
	t.rows = slices.DeleteFunc(slices.Clone(t.rows), func(r row) bool { return cond.eval(r) != true })
	return t
}

// reference is a column that the query names.
type reference struct {
	column
	token token
	index int
}

func (r reference) bound() bound {
	return bound{r.kind, func(row row) any { return row[r.index] }}
}

// column reads the name of a column of t.
func (p *parser) column(t table) reference {
	n := p.name("a column")
	i := t.index(n.text)
	if i < 0 {
		p.semantic(n, "SEM0100", "Failed to resolve scalar expression named '%s'", n.text)
		return reference{column{name: n.text}, n, i}
	}
	return reference{t.cols[i], n, i}
}

// columns are columns that an operator computes, with the expression of each.
type columns struct {
	cols  []column
	exprs []bound
}

func (c *columns) add(p *parser, at token, name string, b bound) {
	if (table{cols: c.cols}).index(name) >= 0 {
		p.semantic(at, "SEM0020", "The column '%s' is named twice", name)
	}
	c.cols, c.exprs = append(c.cols, column{name, b.kind}), append(c.exprs, b)
}

// of evaluates the columns for each row of t.
func (c *columns) of(t table) table {
	out := table{cols: c.cols, rows: make([]row, len(t.rows)), ordered: t.ordered}
	for i, r := range t.rows {
		out.rows[i] = make(row, len(c.exprs))
		for j, b := range c.exprs {
			out.rows[i][j] = b.eval(r)
		}
	}
	return out
}

// item reads name = expr, or just a column if that is allowed.
func (p *parser) item(t table, c *columns, bare bool) {
	at := p.name("a column's name")
	if bare && !p.is("=") {
		p.i--
		c.add(p, at, at.text, p.column(t).bound())
		return
	}
	p.expect("=")
	c.add(p, at, at.text, p.expr(t))
}

func (p *parser) project(t table) table {
	var c columns
	p.list(func() { p.item(t, &c, true) })
	return c.of(t)
}

// extend adds columns, or replaces those of the same names in their places.
func (p *parser) extend(t table) table {
	var added, all columns
	p.list(func() { p.item(t, &added, false) })
	for i, c := range t.cols {
		all.cols, all.exprs = append(all.cols, c), append(all.exprs, reference{column: c, index: i}.bound())
	}
	for i, c := range added.cols {
		if at := t.index(c.name); at >= 0 {
			all.cols[at], all.exprs[at] = c, added.exprs[i]
			continue
		}
		all.cols, all.exprs = append(all.cols, c), append(all.exprs, added.exprs[i])
	}
	return all.of(t)
}

// key reads a column that rows can be ordered or grouped by.
func (p *parser) key(t table, op string) reference {
	r := p.column(t)
	if r.kind == kDynamic {
		p.semantic(r.token, "SEM0030",
			"The key of '%s' is of type dynamic. Please use an explicit cast such as tostring()", op)
	}
	return r
}

func (p *parser) order(t table) table {
	var keys []func(a, b row) int
	p.expect("by")
	p.list(func() {
		i := p.key(t, "order by").index
		desc := p.accept("desc")
		if !desc {
			p.expect("asc")
		}
		keys = append(keys, func(a, b row) int {
			if desc {
				a, b = b, a
			}
			switch {
			case a[i] == nil || b[i] == nil:
				return boolInt(b[i] == nil) - boolInt(a[i] == nil)
			}
			return compare(a[i], b[i])
		})
	})
	t.rows = slices.Clone(t.rows)
	slices.SortStableFunc(t.rows, func(a, b row) int {
		for _, key := range keys {
			if c := key(a, b); c != 0 {
				return c
			}
		}
		return 0
	})
	t.ordered = true
	return t
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// summarize groups rows by keys, in the order in which the groups appear, and keeps of each group the row in which the
// first column of arg_min is least.
func (p *parser) summarize(t table) table {
	fn := p.name("an aggregate")
	if fn.text != "arg_min" {
		syntax(fn, "the aggregate '%s' is not supported by azuresim, only arg_min", fn.text)
	}
	p.expect("(")
	var picked, keys []reference
	p.list(func() { picked = append(picked, p.column(t)) })
	p.expect(")")
	if len(picked) < 2 {
		p.semantic(fn, "SEM0219", "The function 'arg_min' takes 2 or more arguments, and got %d", len(picked))
	}
	least := picked[0]
	if least.kind == kDynamic || least.kind == kBool {
		p.semantic(fn, "SEM0024", "'arg_min' does not apply to type %s", least.kind)
	}
	p.expect("by")
	p.list(func() { keys = append(keys, p.key(t, "summarize by")) })

	var c columns
	for _, r := range append(slices.Clone(keys), picked...) {
		c.add(p, fn, r.name, r.bound())
	}
	groups := map[string]int{}
	var kept []row
	for _, r := range t.rows {
		var id strings.Builder
		for _, k := range keys {
			fmt.Fprintf(&id, "%q,", fmt.Sprint(r[k.index]))
		}
		v := r[least.index]
		i, ok := groups[id.String()]
		switch {
		case !ok:
			groups[id.String()] = len(kept)
			kept = append(kept, r)
		case v != nil && (kept[i][least.index] == nil || compare(v, kept[i][least.index]) < 0):
			kept[i] = r
		}
	}
	return c.of(table{cols: t.cols, rows: kept})
}
