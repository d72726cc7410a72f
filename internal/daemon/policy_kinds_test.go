package daemon_test

import (
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/auditor"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/gate"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/policycheck"
)

// labelled are rules that refuse an action when the container has a label of its name.
const labelled = `package main

deny contains msg if {
	action := input.sockerless.action
	input.sockerless.container.labels[action]
	msg := sprintf("no %s", [action])
}
`

// wantRefusal checks that an answer refuses something, with these words.
func wantRefusal(t *testing.T, err error, status int, words ...string) {
	t.Helper()
	if !answered(err, status) {
		t.Fatalf("got %v, want %d", err, status)
	}
	for _, want := range words {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

// TestPolicyOverride: a label with a reason overrides a soft policy, if the requester may.
func TestPolicyOverride(t *testing.T) {
	dir, may := t.TempDir(), []string{"uid:0"}
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		set := rules(t, dir, "main.rego", labelled)
		set.Enforcement, set.Override = policy.Soft, may
		cfg.Policy.Sets = []policy.Set{set}
	})
	create := func(name, reason string) (api.CreateResponse, error) {
		labels := map[string]string{"create": "x"}
		if reason != "" {
			labels[api.OverrideLabel] = reason
		}
		var created api.CreateResponse
		req := api.CreateRequest{Config: &api.Config{Image: p.image, Labels: labels}}
		return created, p.Call(t.Context(), http.MethodPost, "/containers?name="+name, req, &created)
	}
	_, err := create("web", "")
	wantRefusal(t, err, http.StatusForbidden, "no create",
		`These may override it (uid:0): --label sockerless-override="reason"`)
	_, err = create("web", "short")
	wantRefusal(t, err, http.StatusForbidden, "shorter than 10 characters")
	since := p.now()
	if _, err := create("web", "INC-42: production is down"); err != nil {
		t.Fatal(err)
	}
	if events := p.policyEvents(t, since); !slices.Equal(events, []string{"policy-override house"}) {
		t.Errorf("got the events %q", events)
	}
	var overridden *audit.Record
	for _, r := range p.records(t) {
		if r.Override != nil && len(r.Policy) > 0 && r.Policy[0].Result == api.PolicyOverridden {
			overridden = &r
		}
	}
	if overridden == nil || overridden.Override.Reason != "INC-42: production is down" || !overridden.Override.Allowed {
		t.Errorf("got the record %+v", overridden)
	}
	if tags := p.tagsOf()["web"]; tags[api.OverrideLabel] != "INC-42: production is down" {
		t.Errorf("the app has the tags %v", tags)
	}
	may = []string{"uid:65534", "group:nobody", "cn:root"}
	p.stop()
	p.start()
	_, err = create("db", "INC-42: production is down")
	wantRefusal(t, err, http.StatusForbidden, "may override none of the policies")
}

// TestPolicyOnRemove: a container whose removal is refused is as it was before.
func TestPolicyOnRemove(t *testing.T) {
	dir, content := t.TempDir(), labelled
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		set := rules(t, dir, "main.rego", content)
		set.On = []string{"remove"}
		cfg.Policy.Sets = []policy.Set{set}
	})
	p.create(t, "web", api.Config{Cmd: []string{"/bin/true"}, Labels: map[string]string{"remove": "x", "create": "x"}})
	for _, state := range []api.ContainerState{"created", "exited"} {
		err := p.Call(t.Context(), http.MethodDelete, "/containers/web", nil, nil)
		wantRefusal(t, err, http.StatusForbidden, "cannot remove container web: policy house refuses the plan: no remove",
			"The container is kept")
		var info api.InspectResponse
		p.must(t, http.MethodGet, "/containers/web", nil, &info)
		if info.State.Status != state || info.State.Dead {
			t.Errorf("the container is %+v", info.State)
		}
		if state == "created" {
			p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
			p.must(t, http.MethodPost, "/containers/web/wait", nil, nil)
		}
	}
	content = "package main\ndeny contains \"x\" if false"
	p.stop()
	p.start()
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.wantNothing(t)
	if v, err := p.verify(t); err != nil || len(v.Open) > 0 {
		t.Errorf("the audit trail: %+v, %v", v, err)
	}
}

