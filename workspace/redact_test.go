package workspace

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	tfjson "github.com/hashicorp/terraform-json"
)

func TestMask(t *testing.T) {
	value := map[string]any{
		"plain": "a", "secret": "b", "list": []any{"c", "d"}, "deep": map[string]any{"x": "e", "y": "f"}, "none": nil,
	}
	sensitive := map[string]any{
		"secret": true, "list": []any{false, true}, "deep": map[string]any{"y": true}, "none": true, "missing": true,
	}
	want := map[string]any{
		"plain": "a", "secret": redacted, "list": []any{"c", redacted},
		"deep": map[string]any{"x": "e", "y": redacted}, "none": nil,
	}
	if diff := cmp.Diff(any(want), mask(value, sensitive)); diff != "" {
		t.Error(diff)
	}
	all := map[string]any{
		"plain": redacted, "secret": redacted, "list": []any{redacted, redacted},
		"deep": map[string]any{"x": redacted, "y": redacted}, "none": nil,
	}
	if diff := cmp.Diff(any(all), mask(value, true)); diff != "" {
		t.Errorf("all of it: %s", diff)
	}
	others := any([]any{redacted, redacted, map[string]any{}, []any{}})
	if diff := cmp.Diff(others, mask([]any{1.5, true, map[string]any{}, []any{}}, true)); diff != "" {
		t.Errorf("other values: %s", diff)
	}
}

func TestRedactHidesWhatItCannotJudge(t *testing.T) {
	resource := &tfjson.StateResource{AttributeValues: map[string]any{"a": "s"}}
	plan := redact(&tfjson.Plan{
		Variables: map[string]*tfjson.PlanVariable{"v": {Value: "s"}},
		PlannedValues: &tfjson.StateValues{
			RootModule: &tfjson.StateModule{Resources: []*tfjson.StateResource{resource}},
		},
	})
	if plan.Variables["v"].Value != redacted || resource.AttributeValues["a"] != redacted {
		t.Errorf("got %v and %v", plan.Variables["v"].Value, resource.AttributeValues)
	}
}

// TestRedactHidesImportedValues masks a value of a resource whose state has no mask, because it was imported.
func TestRedactHidesImportedValues(t *testing.T) {
	values := func() map[string]any { return map[string]any{"env": map[string]any{"TOKEN": "hunter2"}, "name": "app"} }
	after := map[string]any{"env": true}
	change := func() *tfjson.ResourceChange {
		return &tfjson.ResourceChange{
			Address: "a.b", Change: &tfjson.Change{Before: values(), After: values(), AfterSensitive: after},
		}
	}
	drift := change()
	drift.Change.AfterSensitive = nil
	prior := &tfjson.StateResource{Address: "a.b", AttributeValues: values(), SensitiveValues: json.RawMessage("{}")}
	state := &tfjson.StateValues{RootModule: &tfjson.StateModule{Resources: []*tfjson.StateResource{prior}}}
	plan := redact(&tfjson.Plan{
		ResourceChanges: []*tfjson.ResourceChange{change()}, ResourceDrift: []*tfjson.ResourceChange{drift},
		PriorState: &tfjson.State{Values: state},
	})
	content, err := json.Marshal(struct{ Changes, Drift, Prior any }{
		plan.ResourceChanges, plan.ResourceDrift, plan.PriorState.Values,
	})
	if err != nil || strings.Contains(string(content), "hunter2") || strings.Count(string(content), redacted) != 5 {
		t.Errorf("got %s, %v", content, err)
	}
}

// TestRedactShowsOnlyTheNameOfAnImport masks a resource that is imported and not changed: Terraform has no mask for it.
func TestRedactShowsOnlyTheNameOfAnImport(t *testing.T) {
	values := func() map[string]any { return map[string]any{"env": map[string]any{"TOKEN": "hunter2"}, "name": "app"} }
	change := tfjson.Change{
		Actions: tfjson.Actions{tfjson.ActionNoop}, Before: values(), After: values(), AfterSensitive: map[string]any{},
		Importing: &tfjson.Importing{ID: "/app"},
	}
	redact(&tfjson.Plan{ResourceChanges: []*tfjson.ResourceChange{{Address: "a.b", Change: &change}}})
	want := any(map[string]any{"env": map[string]any{"TOKEN": redacted}, "name": "app"})
	if diff := cmp.Diff([]any{want, want}, []any{change.Before, change.After}); diff != "" {
		t.Error(diff)
	}
}
