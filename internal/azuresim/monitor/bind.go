package monitor

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// bound is an expression whose columns and types are known.
type bound struct {
	kind kind
	eval func(row) any
}

// scope is what an expression may refer to.
type scope struct {
	cols []column
	now  time.Time
}

func semantic(at expr, code, token, format string, args ...any) {
	panic(&queryError{semantic: true, code: code, msg: fmt.Sprintf(format, args...), token: token, off: at.at()})
}

func (s scope) column(n name) int {
	i := slices.IndexFunc(s.cols, func(c column) bool { return c.name == n.name })
	if i < 0 {
		semantic(n, "SEM0100", n.name, "Failed to resolve scalar expression named '%s'", n.name)
	}
	return i
}

func (s scope) bind(e expr) bound {
	switch e := e.(type) {
	case literal:
		return bound{e.kind, func(row) any { return e.val }}
	case name:
		i := s.column(e)
		return bound{s.cols[i].kind, func(r row) any { return r.vals[i] }}
	case member:
		return s.member(e)
	case call:
		return s.call(e)
	case negation:
		return s.negation(e)
	case binary:
		switch e.op {
		case "and", "or":
			return s.logic(e)
		case "+", "-":
			return s.sum(e)
		case "==", "!=", "<", "<=", ">", ">=":
			return s.comparison(e, e.op, s.bind(e.l), s.bind(e.r))
		}
		return s.stringOp(e)
	case inList:
		return s.in(e)
	case between:
		l := s.bind(e.l)
		lo, hi := s.comparison(e, ">=", l, s.bind(e.lo)), s.comparison(e, "<=", l, s.bind(e.hi))
		return bound{kBool, func(r row) any { return and(lo.eval(r), hi.eval(r)) }}
	}
	panic(fmt.Sprintf("monitor: no such expression: %T", e))
}

// want binds e, which has to be of kind k.
func (s scope) want(e expr, k kind, what string) bound {
	b := s.bind(e)
	if b.kind != k {
		semantic(e, "SEM0024", "", "%s has to be of type %s, and is of type %s", what, k, b.kind)
	}
	return b
}

func (s scope) member(e member) bound {
	of := s.want(e.of, kDynamic, "What '.' or '[ ]' is applied to")
	return bound{kDynamic, func(r row) any {
		switch v := of.eval(r).(type) {
		case map[string]any:
			if key, ok := e.key.(string); ok {
				return v[key]
			}
		case []any:
			if i, ok := e.key.(int64); ok && i >= 0 && i < int64(len(v)) {
				return v[i]
			}
		}
		return nil
	}}
}

