package monitor

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// bound is an expression whose columns and types are known.
type bound struct {
	kind kind
	eval func(row) any
}

func (p *parser) expr(t table) bound {
	if p.depth++; p.depth > maxDepth {
		syntax(p.tok(), "the query nests deeper than %d levels", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.logic(t, "or", or, func() bound { return p.logic(t, "and", and, func() bound { return p.comparison(t) }) })
}

// logic reads operands with one operator between them.
func (p *parser) logic(t table, op string, f func(a, b any) any, operand func() bound) bound {
	at := p.tok()
	l := operand()
	for p.is(op) {
		p.take()
		next := p.tok()
		r := operand()
		for _, side := range []struct {
			at token
			bound
		}{{at, l}, {next, r}} {
			if side.kind != kBool {
				p.semantic(side.at, "SEM0024", "An operand of '%s' has to be of type bool, and is of type %s", op, side.kind)
			}
		}
		left := l
		l = bound{kBool, func(row row) any { return f(left.eval(row), r.eval(row)) }}
	}
	return l
}

// and and or have three values: nil is neither true nor false.
func and(a, b any) any {
	switch {
	case a == false || b == false:
		return false
	case a == nil || b == nil:
		return nil
	}
	return true
}

func or(a, b any) any {
	switch {
	case a == true || b == true:
		return true
	case a == nil || b == nil:
		return nil
	}
	return false
}

func (p *parser) comparison(t table) bound {
	l := p.value(t)
	op := p.tok()
	switch op.text {
	case "==", "!=", "<=", ">=":
		p.take()
		return p.compared(op, op.text, l, p.value(t))
	case "=~", "endswith":
		p.take()
		return p.folded(op, l, p.value(t))
	case "in":
		p.take()
		p.expect("(")
		var equal []bound
		p.list(func() { equal = append(equal, p.compared(p.tok(), "==", l, p.value(t))) })
		p.expect(")")
		return bound{kBool, func(r row) any {
			return slices.ContainsFunc(equal, func(b bound) bool { return b.eval(r) == true })
		}}
	case "between":
		p.take()
		p.expect("(")
		low := p.compared(op, ">=", l, p.value(t))
		p.expect("..")
		high := p.compared(op, "<=", l, p.value(t))
		p.expect(")")
		return bound{kBool, func(r row) any { return and(low.eval(r), high.eval(r)) }}
	}
	return l
}

// compared binds l op r. It checks types as Kusto does, and refuses dynamic, bool and real values, which no query of
// ours compares.
func (p *parser) compared(at token, op string, l, r bound) bound {
	ok := l.kind == r.kind || l.kind.integer() && r.kind.integer()
	switch l.kind {
	case kString:
		ok = ok && (op == "==" || op == "!=")
	case kDynamic, kBool, kReal:
		ok = false
	}
	if !ok {
		p.semantic(at, "SEM0064", "Cannot compare values of types %s and %s with '%s'. Try adding explicit casts",
			l.kind, r.kind, op)
	}
	return bound{kBool, func(row row) any {
		a, b := l.eval(row), r.eval(row)
		if a == nil && b == nil || (a == nil || b == nil) && (op == "<=" || op == ">=") {
			return nil
		}
		if a == nil || b == nil {
			return op == "!="
		}
		switch c := compare(a, b); op {
		case "==":
			return c == 0
		case "!=":
			return c != 0
		case "<=":
			return c <= 0
		default:
			return c >= 0
		}
	}}
}

// folded binds a comparison of two strings that ignores case.
func (p *parser) folded(op token, l, r bound) bound {
	for _, b := range []bound{l, r} {
		if b.kind != kString {
			p.semantic(op, "SEM0025", "'%s' compares strings, and not type %s. Try adding tostring()", op.text, b.kind)
		}
	}
	f := strings.EqualFold
	if op.text == "endswith" {
		f = func(a, b string) bool { return strings.HasSuffix(strings.ToLower(a), strings.ToLower(b)) }
	}
	return bound{kBool, func(row row) any { return f(l.eval(row).(string), r.eval(row).(string)) }}
}

func (p *parser) value(t table) bound {
	at := p.tok()
	b := p.primary(t)
	for depth := p.depth; p.accept("."); depth++ { // evaluation nests as deep as this loop is long
		if depth > maxDepth {
			p.refuse("fewer members")
		}
		if b.kind != kDynamic {
			p.semantic(at, "SEM0024", "The value before '.' has to be of type dynamic, and is of type %s", b.kind)
		}
		at = p.name("a member's name")
		of, key := b, at.text
		b = bound{kDynamic, func(r row) any {
			object, _ := of.eval(r).(map[string]any)
			return object[key]
		}}
	}
	return b
}

func (p *parser) primary(t table) bound {
	at := p.take()
	sign := int64(1)
	if at.text == "-" && p.tok().kind == kLong {
		at, sign = p.take(), -1
	}
	switch {
	case at.kind == kLong:
		return bound{kLong, func(row) any { return sign * at.val.(int64) }}
	case at.typ == tLiteral:
		return bound{at.kind, func(row) any { return at.val }}
	case at.typ == tName && p.accept("("):
		return p.call(t, at)
	case at.typ == tName:
		p.i--
		return p.column(t).bound()
	}
	if at.typ != tEnd {
		p.i--
	}
	p.refuse("an expression")
	return bound{}
}

// function is a scalar function, with the types of its arguments and its result.
type function struct {
	params []kind
	result kind
	eval   func(args []any) any
}

var functions = map[string]function{
	"not": {[]kind{kBool}, kBool, func(args []any) any {
		if b, ok := args[0].(bool); ok {
			return !b
		}
		return nil
	}},
	"tostring":   {[]kind{kDynamic}, kString, func(args []any) any { return text(args[0]) }},
	"tolong":     {[]kind{kDynamic}, kLong, func(args []any) any { return asLong(args[0]) }},
	"todatetime": {[]kind{kDynamic}, kDatetime, toDatetime},
	"parse_json": {[]kind{kString}, kDynamic, func(args []any) any {
		s := args[0].(string)
		d, ok := parseJSON(s)
		if !ok && s != "" {
			return s // as Kusto: a string that is not JSON stays a string
		}
		return d
	}},
	"isnotempty": {[]kind{kString}, kBool, func(args []any) any { return args[0] != "" }},
	// The type of iff is that of its second and third argument.
	"iff": {[]kind{kBool, "", ""}, "", func(args []any) any {
		if args[0] == true {
			return args[1]
		}
		return args[2]
	}},
	"string_size": {[]kind{kString}, kLong, func(args []any) any { return int64(len(args[0].(string))) }},
	"strcat": {[]kind{kString, kString}, kString, func(args []any) any {
		return args[0].(string) + args[1].(string)
	}},
	"extract": {[]kind{kString, kLong, kString}, kString, extract},
	"array_index_of": {[]kind{kDynamic, kString}, kLong, func(args []any) any {
		list, ok := args[0].([]any)
		if !ok {
			return nil
		}
		return int64(slices.Index(list, args[1]))
	}},
	// The types of coalesce are those of its arguments.
	"coalesce": {[]kind{"", ""}, "", func(args []any) any {
		if args[0] != nil && args[0] != "" {
			return args[0]
		}
		return args[1]
	}},
}

// extract returns what a group of a regular expression matches first, or "". Kusto's expressions are those of RE2, as
// regexp's are.
func extract(args []any) any {
	form, err := regexp.Compile(args[0].(string))
	if err != nil {
		return ""
	}
	if found := form.FindStringSubmatch(args[2].(string)); int64(len(found)) > args[1].(int64) {
		return found[args[1].(int64)]
	}
	return ""
}

func toDatetime(args []any) any {
	if s, ok := args[0].(string); ok {
		if t, ok := parseTime(s); ok {
			return t
		}
	}
	return nil
}

// call reads the arguments of a function.
func (p *parser) call(t table, name token) bound {
	if name.text == "row_cumsum" {
		return p.cumulate(t, name)
	}
	f, ok := functions[name.text]
	if !ok {
		p.semantic(name, "SEM0260", "Unknown function: '%s' is not supported by azuresim", name.text)
	}
	var args []bound
	var ats []token
	if !p.is(")") {
		p.list(func() {
			ats = append(ats, p.tok())
			args = append(args, p.expr(t))
		})
	}
	p.expect(")")
	if len(args) != len(f.params) {
		p.semantic(name, "SEM0219", "The function '%s' takes %d arguments here, and got %d",
			name.text, len(f.params), len(args))
		return bound{kind: f.result}
	}
	var same kind
	for i, want := range f.params {
		if want == "" && same == "" {
			same = args[i].kind
			f.result = same
		}
		if want == "" {
			want = same
		}
		if args[i].kind != want {
			p.semantic(ats[i], "SEM0024", "Argument %d of '%s' has to be of type %s, and is of type %s",
				i+1, name.text, want, args[i].kind)
		}
	}
	return bound{f.result, func(r row) any {
		values := make([]any, len(args))
		for i, a := range args {
			values[i] = a.eval(r)
		}
		return f.eval(values)
	}}
}

// cumulate reads the argument of row_cumsum, whose value is the sum of the argument over the rows so far. The result is
// evaluated once for each row, in the order of the rows.
func (p *parser) cumulate(t table, name token) bound {
	if !t.ordered {
		p.semantic(name, "SEM0032", "'row_cumsum' needs rows in an order: put it behind 'order by'")
	}
	at := p.tok()
	arg := p.expr(t)
	p.expect(")")
	if !arg.kind.integer() {
		p.semantic(at, "SEM0024", "The argument of 'row_cumsum' has to be of an integer type, and is of type %s",
			arg.kind)
	}
	sum := int64(0)
	return bound{arg.kind, func(r row) any {
		n, _ := arg.eval(r).(int64) // null adds nothing
		sum += n
		return sum
	}}
}

// parseTime reads a datetime as literals and todatetime do. Without a zone it is UTC.
func parseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(tick), true
		}
	}
	return time.Time{}, false
}