// TestPolicyOnRequests refuses what has no plan, before anything is recorded of it.
func TestPolicyOnRequests(t *testing.T) {
	dir := t.TempDir()
	content := strings.Replace(labelled, "package main", "package sockerless.request", 1) + `
deny contains "no such image" if endswith(input.sockerless.image.reference, "/refused:1")
`
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.Policy.Sets = []policy.Set{rules(t, dir, "main.rego", content)}
	})
	req := api.CreateRequest{Config: &api.Config{Image: p.image, Labels: map[string]string{"create": "x"}}}
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
	wantRefusal(t, err, http.StatusForbidden, "policy house refuses the request: no create (main.rego:3). Record",
		"Nothing was created")
	for _, r := range p.records(t) {
		if r.Action == audit.ActionPlan {
			t.Errorf("there is a plan: %+v", r)
		}
	}
	p.create(t, "web", api.Config{Labels: map[string]string{"start": "x", "remove": "x"}})
	err = p.Call(t.Context(), http.MethodPost, "/containers/web/start", nil, nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot start container web", "no start", "It was not started")
	err = p.Call(t.Context(), http.MethodDelete, "/containers/web", nil, nil)
	wantRefusal(t, err, http.StatusForbidden, "no remove", "The container is kept as it was")
	pull := map[string]string{"Reference": "registry.invalid/refused:1"}
	err = p.Call(t.Context(), http.MethodPost, "/images/pull", pull, nil)
	wantRefusal(t, err, http.StatusForbidden, "cannot pull registry.invalid/refused:1", "no such image",
		"It was not pulled")
	content = "package main\ndeny contains \"x\" if false"
	p.stop()
	p.start()
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.wantNothing(t)
}

// TestBrokenPolicy: a rule that fails refuses with 500, and only warns where it is advisory.
func TestBrokenPolicy(t *testing.T) {
	dir, enforcement := t.TempDir(), policy.Hard
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		set := rules(t, dir, "main.rego", "package main\ndeny contains msg if msg := to_number(input.sockerless.owner)")
		set.Enforcement = enforcement
		cfg.Policy.Sets = []policy.Set{set}
	})
	req := api.CreateRequest{Config: &api.Config{Image: p.image}}
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
	wantRefusal(t, err, http.StatusInternalServerError, "policy house cannot be evaluated: main.rego:2: ",
		"Nothing was created")
	enforcement = policy.Advisory
	p.stop()
	p.start()
	var created api.CreateResponse
	p.must(t, http.MethodPost, "/containers?name=web", req, &created)
	if len(created.Warnings) != 1 || !strings.Contains(created.Warnings[0], "cannot be evaluated") {
		t.Errorf("got %q", created.Warnings)
	}
}

// TestHeldFoundation: a change waits for somebody who applies it, and creates go on meanwhile.
func TestHeldFoundation(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.FoundationChanges = config.FoundationHold })
	p.create(t, "first", api.Config{})
	p.loseInsights(t)
	p.stop()
	p.start()
	held := func() string {
		var info api.Info
		p.must(t, http.MethodGet, "/info", nil, &info)
		return strings.Join(info.Warnings, "\n")
	}
	azuretest.Eventually(t, "the held change", func() bool {
		return strings.Contains(held(),
			"WARNING: a change of what containers share is held (1 to add, 0 to change, 0 to destroy)")
	})
	p.create(t, "second", api.Config{})
	before := p.writes()
	preview, err := daemon.Preview(t.Context(), p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(preview.Text, "azurerm_application_insights.this[0] will be created") ||
		preview.Plan.Add != 1 || !strings.Contains(held(), preview.Change) {
		t.Errorf("the preview is %+v, and the daemon says %s", preview, held())
	}
	err = p.Call(t.Context(), http.MethodPost, "/foundation", api.FoundationRequest{Digest: strings.Repeat("0", 64)}, nil)
	wantRefusal(t, err, http.StatusConflict, "is not the one that the plan has now", preview.Change)
	if n := p.writes(); n != before {
		t.Errorf("%d writes reached Azure", n-before)
	}
	var f api.Foundation
	p.must(t, http.MethodPost, "/foundation", api.FoundationRequest{Digest: preview.Change}, &f)
	if f.Held != "" || f.Plan != "1 to add, 0 to change, 0 to destroy" {
		t.Errorf("got %+v", f)
	}
	if strings.Contains(held(), "held") {
		t.Errorf("info still has %s", held())
	}
	if preview, err = daemon.Preview(t.Context(), p.cfg); err != nil || !strings.Contains(preview.Text, "No changes") {
		t.Errorf("got %+v, %v", preview, err)
	}
	var applied *audit.Record
	for _, r := range p.records(t) {
		if r.Action == audit.ActionApply && r.Container == nil && r.Outcome.State == audit.OutcomeSucceeded {
			applied = &r
		}
	}
	if applied == nil || applied.Requester.Kind != api.RequesterUnix || applied.Operation.Adds != 1 {
		t.Errorf("got the record %+v", applied)
	}
	for _, name := range []string{"first", "second"} {
		p.must(t, http.MethodDelete, "/containers/"+name, nil, nil)
	}
	p.wantNothing(t)
}

