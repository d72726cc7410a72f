package workspace

import (
	"encoding/json"
	"slices"

	tfjson "github.com/hashicorp/terraform-json"
)

// redacted stands where a sensitive value was.
const redacted = "(sensitive value)"

// redact masks every sensitive value in a plan, in place, and returns it. Plan JSON holds sensitive values in plain
// text, with masks beside them. Only the configuration marks variables as sensitive. A resource that was imported
// has no mask of its own: a value that is sensitive after the change is therefore masked before it, too.
func redact(plan *tfjson.Plan) *tfjson.Plan {
	for name, v := range plan.Variables {
		// An unknown declaration counts as sensitive.
		if plan.Config == nil || plan.Config.RootModule == nil {
			v.Value = redacted
			continue
		}
		if c := plan.Config.RootModule.Variables[name]; c == nil || c.Sensitive {
			v.Value = redacted
		}
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
			o.Value = redacted
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
// goes deeper; missing counterparts mean not sensitive.
func mask(value, sensitive any) any {
	switch s := sensitive.(type) {
	case bool:
		if s && value != nil {
			return redacted
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