func (s scope) negation(e negation) bound {
	of := s.bind(e.of)
	if !of.kind.numeric() && of.kind != kTimespan {
		semantic(e, "SEM0024", "-", "'-' does not apply to type %s", of.kind)
	}
	return bound{of.kind, func(r row) any {
		switch v := of.eval(r).(type) {
		case int64:
			return -v
		case float64:
			return -v
		case time.Duration:
			return -v
		}
		return nil
	}}
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

func not(v any) any {
	if b, ok := v.(bool); ok {
		return !b
	}
	return nil
}

func (s scope) logic(e binary) bound {
	what := "An operand of '" + e.op + "'"
	l, r := s.want(e.l, kBool, what), s.want(e.r, kBool, what)
	f := and
	if e.op == "or" {
		f = or
	}
	return bound{kBool, func(row row) any { return f(l.eval(row), r.eval(row)) }}
}

func (s scope) sum(e binary) bound {
	l, r := s.bind(e.l), s.bind(e.r)
	minus := e.op == "-"
	var k kind
	switch {
	case l.kind == kReal && r.kind.numeric(), r.kind == kReal && l.kind.numeric():
		k = kReal
	case l.kind.numeric() && r.kind.numeric():
		k = kLong
	case l.kind == kDatetime && r.kind == kTimespan, l.kind == kTimespan && r.kind == kDatetime && !minus:
		k = kDatetime
	case l.kind == kTimespan && r.kind == kTimespan, l.kind == kDatetime && r.kind == kDatetime && minus:
		k = kTimespan
	default:
		semantic(e, "SEM0024", e.op, "'%s' does not apply to types %s and %s", e.op, l.kind, r.kind)
	}
	return bound{k, func(row row) any {
		a, b := l.eval(row), r.eval(row)
		if a == nil || b == nil {
			return nil
		}
		if _, ok := b.(time.Time); ok && !minus {
			a, b = b, a // timespan + datetime
		}
		switch a := a.(type) {
		case time.Time:
			if u, ok := b.(time.Time); ok {
				return a.Sub(u)
			}
			if minus {
				return a.Add(-b.(time.Duration))
			}
			return a.Add(b.(time.Duration))
		case time.Duration:
			if minus {
				return a - b.(time.Duration)
			}
			return a + b.(time.Duration)
		}
		if k == kReal {
			if minus {
				return asFloat(a) - asFloat(b)
			}
			return asFloat(a) + asFloat(b)
		}
		if minus {
			return a.(int64) - b.(int64)
		}
		return a.(int64) + b.(int64)
	}}
}

func (s scope) comparison(e expr, op string, l, r bound) bound {
	order := op != "==" && op != "!="
	dynamic := l.kind == kDynamic || r.kind == kDynamic
	ok := l.kind == r.kind || l.kind.numeric() && r.kind.numeric()
	switch {
	case order:
		ok = ok && l.kind.ordered()
	case dynamic:
		other := l.kind
		if other == kDynamic {
			other = r.kind
		}
		ok = other == kString || other == kBool || other.numeric()
	}
	if !ok {
		semantic(e, "SEM0064", op, "Cannot compare values of types %s and %s with '%s'. Try adding explicit casts", l.kind, r.kind, op)
	}
	return bound{kBool, func(row row) any {
		a, b := l.eval(row), r.eval(row)
		switch {
		case a == nil && b == nil, order && (a == nil || b == nil):
			return nil
		case a == nil || b == nil:
			return op == "!="
		case dynamic:
			return scalarEqual(a, b) == (op == "==")
		}
		c := compare(a, b)
		switch op {
		case "==":
			return c == 0
		case "!=":
			return c != 0
		case "<":
			return c < 0
		case "<=":
			return c <= 0
		case ">":
			return c > 0
		}
		return c >= 0
	}}
}

func (s scope) stringOp(e binary) bound {
	l, r := s.bind(e.l), s.bind(e.r)
	for _, b := range []bound{l, r} {
		if b.kind != kString && b.kind != kDynamic {
			semantic(e, "SEM0025", e.op, "'%s' compares strings, and not type %s. Try adding tostring()", e.op, b.kind)
		}
	}
	var f func(a, b string) bool
	negate := e.negate
	switch e.op {
	case "=~", "!~":
		f, negate = strings.EqualFold, e.op == "!~"
	case "contains":
		f = func(a, b string) bool { return strings.Contains(strings.ToLower(a), strings.ToLower(b)) }
	case "startswith":
		f = func(a, b string) bool { return strings.HasPrefix(strings.ToLower(a), strings.ToLower(b)) }
	case "endswith":
		f = func(a, b string) bool { return strings.HasSuffix(strings.ToLower(a), strings.ToLower(b)) }
	case "has":
		f = hasTerm
	}
	return bound{kBool, func(row row) any { return f(text(l.eval(row)), text(r.eval(row))) != negate }}
}

// hasTerm tells whether b stands in a between characters that are neither letters nor digits.
func hasTerm(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	word := func(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) }
	for from := 0; ; {
		i := strings.Index(a[from:], b)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(b)
		before, _ := utf8.DecodeLastRuneInString(a[:start])
		after, size := utf8.DecodeRuneInString(a[end:])
		if !word(before) && !word(after) {
			return true
		}
		if from = start + max(1, size); from > len(a) {
			return false
		}
	}
}

func (s scope) in(e inList) bound {
	l := s.bind(e.l)
	var eqs []bound
	for _, x := range e.list {
		r := s.bind(x)
		if e.fold {
			for _, b := range []bound{l, r} {
				if b.kind != kString && b.kind != kDynamic {
					semantic(x, "SEM0025", "in~", "'in~' compares strings, and not type %s. Try adding tostring()", b.kind)
				}
			}
			eqs = append(eqs, bound{kBool, func(row row) any { return strings.EqualFold(text(l.eval(row)), text(r.eval(row))) }})
			continue
		}
		eqs = append(eqs, s.comparison(x, "==", l, r))
	}
	return bound{kBool, func(row row) any {
		found := slices.ContainsFunc(eqs, func(b bound) bool { return b.eval(row) == true })
		return found != e.negate
	}}
}

// maxOf is the largest value of an integer kind.
func maxOf(k kind) int64 {
	if k == kInt {
		return math.MaxInt32
	}
	return math.MaxInt64
}
