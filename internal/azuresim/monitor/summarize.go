package monitor

import "slices"

// aggregate is one bound count, max, min or arg_min.
type aggregate struct {
	fn string
	of bound
	// with is what arg_min returns beside the minimum, from the same row.
	with []bound
}

// add takes one more row into the values so far, one for each column of the aggregate.
func (a aggregate) add(sofar []any, r row) {
	if a.fn == "count" {
		sofar[0] = sofar[0].(int64) + 1
		return
	}
	v := a.of.eval(r)
	switch {
	case sofar[0] == nil: // what comes first stays if all are null
	case v == nil, a.fn == "max" && compare(v, sofar[0]) <= 0, a.fn != "max" && compare(v, sofar[0]) >= 0:
		return
	}
	sofar[0] = v
	for i, b := range a.with {
		sofar[1+i] = b.eval(r)
	}
}

// aggregate binds an item of summarize and names its columns.
func (s scope) aggregate(it item) ([]column, aggregate) {
	c, ok := it.e.(call)
	if !ok || !slices.Contains([]string{"count", "max", "min", "arg_min"}, c.fn) {
		token := ""
		if ok {
			token = c.fn
		}
		semantic(it.e, "SEM0262", token, "summarize expects count(), max(x), min(x) or arg_min(x, y); '%s' is not supported", token)
	}
	if c.fn == "count" {
		if len(c.args) != 0 {
			semantic(c, "SEM0219", c.fn, "The function 'count' takes no arguments, and got %d", len(c.args))
		}
		return []column{{orName(it.name, "count_"), kLong}}, aggregate{fn: c.fn}
	}
	if c.fn == "arg_min" {
		return s.argMin(it, c)
	}
	if len(c.args) != 1 {
		semantic(c, "SEM0219", c.fn, "The function '%s' takes 1 argument, and got %d", c.fn, len(c.args))
	}
	of := s.comparable(c)
	return []column{{orName(it.name, c.fn+"_"+impliedName(c.args[0])), of.kind}}, aggregate{fn: c.fn, of: of}
}

// comparable binds the first argument of an aggregate that compares.
func (s scope) comparable(c call) bound {
	of := s.bind(c.args[0])
	if !of.kind.ordered() && of.kind != kString {
		semantic(c, "SEM0024", c.fn, "'%s' does not apply to type %s", c.fn, of.kind)
	}
	return of
}

// argMin keeps the names of the columns that it is given.
func (s scope) argMin(it item, c call) ([]column, aggregate) {
	if it.name != "" {
		semantic(c, "SEM0262", it.name, "A name for 'arg_min' is not supported: its columns keep their own")
	}
	if len(c.args) < 2 {
		semantic(c, "SEM0219", c.fn, "The function 'arg_min' takes 2 or more arguments, and got %d", len(c.args))
	}
	var cols []column
	a := aggregate{fn: c.fn}
	for i, arg := range c.args {
		n, ok := arg.(name)
		if !ok {
			semantic(arg, "SEM0262", "", "An argument of 'arg_min' that is not a column is not supported")
		}
		b := s.bind(arg)
		if cols = append(cols, column{n.name, b.kind}); i > 0 {
			a.with = append(a.with, b)
		}
	}
	a.of = s.comparable(c)
	return cols, a
}

func orName(n, implied string) string {
	if n != "" {
		return n
	}
	return implied
}

// summarize groups rows, in the order in which the groups appear. Without keys there is exactly one group.
func (s scope) summarize(t table, op summarizeOp) table {
	if op.aggs == nil && op.by == nil {
		semantic(op, "SEM0262", "summarize", "summarize needs an aggregate or 'by'")
	}
	for _, it := range op.by {
		s.key(it.e, "summarize by")
	}
	cols, keys := s.items(op.by, 1)
	var aggs []aggregate
	for _, it := range op.aggs {
		added, a := s.aggregate(it)
		for _, c := range added {
			if slices.ContainsFunc(cols, func(o column) bool { return o.name == c.name }) {
				semantic(it.e, "SEM0020", c.name, "The column '%s' is named twice", c.name)
			}
			cols = append(cols, c)
		}
		aggs = append(aggs, a)
	}
	out := table{cols: cols}
	group := func(by []any) []any {
		vals := append(by, make([]any, len(cols)-len(by))...) // nil and not "", so that the first string counts
		at := len(by)
		for _, a := range aggs {
			if a.fn == "count" {
				vals[at] = int64(0)
			}
			at += 1 + len(a.with)
		}
		out.rows = append(out.rows, row{vals: vals})
		return vals
	}
	groups := map[string][]any{}
	if len(keys) == 0 {
		groups[""] = group(nil)
	}
	for _, r := range t.rows {
		by := make([]any, len(keys), len(cols))
		for i, k := range keys {
			by[i] = k.eval(r)
		}
		id := groupKey(by)
		vals, ok := groups[id]
		if !ok {
			vals = group(by)
			groups[id] = vals
		}
		at := len(keys)
		for _, a := range aggs {
			a.add(vals[at:], r)
			at += 1 + len(a.with)
		}
	}
	for _, r := range out.rows {
		for i, c := range cols {
			if r.vals[i] == nil {
				r.vals[i] = c.kind.null()
			}
		}
	}
	return out
}