// TestHeldHarm: hold does not apply what would delete a part of the foundation, whoever asks for it.
func TestHeldHarm(t *testing.T) {
	insights := ""
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.FoundationChanges, cfg.Azure.ApplicationInsights = config.FoundationHold, insights
	})
	p.must(t, http.MethodPost, "/foundation", nil, nil)
	insights = "skls-" + p.cfg.Azure.Owner + "-insights"
	p.stop()
	p.start()
	p.create(t, "web", api.Config{})
	preview, err := daemon.Preview(t.Context(), p.cfg)
	if err != nil || len(preview.Harm) != 2 {
		t.Fatalf("got %+v, %v", preview, err)
	}
	err = p.Call(t.Context(), http.MethodPost, "/foundation", api.FoundationRequest{Digest: preview.Change}, nil)
	wantRefusal(t, err, http.StatusForbidden, "would be deleted, because the settings name an existing one",
		"Nothing was changed")
}

// TestPolicyReload: HUP reads the policies again, and bad ones leave those in force.
func TestPolicyReload(t *testing.T) {
	p := newAzure(t)
	p.policy = rules(t, t.TempDir(), "main.rego", labelled).Path
	p.launch(t)
	digest := func() (now string, warnings string) {
		var info api.Info
		p.must(t, http.MethodGet, "/info", nil, &info)
		for _, row := range info.DriverStatus {
			if row[0] == "Policy Digest" {
				now = row[1]
			}
		}
		return now, strings.Join(info.Warnings, "\n")
	}
	first, _ := digest()
	hangUp := func() {
		t.Helper()
		if err := p.process.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	rules(t, p.policy, "main.rego", "package mian")
	hangUp()
	azuretest.Eventually(t, "a warning", func() bool {
		now, warnings := digest()
		return now == first && strings.Contains(warnings, "could not be read again") &&
			strings.Contains(warnings, "no rule deny")
	})
	rules(t, p.policy, "main.rego", strings.Replace(labelled, "no %s", "never %s", 1))
	hangUp()
	azuretest.Eventually(t, "the new policies", func() bool {
		now, warnings := digest()
		return now != first && !strings.Contains(warnings, "policies")
	})
	req := api.CreateRequest{Config: &api.Config{Image: p.image, Labels: map[string]string{"create": "x"}}}
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", req, nil)
	wantRefusal(t, err, http.StatusForbidden, "never create")
	var reloads []string
	for _, r := range p.records(t) {
		if r.Action == audit.ActionPolicies {
			reloads = append(reloads, r.Outcome.State)
		}
	}
	if !slices.Equal(reloads, []string{audit.OutcomeFailed, audit.OutcomeSucceeded}) {
		t.Errorf("recorded are %q", reloads)
	}
}

// TestPolicyCheck asks new policies about the containers that are there, and about those that were.
func TestPolicyCheck(t *testing.T) {
	p := newPlayground(t)
	p.create(t, "web", api.Config{Labels: map[string]string{"create": "x"}, Env: []string{"SECRET=swordfish1"}})
	p.create(t, "db", api.Config{})
	p.create(t, "old", api.Config{Labels: map[string]string{"create": "x"}})
	p.must(t, http.MethodDelete, "/containers/old", nil, nil)
	house := []policy.Set{rules(t, t.TempDir(), "main.rego", labelled)}
	check := func(f func(policycheck.Checker) error) (out string, err error) {
		t.Helper()
		p.withTrail(t, func(trail auditor.Trail) {
			var text strings.Builder
			c := policycheck.Checker{DB: trail.DB, Workspaces: daemon.WorkspacesPath(trail.StateDir), Out: &text}
			if c.Gate, err = gate.New(t.Context(), gate.Config{Sets: house, Store: trail.DB}); err != nil {
				t.Fatal(err)
			}
			err = f(c)
			out = text.String()
		})
		return out, err
	}
	out, err := check(func(c policycheck.Checker) error { return c.Existing(t.Context(), false) })
	if lines := strings.Split(out, "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "refused  web ") ||
		!strings.HasSuffix(lines[0], ": policy house refuses the plan: no create (main.rego:3)") {
		t.Errorf("got %q", out)
	}
	if err == nil || !strings.Contains(err.Error(), "the policies refuse 1 of 4 plans") {
		t.Errorf("got %v", err)
	}
	_, err = check(func(c policycheck.Checker) error { return c.Existing(t.Context(), true) })
	if err == nil || !strings.Contains(err.Error(), "the policies refuse 2 of 5 plans") {
		t.Errorf("got %v", err)
	}
	_, err = check(func(c policycheck.Checker) error { return c.Container(t.Context(), "web") })
	if err == nil || !strings.Contains(err.Error(), "no create") {
		t.Errorf("got %v", err)
	}
	if _, err = check(func(c policycheck.Checker) error { return c.Container(t.Context(), "db") }); err != nil {
		t.Error(err)
	}
	out, err = check(func(c policycheck.Checker) error { return c.Input(t.Context(), "web") })
	if err != nil || strings.Contains(out, "swordfish1") || !strings.Contains(out, `"SECRET"`) {
		t.Errorf("the input is %s, %v", out, err)
	}
}
