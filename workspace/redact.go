package workspace

import (
	"encoding/json"

	tfjson "github.com/hashicorp/terraform-json"
)

// redacted stands where a sensitive value was.
const redacted = "(sensitive value)"

// redact masks every sensitive value in a plan, in place, and returns it. Plan JSON holds sensitive values in clear, with masks
// beside them; variables are told sensitive by the configuration only.
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
	for _, list := range [][]*tfjson.ResourceChange{plan.ResourceChanges, plan.ResourceDrift} {
		for _, rc := range list {
			redactChange(rc.Change)
		}
	}
	for _, c := range plan.OutputChanges {
		redactChange(c)
	}
	redactValues(plan.PlannedValues)
	if plan.PriorState != nil {
		redactValues(plan.PriorState.Values)
	}
	return plan
}

func redactChange(c *tfjson.Change) {
	if c == nil {
		return
	}
	c.Before = mask(c.Before, c.BeforeSensitive)
	c.After = mask(c.After, c.AfterSensitive)
}

func redactValues(values *tfjson.StateValues) {
	if values == nil {
		return
	}
	for _, o := range values.Outputs {
		if o.Sensitive {
			o.Value = redacted
		}
	}
	redactModule(values.RootModule)
}

func redactModule(module *tfjson.StateModule) {
	if module == nil {
		return
	}
	for _, r := range module.Resources {
		var sensitive any = true // no readable mask: hide all
		if json.Unmarshal(r.SensitiveValues, &sensitive) != nil {
			sensitive = true
		}
		masked, ok := mask(r.AttributeValues, sensitive).(map[string]any)
		if !ok {
			masked = map[string]any{}
		}
		r.AttributeValues = masked
	}
	for _, child := range module.ChildModules {
		redactModule(child)
	}
}

// mask replaces each part of value whose counterpart in sensitive is true. The two have the same shape where sensitive goes
// deeper; missing counterparts mean not sensitive.
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
