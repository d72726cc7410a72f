package monitor

// expr is a scalar expression as written.
type expr interface{ at() int }

// pos is the byte offset of a node in the query.
type pos int

func (p pos) at() int { return int(p) }

type (
	literal struct {
		pos
		kind kind
		val  any
	}
	name struct {
		pos
		name string
	}
	// member is of.key, of["key"] or of[0].
	member struct {
		pos
		of  expr
		key any // string or int64
	}
	call struct {
		pos
		fn   string
		args []expr
	}
	negation struct {
		pos
		of expr
	}
	// binary has and, or, +, -, a comparison or a string operator as op; negate is the ! of an operator in letters.
	binary struct {
		pos
		op     string
		negate bool
		l, r   expr
	}
	inList struct {
		pos
		l            expr
		list         []expr
		negate, fold bool
	}
	between struct {
		pos
		l, lo, hi expr
	}
)

// query is a source and the operators behind it.
type query struct {
	source any // tableRef, union, datatable or *query
	ops    []any
}

type (
	tableRef struct {
		pos
		name string
	}
	union struct {
		pos
		fuzzy bool
		legs  []*query
	}
	datatable struct {
		cols []column
		vals []literal
	}
)

// item is [name =] e.
type item struct {
	name string
	e    expr
}

type sortKey struct {
	e               expr
	asc, nullsFirst bool
}

type (
	whereOp   struct{ cond expr }
	extendOp  struct{ items []item }
	projectOp struct{ items []item }
	renameOp  struct{ to, from []name }
	sortOp    struct{ keys []sortKey }
	takeOp    struct{ n int64 }
	countOp   struct{}
	// distinctOp has no columns for *.
	distinctOp struct {
		pos
		cols []expr
	}
	summarizeOp struct {
		pos
		aggs, by []item
	}
)
