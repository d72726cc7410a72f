package workspace

import (
	"errors"
	"strings"
	"testing"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/rs/zerolog"
)

func TestHold(t *testing.T) {
	changing := &tfjson.Plan{ResourceChanges: []*tfjson.ResourceChange{{
		Change: &tfjson.Change{Actions: tfjson.Actions{tfjson.ActionUpdate}},
	}}}
	none := &tfjson.Plan{}
	const change = "c0ffee"
	for name, row := range map[string]struct {
		plan            *tfjson.Plan
		hold            bool
		approved        string
		whole, accepted bool
		want            string // "" applies the plan
	}{
		"nothing to change":                 {plan: none, hold: true, whole: true},
		"a change":                          {plan: changing, whole: true},
		"a held change":                     {plan: changing, hold: true, whole: true, want: "is held"},
		"without what containers need":      {plan: changing, hold: true},
		"the approved change":               {plan: changing, hold: true, whole: true, approved: change},
		"the approved change, not held":     {plan: changing, whole: true, approved: change},
		"another change":                    {plan: changing, hold: true, whole: true, approved: "0", want: change},
		"another change, not held":          {plan: changing, whole: true, approved: "0", want: change},
		"another change, and nothing there": {plan: changing, hold: true, approved: "0", want: change},
		"approved, and nothing to change":   {plan: none, hold: true, whole: true, approved: change, want: "changes nothing"},
		"approved, and applied by a retry":  {plan: none, hold: true, whole: true, approved: change, accepted: true},
		"approved, and partly applied so far": {
			plan: changing, hold: true, whole: true, approved: "0", accepted: true, want: change,
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := Foundation{Hold: row.hold, Approved: row.approved}.hold(row.plan, change, row.whole, row.accepted)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// TestApprovedTwice applies a held change, and wants to do so again.
func TestApprovedTwice(t *testing.T) {
	first, _ := cloud(t)
	first.cfg.Log = zerolog.Nop()
	_, f := foundation(t, first)
	m := peer(t, first, func(*Config) {})
	f = named(f)
	f.Name, f.Hold = "skls-second", true
	before, err := m.Foundation(t.Context(), f, nil)
	if err != nil || before.Held != nil {
		t.Fatalf("got %+v, %v", before, err)
	}
	f.ApplicationInsights = nil // one is to be created
	held, err := m.Foundation(t.Context(), f, nil)
	if err != nil || held.Held == nil || held.InsightsConnection != before.InsightsConnection {
		t.Fatalf("got %+v, %v", held, err)
	}
	f.Approved = held.Held.Change
	if applied, err := m.Foundation(t.Context(), f, nil); err != nil || applied.Held != nil ||
		applied.InsightsConnection == before.InsightsConnection {
		t.Errorf("got %+v, %v", applied, err)
	}
	_, err = m.Foundation(t.Context(), f, nil)
	if other, ok := errors.AsType[*OtherChangeError](err); !ok || other.Now != nil {
		t.Errorf("got %v, want that there is nothing to change", err)
	}
}
