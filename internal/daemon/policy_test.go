package daemon_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/client"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/policy"
)

// rules writes the files of a set of rules into a folder, each name before its content.
func rules(t *testing.T, dir string, files ...string) policy.Set {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(path, []byte(files[i+1]), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	return policy.Set{Name: "house", Path: dir}
}

// houseRules want a label, and are read by tests that change them.
const houseRules = `package main

apps contains change.after if {
	some resource in input.resource_changes
	resource.type == "azurerm_linux_function_app"
	change := resource.change
	change.actions != ["delete"]
}

deny contains msg if {
	some app in apps
	not app.tags.team
	msg := "tag \"team\" is missing: run with --label team=..."
}

warn contains "no owner" if {
	some app in apps
	not app.tags.owner
}
`

// writes returns the changes of function apps and of the foundation that Azure has seen.
func (p *playground) writes() int { return p.writesTo("") }

// writesTo is writes to resources with this part in their ids.
func (p *playground) writesTo(part string) (n int) {
	for _, c := range p.sim.Calls() {
		if c.Service == "arm" && (c.Method == http.MethodPut || c.Method == http.MethodDelete) &&
			strings.Contains(c.Path, part) {
			n++
		}
	}
	return n
}

// schemaRules compare each input with its schema in docs.
const schemaRules = `package main

deny contains text if {
	[matches, errors] := json.match_schema(input, data.schema)
	not matches
	text := sprintf("%v", [errors])
}
`

// schema writes the rules that compare inputs with their schema, at both stages.
func schema(t *testing.T) policy.Set {
	t.Helper()
	content, err := os.ReadFile("../../docs/policy-input.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	set := rules(t, t.TempDir(), "data.json", `{"schema": `+string(content)+`}`, "main.rego", schemaRules,
		"request.rego", strings.Replace(schemaRules, "package main", "package sockerless.request", 1))
	set.Name = "schema"
	return set
}

// TestPolicy refuses a plan, and applies another one.
func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	form := schema(t)
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", houseRules), form}
		cfg.Policy.Contact = "ask #platform"
	})
	p.must(t, http.MethodPost, "/foundation", nil, nil)
	since := p.now()
	req := api.CreateRequest{Config: &api.Config{Image: p.image, Env: []string{"SECRET=swordfish1"}}}
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
	failed, ok := errors.AsType[*client.StatusError](err)
	if !ok || failed.Status != http.StatusForbidden {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"cannot create container web: policy house refuses the plan: tag \"team\" is missing: run with --label team=... " +
			"(main.rego:10)", "Record ", "ask #platform", "Nothing was created",
	} {
		if !strings.Contains(failed.Message, want) {
			t.Errorf("%q lacks %q", failed.Message, want)
		}
	}
	if n := p.writesTo("/sites/"); n != 0 {
		t.Errorf("%d writes reached Azure", n)
	}
	p.wantNothing(t)
	var denied *audit.Record
	for _, r := range p.records(t) {
		if len(r.Policy) > 0 && r.Container != nil {
			denied = &r
		}
	}
	if denied == nil || len(denied.Policy) != 2 || denied.Policy[0].Result != api.PolicyDeny ||
		denied.Container.Name != "web" || !strings.HasPrefix(denied.Daemon.Policies, "sha256:") {
		t.Errorf("got the record %+v", denied)
	}
	if events := p.policyEvents(t, since); !cmp.Equal(events, []string{"policy-deny house"}) {
		t.Errorf("got the events %q", events)
	}
	// The input that the policy has seen is kept, without values of the environment.
	input, err := os.ReadFile(filepath.Join(p.stateDir(), "workspaces", "archive", denied.Container.ID,
		"operations", "0001-apply", "context.json"))
	if err != nil || strings.Contains(string(input), "swordfish1") || !strings.Contains(string(input), `"SECRET"`) {
		t.Errorf("got %s, %v", input, err)
	}

	since = p.now()
	var created api.CreateResponse
	req.Labels = map[string]string{"team": "x"}
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if !cmp.Equal(created.Warnings, []string{"policy house warns: no owner (main.rego:16)"}) {
		t.Errorf("got the warnings %q", created.Warnings)
	}
	if events := p.policyEvents(t, since); !cmp.Equal(events, []string{"policy-warn house"}) {
		t.Errorf("got the events %q", events)
	}
	var info api.InspectResponse
	p.must(t, http.MethodGet, "/containers/web", nil, &info)
	said := info.AZF.Policy
	if len(said) != 2 || said[1].Result != api.PolicyAllow || said[0].Result != api.PolicyWarn ||
		!strings.HasPrefix(said[0].Digest, "sha256:") {
		t.Errorf("inspect shows %+v", info.AZF.Policy)
	}
	var system api.Info
	p.must(t, http.MethodGet, "/info", nil, &system)
	last := system.DriverStatus[len(system.DriverStatus)-1]
	if last != [2]string{"Policy Digest", denied.Daemon.Policies} {
		t.Errorf("info shows %q", last)
	}

	// Rules that refuse it now do not keep it from being removed.
	rules(t, dir, "main.rego", strings.Replace(houseRules, "not app.tags.team", "true", 1))
	p.stop()
	p.start()
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.wantNothing(t)
	if v, err := p.verify(t); err != nil || len(v.Open) > 0 {
		t.Errorf("the audit trail: %+v, %v", v, err)
	}
}

// policyEvents returns the events of policies since a time.
func (p *playground) policyEvents(t *testing.T, since string) (list []string) {
	t.Helper()
	stream, err := p.Raw(t.Context(), "/events?since="+since+"&until="+p.now())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(stream)) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(e.Action), "policy-") {
			list = append(list, string(e.Action)+" "+e.Actor.Attributes["policy"])
		}
	}
	return list
}

// TestPolicyDockerCLI: the docker CLI shows a refusal as it is, and warnings.
func TestPolicyDockerCLI(t *testing.T) {
	azuretest.NeedsProgram(t, "docker")
	dir := t.TempDir()
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", houseRules)}
		cfg.Policy.Contact = "ask #platform"
	})
	docker := func(args ...string) (out string, status int) {
		t.Helper()
		cmd := exec.Command("docker", append([]string{"--host", "unix://" + p.socket}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir)
		content, err := cmd.CombinedOutput()
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		}
		return string(content), cmd.ProcessState.ExitCode()
	}
	const refused = "Error response from daemon: cannot create container web: policy house refuses the plan: " +
		"tag \"team\" is missing: run with --label team=... (main.rego:10). Record "
	for status, args := range map[int][]string{1: {"create"}, 125: {"run", "-d"}} {
		out, got := docker(append(args, "--name", "web", p.image)...)
		if got != status || !strings.Contains(out, refused) ||
			!strings.Contains(out, "; ask #platform. Nothing was created") {
			t.Errorf("docker %s: status %d\n%s", args, got, out)
		}
	}
	out, status := docker("create", "--name", "web", "--label", "team=x", p.image)
	if status != 0 || !strings.Contains(out, "WARNING: policy house warns: no owner (main.rego:16)") {
		t.Errorf("status %d\n%s", status, out)
	}
	if out, _ := docker("info"); !strings.Contains(out, "Policy Digest: sha256:") {
		t.Errorf("docker info shows no digest of the policies:\n%s", out)
	}
	if out, _ := docker("inspect", "web"); !strings.Contains(out, `"result": "warn"`) {
		t.Errorf("docker inspect shows no verdict:\n%s", out)
	}
}
