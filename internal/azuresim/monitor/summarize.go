package monitor

import "slices"

// aggregate is one bound count, max or min.
type aggregate struct {
	fn string
	of bound
}

// add takes one more row into the value so far.
func (a aggregate) add(sofar any, r row) any {
	if a.fn == "count" {
		return sofar.(int64) + 1
	}
	v := a.of.eval(r)
	switch {
	case v == nil:
		return sofar
	case sofar == nil:
		return v
	case a.fn == "max" && compare(v, sofar) > 0, a.fn == "min" && compare(v, sofar) < 0:
		return v
	}
	return sofar
}

// aggregate binds an item of summarize and names its column.
func (s scope) aggregate(it item) (column, aggregate) {
	c, ok := it.e.(call)
	if !ok || c.fn != "count" && c.fn != "max" && c.fn != "min" {
		token := ""
		if ok {
			token = c.fn
		}
		semantic(it.e, "SEM0262", token, "summarize expects count(), max(x) or min(x); '%s' is not supported", token)
	}
	if c.fn == "count" {
		if len(c.args) != 0 {
			semantic(c, "SEM0219", c.fn, "The function 'count' takes no arguments, and got %d", len(c.args))
		}
		return column{orName(it.name, "count_"), kLong}, aggregate{fn: c.fn}
	}
	if len(c.args) != 1 {
		semantic(c, "SEM0219", c.fn, "The function '%s' takes 1 argument, and got %d", c.fn, len(c.args))
	}
	of := s.bind(c.args[0])
	if !of.kind.ordered() && of.kind != kString {
		semantic(c, "SEM0024", c.fn, "'%s' does not apply to type %s", c.fn, of.kind)
	}
	return column{orName(it.name, c.fn+"_"+impliedName(c.args[0])), of.kind}, aggregate{c.fn, of}
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
		c, a := s.aggregate(it)
		if slices.ContainsFunc(cols, func(o column) bool { return o.name == c.name }) {
			semantic(it.e, "SEM0020", c.name, "The column '%s' is named twice", c.name)
		}
		cols, aggs = append(cols, c), append(aggs, a)
	}
	out := table{cols: cols}
	group := func(by []any) []any {
		vals := by
		for i, a := range aggs {
			v := cols[len(keys)+i].kind.null()
			switch {
			case a.fn == "count":
				v = int64(0)
			case v == "":
				v = nil // so that the first string counts
			}
			vals = append(vals, v)
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
		for i, a := range aggs {
			vals[len(keys)+i] = a.add(vals[len(keys)+i], r)
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
