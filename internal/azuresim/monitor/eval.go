package monitor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is a tabular value.
type table struct {
	cols []column
	rows []row
}

// engine runs queries for one request.
type engine struct {
	now time.Time
	// read returns a stored table, or false when there is none of that name.
	read func(name string) (table, bool)
}

// run evaluates a parsed query.
func (g engine) run(q *query) (t table, err *queryError) {
	defer catch(&err)
	return g.query(q), nil
}

func (g engine) query(q *query) table {
	t := g.source(q.source)
	for _, op := range q.ops {
		t = g.apply(t, op)
	}
	return t
}

func (g engine) source(src any) table {
	switch src := src.(type) {
	case *query:
		return g.query(src)
	case tableRef:
		t, ok := g.read(src.name)
		if !ok {
			panic(&queryError{
				semantic: true, noTable: true, code: "SEM0100", token: src.name, off: src.at(),
				msg: fmt.Sprintf("Failed to resolve table or column expression named '%s'", src.name),
			})
		}
		return t
	case union:
		return g.union(src)
	case datatable:
		t := table{cols: src.cols}
		for vals := range slices.Chunk(src.vals, len(src.cols)) {
			r := row{}
			for _, v := range vals {
				r.vals = append(r.vals, v.val)
			}
			t.rows = append(t.rows, r)
		}
		return t
	}
	panic(fmt.Sprintf("monitor: no such source: %T", src))
}

// union is the outer union of the legs, in their order.
func (g engine) union(u union) table {
	var legs []table
	var missing *queryError
	for _, leg := range u.legs {
		t, err := g.run(leg)
		switch {
		case err == nil:
			legs = append(legs, t)
		case u.fuzzy && err.noTable:
			missing = err
		default:
			panic(err)
		}
	}
	if legs == nil {
		panic(missing)
	}
	var out table
	for _, leg := range legs {
		for _, c := range leg.cols {
			switch i := slices.IndexFunc(out.cols, func(o column) bool { return o.name == c.name }); {
			case i < 0:
				out.cols = append(out.cols, c)
			case out.cols[i].kind != c.kind:
				semantic(u, "SEM0101", c.name, "'union' of tables whose column '%s' has types %s and %s is not supported", c.name, out.cols[i].kind, c.kind)
			}
		}
	}
	for _, leg := range legs {
		at := make([]int, len(out.cols))
		for i, c := range out.cols {
			at[i] = slices.Index(leg.cols, c)
		}
		for _, r := range leg.rows {
			vals := make([]any, len(at))
			for i, from := range at {
				vals[i] = out.cols[i].kind.null()
				if from >= 0 {
					vals[i] = r.vals[from]
				}
			}
			out.rows = append(out.rows, row{vals, r.arrived})
		}
	}
	return out
}

func (g engine) apply(t table, op any) table {
	s := scope{t.cols, g.now}
	switch op := op.(type) {
	case whereOp:
		cond := s.want(op.cond, kBool, "The condition of 'where'")
		t.rows = slices.DeleteFunc(slices.Clone(t.rows), func(r row) bool { return cond.eval(r) != true })
		return t
	case extendOp:
		return s.extend(t, op)
	case projectOp:
		cols, evals := s.items(op.items, 1)
		return project(t, cols, evals)
	case renameOp:
		return s.rename(t, op)
	case sortOp:
		return s.sort(t, op)
	case takeOp:
		t.rows = t.rows[:max(0, min(int64(len(t.rows)), op.n))]
		return t
	case countOp:
		return table{[]column{{"Count", kLong}}, []row{{vals: []any{int64(len(t.rows))}}}}
	case distinctOp:
		return s.distinct(t, op)
	case summarizeOp:
		return s.summarize(t, op)
	}
	panic(fmt.Sprintf("monitor: no such operator: %T", op))
}

// items binds the items of one operator; columns without a name of their own count from first.
func (s scope) items(items []item, first int) (cols []column, evals []bound) {
	for _, it := range items {
		b := s.bind(it.e)
		n := it.name
		if n == "" {
			if n = impliedName(it.e); n == "" {
				n = "Column" + strconv.Itoa(first)
				first++
			}
		}
		if slices.ContainsFunc(cols, func(c column) bool { return c.name == n }) {
			semantic(it.e, "SEM0020", n, "The column '%s' is named twice", n)
		}
		cols, evals = append(cols, column{n, b.kind}), append(evals, b)
	}
	return cols, evals
}

