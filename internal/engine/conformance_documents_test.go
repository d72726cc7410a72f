package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sockerless/backend-azf/internal/api"
)

// document is moby's description of one version of its API. moby publishes it as Swagger 2.0, whose schemas are JSON
// Schema of draft 4 with additions.
type document struct {
	version string
	paths   map[string]any
	schemas *jsonschema.Compiler
}

// documentsOf returns the folder of moby's documents, which the module of its Go types holds.
var documentsOf = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	return strings.TrimSpace(string(out)), err
})

// readDocument reads the document of a version. Version 1.24 has prose only, so it takes the document of 1.25.
func readDocument(t *testing.T, version string) document {
	t.Helper()
	dir, err := documentsOf()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "docs", "v"+version+".yaml")
	switch version {
	case "1.24":
		file = filepath.Join(dir, "docs", "v1.25.yaml")
	case api.APIVersion:
		file = filepath.Join(dir, "swagger.yaml")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(content, &doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	adapt(doc)
	// The compiler takes the values that encoding/json produces.
	if content, err = json.Marshal(doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	d := document{version: version, schemas: jsonschema.NewCompiler()}
	d.schemas.DefaultDraft(jsonschema.Draft7)
	d.schemas.AssertFormat()
	for _, format := range swaggerFormats() {
		d.schemas.RegisterFormat(format)
	}
	if err := d.schemas.AddResource("doc:"+version, resource); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	d.paths = child(doc, "paths")
	return d
}

// schema returns the schema of an answer, and nil if the document has none.
func (d document) schema(t *testing.T, method, path string, status int) *jsonschema.Schema {
	t.Helper()
	code := fmt.Sprint(status)
	if d.response(method, path, code)["schema"] == nil {
		return nil
	}
	location := []string{"paths", path, strings.ToLower(method), "responses", code, "schema"}
	for i, part := range location {
		location[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(part)
	}
	s, err := d.schemas.Compile("doc:" + d.version + "#/" + strings.Join(location, "/"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// headers returns the headers that the document has for an answer.
func (d document) headers(method, path string, status int) map[string]any {
	return child(d.response(method, path, fmt.Sprint(status)), "headers")
}

func (d document) response(method, path, code string) map[string]any {
	return child(child(child(child(d.paths, path), strings.ToLower(method)), "responses"), code)
}

// produces returns the content types that the document has for a route, and nil if it has none.
func (d document) produces(method, path string) (list []string) {
	types, _ := child(child(d.paths, path), strings.ToLower(method))["produces"].([]any)
	for _, t := range types {
		list = append(list, fmt.Sprint(t))
	}
	return list
}

func child(m map[string]any, key string) map[string]any {
	c, _ := m[key].(map[string]any)
	return c
}

// adapt turns the schemas below v into JSON Schema of draft 7 in place.
func adapt(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, schema := range child(v, "definitions") {
			v["definitions"].(map[string]any)[key] = jsonSchema(schema)
		}
		if schema, ok := v["schema"]; ok {
			v["schema"] = jsonSchema(schema)
		}
		for key, other := range v {
			if key != "definitions" && key != "schema" {
				adapt(other)
			}
		}
	case []any:
		for _, other := range v {
			adapt(other)
		}
	}
}

// jsonSchema returns a schema of Swagger 2.0 as one of draft 7, which allows null only where the document does: by
// x-nullable or by an example.
func jsonSchema(v any) any {
	old, ok := v.(map[string]any)
	if !ok {
		return v
	}
	s := map[string]any{}
	for key, value := range old {
		switch key {
		case "properties":
			properties := map[string]any{}
			for name, schema := range child(old, key) {
				properties[name] = jsonSchema(schema)
			}
			s[key] = properties
		case "items", "additionalProperties":
			s[key] = jsonSchema(value)
		case "allOf":
			var list []any
			for _, schema := range value.([]any) {
				list = append(list, jsonSchema(schema))
			}
			s[key] = list
		case "$ref", "type", "format", "enum", "required", "minimum", "maximum", "pattern", "minItems", "maxItems":
			s[key] = value
		}
	}
	example, hasExample := old["example"]
	if old["x-nullable"] == true || hasExample && example == nil {
		return map[string]any{"if": map[string]any{"not": map[string]any{"type": "null"}}, "then": s}
	}
	if s["type"] == nil && s["$ref"] == nil && s["allOf"] == nil && s["enum"] == nil {
		s["not"] = map[string]any{"type": "null"}
	}
	return s
}

// swaggerFormats returns the formats of moby's documents that JSON Schema does not define.
func swaggerFormats() (list []*jsonschema.Format) {
	integer := func(name string, least, most *big.Int) {
		list = append(list, &jsonschema.Format{Name: name, Validate: func(v any) error {
			n, ok := v.(json.Number)
			if !ok {
				return nil
			}
			i, ok := new(big.Int).SetString(n.String(), 10)
			if !ok || i.Cmp(least) < 0 || i.Cmp(most) > 0 {
				return errors.New("out of range")
			}
			return nil
		}})
	}
	power := func(bits uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), bits) }
	for _, bits := range []uint{8, 16, 32, 64} {
		integer(fmt.Sprintf("uint%d", bits), new(big.Int), new(big.Int).Sub(power(bits), big.NewInt(1)))
		integer(fmt.Sprintf("int%d", bits), new(big.Int).Neg(power(bits-1)), new(big.Int).Sub(power(bits-1), big.NewInt(1)))
	}
	text := func(name string, check func(string) error) {
		list = append(list, &jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok {
				return check(s)
			}
			return nil
		}})
	}
	text("dateTime", func(s string) error {
		_, err := time.Parse(time.RFC3339Nano, s)
		return err
	})
	text("ip-address", func(s string) error {
		if _, err := netip.ParseAddr(s); err != nil {
			return errors.New("not an address")
		}
		return nil
	})
	return list
}

func minor(version string) (n int) {
	if _, err := fmt.Sscanf(version, "1.%d", &n); err != nil {
		return 0
	}
	return n
}
