package monitor

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is a KQL scalar type. A value is nil (null) or of the Go type below; a dynamic one is any JSON value with int64 or float64
// for numbers.
type kind string

const (
	kString   kind = "string"   // string, never nil
	kInt      kind = "int"      // int64
	kLong     kind = "long"     // int64
	kReal     kind = "real"     // float64
	kBool     kind = "bool"     // bool
	kDatetime kind = "datetime" // time.Time, UTC
	kTimespan kind = "timespan" // time.Duration
	kDynamic  kind = "dynamic"
)

// tick is Kusto's resolution of time.
const tick = 100 * time.Nanosecond

func (k kind) null() any {
	if k == kString {
		return ""
	}
	return nil
}

func (k kind) numeric() bool { return k == kInt || k == kLong || k == kReal }

// ordered tells whether <, between and arithmetic know the kind.
func (k kind) ordered() bool { return k.numeric() || k == kDatetime || k == kTimespan }

type column struct {
	name string
	kind kind
}

type row struct {
	vals []any
	// arrived is the ingestion time, zero for rows that an operator made.
	arrived time.Time
}

// toDynamic turns any Go value that JSON can hold into a dynamic one.
func toDynamic(v any) (any, bool) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	return parseJSON(string(b))
}

func parseJSON(s string) (any, bool) {
	dec := json.NewDecoder(bytes.NewReader([]byte(s)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return nil, false
	}
	return numbers(v), true
}

// numbers replaces each json.Number in v.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // out of range is an infinity, as Kusto has it
		return f
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	}
	return v
}

// compare orders two values that are not null and of kinds that compare: both numbers, or both of one kind.
func compare(a, b any) int {
	switch a := a.(type) {
	case string:
		return cmp.Compare(a, b.(string))
	case time.Time:
		return a.Compare(b.(time.Time))
	case time.Duration:
		return cmp.Compare(a, b.(time.Duration))
	case bool:
		switch {
		case a == b.(bool):
			return 0
		case a:
			return 1
		}
		return -1
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	}
	return cmp.Compare(asFloat(a), asFloat(b))
}

func asFloat(v any) float64 {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v.(float64)
}

// scalarEqual compares where one side is dynamic, so that the types may differ.
func scalarEqual(a, b any) bool {
	rank := func(v any) int {
		switch v.(type) {
		case string:
			return 1
		case bool:
			return 2
		case int64, float64:
			return 3
		}
		return 0
	}
	return rank(a) != 0 && rank(a) == rank(b) && compare(a, b) == 0
}

// text is tostring().
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.Format("2006-01-02T15:04:05.0000000Z")
	case time.Duration:
		return timespanText(v)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "" // an infinity inside, which JSON has no word for
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// timespanText writes [-][d.]hh:mm:ss[.fffffff].
func timespanText(d time.Duration) string {
	sign := ""
	n := uint64(d)
	if d < 0 {
		sign, n = "-", -n
	}
	ticks := n / uint64(tick)
	secs := ticks / 1e7
	s := fmt.Sprintf("%02d:%02d:%02d", secs/3600%24, secs/60%60, secs%60)
	if days := secs / 86400; days > 0 {
		s = fmt.Sprintf("%d.%s", days, s)
	}
	if frac := ticks % 1e7; frac > 0 {
		s += fmt.Sprintf(".%07d", frac)
	}
	return sign + s
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

// asLong is toint() and tolong() of any value; max is the largest result.
func asLong(v any, max int64) any {
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case float64:
		if math.IsNaN(v) || v < math.MinInt64 || v >= math.MaxInt64 {
			return nil
		}
		n = int64(v)
	case bool:
		if v {
			n = 1
		}
	case string:
		s := strings.TrimSpace(v)
		p, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return nil
			}
			return asLong(f, max)
		}
		n = p
	default:
		return nil
	}
	if n > max || n < -max-1 {
		return nil
	}
	return n
}