// impliedName is the name Kusto gives an expression: a column's own, a member's path, a conversion's argument's.
func impliedName(e expr) string {
	switch e := e.(type) {
	case name:
		return e.name
	case member:
		of, key := impliedName(e.of), fmt.Sprint(e.key)
		if of != "" {
			return of + "_" + key
		}
		return key
	case call:
		switch e.fn {
		case "tostring", "toint", "tolong", "todatetime", "bin":
			return impliedName(e.args[0])
		}
	}
	return ""
}

func project(t table, cols []column, evals []bound) table {
	out := table{cols: cols, rows: make([]row, len(t.rows))}
	for i, r := range t.rows {
		vals := make([]any, len(evals))
		for j, b := range evals {
			vals[j] = b.eval(r)
		}
		out.rows[i] = row{vals, r.arrived}
	}
	return out
}

func (s scope) extend(t table, op extendOp) table {
	added, evals := s.items(op.items, 1)
	cols := slices.Clone(t.cols)
	all := make([]bound, len(cols))
	for i, c := range cols {
		all[i] = bound{c.kind, func(r row) any { return r.vals[i] }}
	}
	for i, c := range added {
		if at := slices.IndexFunc(cols, func(o column) bool { return o.name == c.name }); at >= 0 {
			cols[at], all[at] = c, evals[i]
			continue
		}
		cols, all = append(cols, c), append(all, evals[i])
	}
	return project(t, cols, all)
}

func (s scope) rename(t table, op renameOp) table {
	cols := slices.Clone(t.cols)
	for i, from := range op.from {
		cols[s.column(from)].name = op.to[i].name
	}
	for i, c := range cols {
		if slices.ContainsFunc(cols[:i], func(o column) bool { return o.name == c.name }) {
			semantic(op.to[0], "SEM0020", c.name, "The column '%s' is named twice", c.name)
		}
	}
	t.cols = cols
	return t
}

// key refuses what cannot be grouped or sorted by.
func (s scope) key(e expr, op string) bound {
	b := s.bind(e)
	if b.kind == kDynamic {
		semantic(e, "SEM0030", impliedName(e), "The key of '%s' is of type dynamic. Please use an explicit cast such as tostring()", op)
	}
	return b
}

func (s scope) sort(t table, op sortOp) table {
	type keyed struct {
		row  row
		keys []any
	}
	rows := make([]keyed, len(t.rows))
	for i, r := range t.rows {
		rows[i].row = r
	}
	for _, k := range op.keys {
		b := s.key(k.e, "order by")
		for i := range rows {
			rows[i].keys = append(rows[i].keys, b.eval(rows[i].row))
		}
	}
	slices.SortStableFunc(rows, func(a, b keyed) int {
		for i, k := range op.keys {
			if c := sortCompare(a.keys[i], b.keys[i], k); c != 0 {
				return c
			}
		}
		return 0
	})
	out := table{cols: t.cols, rows: make([]row, len(rows))}
	for i, r := range rows {
		out.rows[i] = r.row
	}
	return out
}

func sortCompare(a, b any, k sortKey) int {
	switch {
	case a == nil && b == nil:
		return 0
	case (a == nil) != (b == nil):
		if (a == nil) == k.nullsFirst {
			return -1
		}
		return 1
	case k.asc:
		return compare(a, b)
	}
	return compare(b, a)
}

// groupKey is a string that equal values share and others do not.
func groupKey(vals []any) string {
	var b strings.Builder
	for _, v := range vals {
		if v == nil {
			b.WriteString("null,")
			continue
		}
		b.WriteString(strconv.Quote(text(v)))
		b.WriteByte(',')
	}
	return b.String()
}

func (s scope) distinct(t table, op distinctOp) table {
	if op.cols == nil {
		for _, c := range t.cols {
			op.cols = append(op.cols, name{op.pos, c.name})
		}
	}
	var items []item
	for _, c := range op.cols {
		s.key(c, "distinct")
		items = append(items, item{e: c})
	}
	cols, evals := s.items(items, 1)
	out := project(t, cols, evals)
	seen := map[string]bool{}
	out.rows = slices.DeleteFunc(out.rows, func(r row) bool {
		k := groupKey(r.vals)
		again := seen[k]
		seen[k] = true
		return again
	})
	for i := range out.rows {
		out.rows[i].arrived = time.Time{}
	}
	return out
}
