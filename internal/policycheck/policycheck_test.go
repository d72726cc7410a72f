package policycheck_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/policycheck"
)

// TestFile asks about plans in all forms in which they come.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "main.rego")
	const rules = `package main
deny contains "no apps" if input.resource_changes[_].type == "app"
deny contains "no apps" if input.plan.resource_changes[_].type == "app"
`
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(t.Context(), gate.Config{Sets: []policy.Set{{Name: "house", Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	const plan, about = `"format_version": "1.2", "resource_changes": [{"type": "app"}]`,
		`"sockerless": {"action": "create", "stage": "plan"}`
	for name, row := range map[string]struct{ content, want, out string }{
		"a plan":                     {content: `{` + plan + `}`, want: "refuse it: policy house refuses the plan: no apps"},
		"an input":                   {content: `{` + plan + `, "plan": {` + plan + `}, ` + about + `}`, want: "no apps"},
		"an input without its alias": {content: `{` + plan + `, ` + about + `}`, want: "no apps"},
		"another plan":               {content: `{"format_version": "1.2"}`, out: "the policies allow it\n"},
		"another action": {
			content: `{` + plan + `, "sockerless": {"action": "gc", "stage": "plan"}}`, out: "no policy is asked about it\n",
		},
		"no plan": {content: `{"resource_changes": []}`, want: "lacks format_version"},
		"no JSON": {content: `plan`, want: "not a plan as JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := policycheck.Checker{Gate: g, Out: &out}.File(t.Context(), []byte(row.content))
			if row.want == "" {
				if err != nil || out.String() != row.out {
					t.Errorf("got %q, %v", out.String(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if strings.Contains(row.want, "no apps") != errors.Is(err, policycheck.ErrRefused) {
				t.Errorf("got %v", err)
			}
		})
	}
}
