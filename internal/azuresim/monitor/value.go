package monitor

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is a KQL scalar type. A value is nil (null) or of the Go type below; a dynamic one is any JSON value with int64
// or float64 for numbers.
type kind string

const (
	kString   kind = "string"   // string, never nil
	kInt      kind = "int"      // int64
	kLong     kind = "long"     // int64
	kReal     kind = "real"     // float64
	kBool     kind = "bool"     // bool
	kDatetime kind = "datetime" // time.Time, UTC
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

func (k kind) integer() bool { return k == kInt || k == kLong }

type column struct {
	name string
	kind kind
}

// row holds a value for each column.
type row []any

// toDynamic turns any Go value that JSON can hold into a dynamic one.
func toDynamic(v any) (any, bool) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	return parseJSON(string(b))
}

func parseJSON(s string) (any, bool) {
	dec := json.NewDecoder(strings.NewReader(s))
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

// compare orders two values that are not null and of one of the kinds that compare.
func compare(a, b any) int {
	switch a := a.(type) {
	case string:
		return cmp.Compare(a, b.(string))
	case time.Time:
		return a.Compare(b.(time.Time))
	case float64:
		return cmp.Compare(a, b.(float64))
	}
	return cmp.Compare(a.(int64), b.(int64))
}

// text is tostring() of a dynamic value.
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
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "" // an infinity inside, which JSON cannot express
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// asLong is tolong() of a dynamic value.
func asLong(v any) any {
	switch v := v.(type) {
	case int64:
		return v
	case float64:
		if math.IsNaN(v) || v < math.MinInt64 || v >= math.MaxInt64 {
			return nil
		}
		return int64(v)
	case bool:
		return int64(boolInt(v))
	case string:
		s := strings.TrimSpace(v)
		if n, err := strconv.ParseInt(s, 0, 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return asLong(f)
		}
	}
	return nil
}
