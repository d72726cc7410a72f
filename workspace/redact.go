package workspace

import (
	"bytes"
	"encoding/json"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/internal/secret"
)

// redacted stands where a sensitive value was.
const redacted = secret.Hidden

// masked returns a plan as JSON without secrets: what Terraform marks as sensitive, what its name says is a secret, and
// wherever they stand the values of both and the given secrets, to which it adds those of the plan. It changes plan.
func masked(plan *tfjson.Plan, hidden *secrets) ([]byte, error) {
	// Terraform's marks are lost of a resource that was imported, so names count first.
	before, err := document(plan)
	if err != nil {
		return nil, err
	}
	hidden.addNamed(before)
	after, err := document(redact(plan))
	if err != nil {
		return nil, err
	}
	addMarked(before, after, hidden)
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err = enc.Encode(hidden.document(maskNamed(after)))
	return buf.Bytes(), err
}

// document returns a value as decoded JSON.
func document(value any) (decoded any, err error) {
	content, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.UseNumber()
	return decoded, dec.Decode(&decoded)
}

// addMarked adds to hidden what redact has masked in a plan because Terraform marks it. Of a resource that is only
// imported, redact masks nearly everything, so that nothing of it is added.
func addMarked(before, after any, hidden *secrets) {
	b, _ := before.(map[string]any)
	a, _ := after.(map[string]any)
	for _, part := range []string{"variables", "output_changes", "resource_drift"} {
		addMasked(b[part], a[part], hidden)
	}
	was, _ := b["resource_changes"].([]any)
	is, _ := a["resource_changes"].([]any)
	for i := range min(len(was), len(is)) {
		resource, _ := is[i].(map[string]any)
		change, _ := resource["change"].(map[string]any)
		if change["importing"] == nil {
			addMasked(was[i], is[i], hidden)
		}
	}
}

// addMasked adds to hidden what is masked in after and not in before.
func addMasked(before, after any, hidden *secrets) {
	if after == redacted {
		hidden.add(before)
		return
	}
	switch a := after.(type) {
	case map[string]any:
		b, _ := before.(map[string]any)
		for name := range a {
			if !ownSetting.MatchString(name) {
				addMasked(b[name], a[name], hidden)
			}
		}
	case []any:
		b, _ := before.([]any)
		for i := range min(len(a), len(b)) {
			addMasked(b[i], a[i], hidden)
		}
	}
}

// structural are the parts of a plan that hold no values of resources.
var structural = []string{
	"configuration", "relevant_attributes", "after_unknown", "before_sensitive", "after_sensitive", "sensitive_values",
}

// wrapping are the parts of a plan or state that map names to values in wrappers, and wrappedFields the fields of
// these.
var (
	wrapping      = []string{"variables", "outputs", "output_changes"}
	wrappedFields = []string{"value", "before", "after"}
)

// maskNamed masks the texts in a plan whose names say that they are secrets. Of app settings it shows the module's own.
func maskNamed(value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = maskNamed(v[i])
		}
	case map[string]any:
		for name, part := range v {
			switch {
			case slices.Contains(structural, name):
			case slices.Contains(wrapping, name):
				v[name] = maskWrapped(part)
			case secretName.MatchString(name):
				v[name] = maskTexts(part)
			default:
				v[name] = maskNamed(part)
			}
		}
	}
	return value
}

// maskWrapped is maskNamed for a part that wraps its values.
func maskWrapped(wrapped any) any {
	all, _ := wrapped.(map[string]any)
	for name, of := range all {
		wrapper, _ := of.(map[string]any)
		for _, field := range wrappedFields {
			if wrapper[field] != nil {
				wrapper[field] = maskNamed(map[string]any{name: wrapper[field]}).(map[string]any)[name]
			}
		}
	}
	return wrapped
}

// maskTexts masks every text in a value.
func maskTexts(value any) any {
	switch v := value.(type) {
	case string:
		if v != "" {
			return redacted
		}
	case []any:
		for i := range v {
			v[i] = maskTexts(v[i])
		}
	case map[string]any:
		for name := range v {
			if !ownSetting.MatchString(name) {
				v[name] = maskTexts(v[name])
			}
		}
	}
	return value
}

