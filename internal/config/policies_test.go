package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/policy"
)

// policyFile writes a configuration file and returns its path.
func policyFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPolicySets(t *testing.T) {
	const content = `
policy: /short
policies:
  house: {path: /etc/house, verify_key: /etc/key.pem, package: team.rules, rego: v0, on: [create, remove]}
  cost:
    path: /etc/cost
    enforcement: soft
    override: ["group:platform", "uid:0"]
  scan: {command: [/usr/bin/scan, --fast], timeout: 20s, enforcement: advisory}
  hcp: {path: /etc/hcp, query: data.p.deny}
`
	c, err := Policies(policyFile(t, content), "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Set{
		{Name: "cost", Path: "/etc/cost", Enforcement: policy.Soft, Override: []string{"group:platform", "uid:0"}},
		{Name: "hcp", Path: "/etc/hcp", Query: "data.p.deny"},
		{Name: "house", Path: "/etc/house", VerifyKey: "/etc/key.pem", Package: "team.rules", Rego: "v0",
			On: []string{"create", "remove"}},
		{Name: "scan", Command: []string{"/usr/bin/scan", "--fast"}, Timeout: 20 * time.Second,
			Enforcement: policy.Advisory},
		{Name: "default", Path: "/short"},
	}
	if diff := cmp.Diff(want, c.Policy.Sets); diff != "" {
		t.Error(diff)
	}
	// What config print shows can be read again.
	var out strings.Builder
	if err := loadOther(policyFile(t, content), "", "", nil).Print(&out); err != nil {
		t.Fatal(err)
	}
	again, err := Policies(policyFile(t, out.String()), "", "", nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, &out)
	}
	if diff := cmp.Diff(want, again.Policy.Sets); diff != "" {
		t.Errorf("printed and read again: %s", diff)
	}
	given, err := Policies(policyFile(t, "policies: 7"), "/state", "rules", nil)
	if err != nil || len(given.Policy.Sets) != 1 || !filepath.IsAbs(given.Policy.Sets[0].Path) ||
		given.StateDir != "/state" {
		t.Errorf("got %+v, %v", given.Policy, err)
	}
}

func TestPolicySetMistakes(t *testing.T) {
	for content, want := range map[string]string{
		"policies: 7":                                                    "1: policies holds sets of rules",
		"policies: {House: {path: /a}}":                                  "use a name of 1 to 64",
		"policies: {a: /a}":                                              "policies.a: indent its settings",
		"policies: {a: {}}":                                              "policies.a: give it a path or a command",
		"policies: {a: {path: /a, command: [/b]}}":                       "policies.a: give it a path or a command",
		"policies: {a: {path: rel}}":                                     "policies.a.path: \"rel\": use an absolute path",
		"policies: {a: {path: 7}}":                                       "policies.a.path: it must be a string",
		"policies: {a: {path: /a, pth: /b}}":                             "no setting \"pth\": did you mean path?",
		"policies: {a: {path: /a, path: /b}}":                            "policies.a.path is given twice",
		"policies: {a: {path: /a}, a: {path: /b}}":                       "policies.a is given twice",
		"policies: {a: {path: /a, rego: v2}}":                            "policies.a.rego: \"v2\" is none of v0, v1",
		"policies: {a: {path: /a, enforcement: harsh}}":                  "\"harsh\" is none of advisory, soft, hard",
		"policies: {a: {path: /a, \"on\": [stop]}}":                      "\"stop\" is none of create, foundation",
		"policies: {a: {path: /a, \"on\": create}}":                      "policies.a.on: it must be a list",
		"policies: {a: {path: /a, timeout: 5}}":                          "policies.a.timeout: it must be a duration",
		"policies: {a: {path: /a, timeout: 0s}}":                         "policies.a.timeout: it must be a duration",
		"policies: {a: {path: /a, override: [\"uid:0\"]}}":               "only a set with enforcement soft",
		"policies: {a: {path: /a, enforcement: soft, override: [root]}}": "policies.a.override: \"root\": use uid:0",
		"policies: {a: {path: /a, package: 1a}}":                         "policies.a.package: \"1a\": use the name",
		"policies: {a: {path: /a, package: a b}}":                        "policies.a.package: \"a b\": use the name",
		"policy: /a\npolicies: {default: {path: /b}}":                    "policies.default has this name, too",
		"policy: rel":        "policy: \"rel\": use an absolute path",
		"policy_digest: abc": "policy_digest: \"abc\": use the digest",
	} {
		if _, err := Policies(policyFile(t, content), "", "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", content, err, want)
		}
	}
	if _, err := Policies("", "", "", []string{"SOCKERLESS_AZF_POLICY=rel"}); err == nil {
		t.Error("the variable's problem is not reported")
	}
	// Problems of other settings are none here.
	if _, err := Policies(policyFile(t, "gc: maybe"), "", "", nil); err != nil {
		t.Error(err)
	}
}
