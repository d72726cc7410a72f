package monitor

import (
	"math"
	"slices"
	"strings"
	"time"
)

// call binds a function.
func (s scope) call(e call) bound {
	args := func(least, most int) {
		if len(e.args) < least || len(e.args) > most {
			semantic(e, "SEM0219", e.fn, "The function '%s' takes %d to %d arguments, and got %d", e.fn, least, most, len(e.args))
		}
	}
	one := func() bound {
		args(1, 1)
		return s.bind(e.args[0])
	}
	fold := func(k kind, of bound, f func(v any) any) bound {
		return bound{k, func(r row) any { return f(of.eval(r)) }}
	}
	switch e.fn {
	case "now", "ago":
		return s.clock(e, args)
	case "not":
		args(1, 1)
		return fold(kBool, s.want(e.args[0], kBool, "The argument of 'not'"), not)
	case "tostring":
		return fold(kString, one(), func(v any) any { return text(v) })
	case "tolower":
		args(1, 1)
		return fold(kString, s.want(e.args[0], kString, "The argument of 'tolower'"), func(v any) any { return strings.ToLower(v.(string)) })
	case "toint":
		return fold(kInt, s.castable(e, one()), func(v any) any { return asLong(v, maxOf(kInt)) })
	case "tolong":
		return fold(kLong, s.castable(e, one()), func(v any) any { return asLong(v, maxOf(kLong)) })
	case "todatetime":
		of := one()
		if of.kind != kString && of.kind != kDynamic && of.kind != kDatetime {
			semantic(e, "SEM0024", e.fn, "'todatetime' does not convert type %s", of.kind)
		}
		return fold(kDatetime, of, func(v any) any {
			switch v := v.(type) {
			case time.Time:
				return v
			case string:
				if t, ok := parseTime(v); ok {
					return t
				}
			}
			return nil
		})
	case "parse_json", "todynamic":
		of := one()
		if of.kind == kDynamic {
			return of
		}
		if of.kind != kString {
			semantic(e, "SEM0024", e.fn, "'%s' reads strings, and not type %s", e.fn, of.kind)
		}
		return fold(kDynamic, of, func(v any) any {
			d, ok := parseJSON(v.(string))
			if !ok && v != "" {
				return v // as Kusto: what is not JSON is a string
			}
			return d
		})
	case "isempty":
		return fold(kBool, one(), func(v any) any { return v == nil || v == "" })
	case "isnotempty":
		return fold(kBool, one(), func(v any) any { return v != nil && v != "" })
	case "strcat":
		args(1, 64)
		return s.strcat(e)
	case "ingestion_time":
		args(0, 0)
		return bound{kDatetime, func(r row) any {
			if r.arrived.IsZero() {
				return nil
			}
			return r.arrived.UTC().Truncate(tick)
		}}
	case "bin":
		args(2, 2)
		return s.bin(e)
	case "iff":
		args(3, 3)
		cond := s.want(e.args[0], kBool, "The condition of 'iff'")
		values := s.alike(e, e.args[1:])
		return bound{values[0].kind, func(r row) any {
			if cond.eval(r) == true {
				return values[0].eval(r)
			}
			return values[1].eval(r)
		}}
	case "coalesce":
		args(2, 64)
		values := s.alike(e, e.args)
		return bound{values[0].kind, func(r row) any {
			for _, b := range values {
				if v := b.eval(r); v != nil && v != "" {
					return v
				}
			}
			return values[0].kind.null()
		}}
	case "array_index_of":
		args(2, 2)
		return s.indexOf(e)
	case "count", "max", "min", "arg_min":
		semantic(e, "SEM0261", e.fn, "The aggregate function '%s' stands alone in summarize only", e.fn)
	}
	semantic(e, "SEM0260", e.fn, "Unknown function: '%s'", e.fn)
	return bound{}
}