// redact masks every sensitive value in a plan, in place, and returns it. Plan JSON holds sensitive values in plain
// text, with masks beside them. Only the configuration marks variables as sensitive. A resource that was imported
// has no mask of its own: a value that is sensitive after the change is therefore masked before it, too.
func redact(plan *tfjson.Plan) *tfjson.Plan {
	for name, v := range plan.Variables {
		// An unknown declaration counts as sensitive.
		var c *tfjson.ConfigVariable
		if plan.Config != nil && plan.Config.RootModule != nil {
			c = plan.Config.RootModule.Variables[name]
		}
		v.Value = mask(v.Value, c == nil || c.Sensitive)
	}
	after := map[string]any{} // masks by address
	for _, rc := range plan.ResourceChanges {
		if rc.Change != nil {
			after[rc.Address] = maskAfter(rc.Change)
		}
	}
	for _, list := range [][]*tfjson.ResourceChange{plan.ResourceChanges, plan.ResourceDrift} {
		for _, rc := range list {
			redactChange(rc.Change, after[rc.Address])
		}
	}
	for _, c := range plan.OutputChanges {
		redactChange(c, nil)
	}
	redactValues(plan.PlannedValues, after)
	if plan.PriorState != nil {
		redactValues(plan.PriorState.Values, after)
	}
	return plan
}

// visible are the attributes of an imported resource that are never masked.
var visible = []string{"id", "name", "resource_group_name", "location", "tags"}

// maskAfter returns the mask of a resource after a change. Terraform has none for a resource that it only imports, so
// all but the visible attributes are masked.
func maskAfter(c *tfjson.Change) any {
	if c.Importing == nil || !c.Actions.NoOp() {
		return c.AfterSensitive
	}
	attributes, ok := c.After.(map[string]any)
	if !ok {
		return true
	}
	hidden := map[string]any{}
	for name := range attributes {
		if !slices.Contains(visible, name) {
			hidden[name] = true
		}
	}
	return hidden
}

func redactChange(c *tfjson.Change, after any) {
	if c == nil {
		return
	}
	c.Before = mask(mask(c.Before, c.BeforeSensitive), after)
	c.After = mask(mask(c.After, c.AfterSensitive), after)
}

func redactValues(values *tfjson.StateValues, after map[string]any) {
	if values == nil {
		return
	}
	for _, o := range values.Outputs {
		if o.Sensitive {
			o.Value = mask(o.Value, true)
		}
	}
	redactModule(values.RootModule, after)
}

func redactModule(module *tfjson.StateModule, after map[string]any) {
	if module == nil {
		return
	}
	for _, r := range module.Resources {
		var sensitive any = true // no readable mask: hide all
		if json.Unmarshal(r.SensitiveValues, &sensitive) != nil {
			sensitive = true
		}
		masked, ok := mask(mask(r.AttributeValues, sensitive), after[r.Address]).(map[string]any)
		if !ok {
			masked = map[string]any{}
		}
		r.AttributeValues = masked
	}
	for _, child := range module.ChildModules {
		redactModule(child, after)
	}
}

// mask replaces each part of value whose counterpart in sensitive is true. The two have the same shape where sensitive
// goes deeper; missing counterparts mean not sensitive. The shape of what is replaced stays, with the names in maps, so
// that people and policies see which settings there are.
func mask(value, sensitive any) any {
	switch s := sensitive.(type) {
	case bool:
		if s {
			return maskAll(value)
		}
	case map[string]any:
		if v, ok := value.(map[string]any); ok {
			for key, inner := range s {
				if part, ok := v[key]; ok {
					v[key] = mask(part, inner)
				}
			}
		}
	case []any:
		if v, ok := value.([]any); ok {
			for i := range min(len(v), len(s)) {
				v[i] = mask(v[i], s[i])
			}
		}
	}
	return value
}

// maskAll replaces every text, number and boolean in a value.
func maskAll(value any) any {
	switch v := value.(type) {
	case nil:
		return nil
	case map[string]any:
		for name := range v {
			v[name] = maskAll(v[name])
		}
		return v
	case []any:
		for i := range v {
			v[i] = maskAll(v[i])
		}
		return v
	default:
		return redacted
	}
}
