package engine

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// finding is a difference between an answer and what moby documents or sends. path has [] for an element of a list and
// {} for a value of an object whose keys are not fields.
type finding struct{ route, path, what string }

// occurrences are the versions that have a finding, the oldest first, and the first request that showed it.
type occurrences struct {
	versions []string
	example  string
}

type findings map[finding]*occurrences

func (f findings) add(version, example string, key finding) {
	if f[key] == nil {
		f[key] = &occurrences{example: example}
	}
	if !slices.Contains(f[key].versions, version) {
		f[key].versions = append(f[key].versions, version)
	}
}

// lines returns the findings in order, one a line.
func (f findings) lines() (lines []string) {
	for _, key := range slices.SortedFunc(maps.Keys(f), func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.path, b.path), cmp.Compare(a.what, b.what))
	}) {
		line := fmt.Sprintf("%s | %s | %s | %s", key.route, key.path, key.what, ranges(f[key].versions))
		if f[key].example != "" {
			line += " | " + f[key].example
		}
		lines = append(lines, line)
	}
	return lines
}

// ranges returns versions in short: 1.25-1.43, 1.47.
func ranges(versions []string) string {
	var parts []string
	for i := 0; i < len(versions); {
		j := i
		for j+1 < len(versions) && minor(versions[j+1]) == minor(versions[j])+1 {
			j++
		}
		if i == j {
			parts = append(parts, versions[i])
		} else {
			parts = append(parts, versions[i]+"-"+versions[j])
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// missing is what a finding says of a field that the document requires.
const missing = "missing, the document requires it"

// comparison compares one answer with its schema and with the type that moby encodes for the newest version.
type comparison struct {
	found                   findings
	version, route, example string
}

func (c comparison) report(path, format string, args ...any) {
	c.found.add(c.version, c.example, finding{c.route, path, fmt.Sprintf(format, args...)})
}

// compare reports the differences of an answer.
func (c comparison) compare(schema *jsonschema.Schema, sent reflect.Type, answer any) {
	if err := schema.Validate(answer); err != nil {
		invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
		if !ok {
			c.report("", "%v", err)
			return
		}
		c.invalid(schema, invalid)
	}
	c.walk("", schema, sent, answer)
}

// english prints the errors of the validation.
var english = message.NewPrinter(language.English)

// invalid reports what the schema does not allow. Only the innermost errors name a place in the answer.
func (c comparison) invalid(schema *jsonschema.Schema, err *jsonschema.ValidationError) {
	for _, cause := range err.Causes {
		c.invalid(schema, cause)
	}
	if len(err.Causes) > 0 {
		return
	}
	path := ""
	for _, token := range err.InstanceLocation {
		shape := shapeOf(schema)
		switch field, known := shape.fields[token]; {
		case known:
			path, schema = path+"."+token, field
		case shape.items != nil:
			path, schema = path+"[]", shape.items
		default:
			path, schema = path+"{}", shape.values
		}
	}
	what := err.ErrorKind.LocalizedString(english)
	switch k := err.ErrorKind.(type) {
	case *kind.Not:
		what = "null"
	case *kind.Type:
		if k.Got == "null" {
			what = "null"
		}
	case *kind.Required:
		for _, name := range k.Missing {
			c.report(path+"."+name, missing)
		}
		return
	}
	c.report(path, "%s", what)
}

// shape is what a schema says of the parts of a value.
type shape struct {
	fields map[string]*jsonschema.Schema
	values *jsonschema.Schema // of an object whose keys are not fields
	items  *jsonschema.Schema // of a list
}

func shapeOf(schema *jsonschema.Schema) shape {
	s := shape{fields: map[string]*jsonschema.Schema{}}
	var add func(*jsonschema.Schema)
	add = func(schema *jsonschema.Schema) {
		if schema == nil {
			return
		}
		maps.Copy(s.fields, schema.Properties)
		if values, ok := schema.AdditionalProperties.(*jsonschema.Schema); ok {
			s.values = values
		}
		if items, ok := schema.Items.(*jsonschema.Schema); ok {
			s.items = items
		}
		add(schema.Ref)
		add(schema.Then)
		for _, part := range schema.AllOf {
			add(part)
		}
	}
	add(schema)
	return s
}

// walk reports fields that neither the document nor moby has in this version, fields that moby sends and the answer
// lacks, and every null in a part of the answer that the document does not describe.
func (c comparison) walk(path string, schema *jsonschema.Schema, sent reflect.Type, answer any) {
	if answer == nil && (schema == nil || filled[finding{route: c.route, path: path}]) {
		c.report(path, "null")
	}
	shape, encoded := shapeOf(schema), fieldsOf(sent)
	switch answer := answer.(type) {
	case []any:
		for _, element := range answer {
			c.walk(path+"[]", shape.items, elem(sent), element)
		}
	case map[string]any:
		if shape.values != nil || elem(sent) != nil {
			for _, value := range answer {
				c.walk(path+"{}", shape.values, elem(sent), value)
			}
			return
		}
		for name, value := range answer {
			c.field(path+"."+name, shape, encoded, name, value)
		}
		for _, name := range slices.Concat(slices.Collect(maps.Keys(shape.fields)), c.versionedBelow(path)) {
			required := c.found[finding{c.route, path + "." + name, missing}]
			if required != nil && slices.Contains(required.versions, c.version) {
				continue // reported already
			}
			if _, has := answer[name]; !has && c.sends(path+"."+name, encoded[name]) == always {
				c.report(path+"."+name, "missing, moby always sends it")
			}
		}
	}
}

// field reports on one field of an object.
func (c comparison) field(path string, of shape, encoded map[string]encodedField, name string, value any) {
	schema, known := of.fields[name]
	known = known || len(of.fields) == 0 || strings.HasSuffix(path, ".AZF") // our own
	switch _, here := encoded[name]; {
	case c.sends(path, encoded[name]) == never:
		c.report(path, "moby does not send it in this version")
		return
	case !known && !here && !slices.Contains(c.versionedBelow(strings.TrimSuffix(path, "."+name)), name):
		c.report(path, "neither in the document nor in moby's type")
		return
	}
	c.walk(path, schema, encoded[name].typ, value)
}

// encodedField is a field as encoding/json sends it.
type encodedField struct {
	typ    reflect.Type
	occurs occurrence
}

func fieldsOf(t reflect.Type) map[string]encodedField {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	fields := map[string]encodedField{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for name, field := range fieldsOf(f.Type) {
				if _, shadowed := fields[name]; !shadowed {
					fields[name] = field
				}
			}
			continue
		case name == "-" || !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		field := encodedField{f.Type, always}
		if strings.Contains(options, "omit") {
			field.occurs = sometimes
		}
		fields[name] = field
	}
	return fields
}

// elem returns the type of the values in a list or map.
func elem(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Array) {
		return t.Elem()
	}
	return nil
}
