package api

import "reflect"

// NoNulls gives each nil slice and nil map in the struct to which v points, and in the structs within it, an empty
// value: clients read lengths and keys without asking first, and JSON has null for nil. It leaves pointers alone.
func NoNulls(v any) { noNulls(reflect.ValueOf(v).Elem()) }

func noNulls(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				noNulls(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}