// alike binds expressions that have to be of one type.
func (s scope) alike(e call, exprs []expr) []bound {
	out := make([]bound, len(exprs))
	for i, x := range exprs {
		if out[i] = s.bind(x); out[i].kind != out[0].kind {
			semantic(x, "SEM0024", e.fn, "The values of '%s' have to be of one type, and are of types %s and %s", e.fn, out[0].kind, out[i].kind)
		}
	}
	return out
}

func (s scope) indexOf(e call) bound {
	array, value := s.want(e.args[0], kDynamic, "The array of 'array_index_of'"), s.bind(e.args[1])
	if value.kind != kString && value.kind != kBool && !value.kind.numeric() {
		semantic(e.args[1], "SEM0024", e.fn, "'array_index_of' does not look for type %s", value.kind)
	}
	return bound{kLong, func(r row) any {
		list, ok := array.eval(r).([]any)
		if !ok {
			return nil
		}
		v := value.eval(r)
		return int64(slices.IndexFunc(list, func(item any) bool { return scalarEqual(item, v) }))
	}}
}

// castable refuses what toint and tolong do not convert here.
func (s scope) castable(e call, of bound) bound {
	if of.kind == kDatetime || of.kind == kTimespan {
		semantic(e, "SEM0024", e.fn, "'%s' does not convert type %s", e.fn, of.kind)
	}
	return of
}

func (s scope) clock(e call, args func(least, most int)) bound {
	offset := bound{kTimespan, func(row) any { return time.Duration(0) }}
	sign := time.Duration(1)
	if e.fn == "ago" {
		args(1, 1)
		sign = -1
	} else {
		args(0, 1)
	}
	if len(e.args) == 1 {
		offset = s.want(e.args[0], kTimespan, "The argument of '"+e.fn+"'")
	}
	return bound{kDatetime, func(r row) any {
		if d, ok := offset.eval(r).(time.Duration); ok {
			return s.now.Add(sign * d)
		}
		return nil
	}}
}

func (s scope) strcat(e call) bound {
	var parts []bound
	for _, a := range e.args {
		parts = append(parts, s.bind(a))
	}
	return bound{kString, func(r row) any {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(text(p.eval(r)))
		}
		return b.String()
	}}
}

// bin rounds down to a multiple of a positive literal; datetimes count from 0001-01-01, as in Kusto.
func (s scope) bin(e call) bound {
	of, step := s.bind(e.args[0]), s.bind(e.args[1])
	lit, isLit := e.args[1].(literal)
	switch {
	case !isLit || lit.val == nil:
		semantic(e.args[1], "SEM0024", e.fn, "The step of 'bin' has to be a literal")
	case of.kind.numeric() && step.kind.numeric(),
		(of.kind == kDatetime || of.kind == kTimespan) && step.kind == kTimespan:
	default:
		semantic(e, "SEM0024", e.fn, "'bin' does not apply to types %s and %s", of.kind, step.kind)
	}
	k := of.kind
	if step.kind == kReal {
		k = kReal
	}
	if d, ok := lit.val.(time.Duration); ok && d <= 0 || !ok && asFloat(lit.val) <= 0 {
		semantic(e.args[1], "SEM0024", e.fn, "The step of 'bin' has to be positive")
	}
	return bound{k, func(r row) any {
		switch v := of.eval(r).(type) {
		case time.Time:
			return v.Truncate(lit.val.(time.Duration))
		case time.Duration:
			return time.Duration(floor(int64(v), int64(lit.val.(time.Duration))))
		case int64:
			if k != kReal {
				return floor(v, lit.val.(int64))
			}
			return math.Floor(float64(v)/asFloat(lit.val)) * asFloat(lit.val)
		case float64:
			return math.Floor(v/asFloat(lit.val)) * asFloat(lit.val)
		}
		return nil
	}}
}

func floor(v, step int64) int64 {
	rest := v % step
	if rest < 0 {
		rest += step
	}
	return v - rest
}
