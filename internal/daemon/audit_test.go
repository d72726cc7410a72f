package daemon_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/auditor"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/store"
)

// withTrail calls f with the audit trail of a daemon, which may run or not.
func (p *playground) withTrail(t *testing.T, f func(auditor.Trail)) {
	t.Helper()
	dir := p.stateDir()
	db, err := store.OpenReader(t.Context(), store.Config{Path: daemon.DatabasePath(dir), URL: p.database})
	if err != nil {
		t.Fatal(err)
	}
	f(auditor.Trail{DB: db, StateDir: dir, Checkpoint: daemon.CheckpointPath(dir)})
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// verify verifies a daemon's trail with its checkpoint and its files.
func (p *playground) verify(t *testing.T) (v auditor.Verified, err error) {
	t.Helper()
	p.withTrail(t, func(trail auditor.Trail) {
		checkpoints, checkpointErr := trail.Checkpoints(nil, nil)
		if checkpointErr != nil {
			t.Fatal(checkpointErr)
		}
		v, err = trail.Verify(t.Context(), checkpoints, true)
	})
	return v, err
}

// records returns the records of a daemon's trail.
func (p *playground) records(t *testing.T) (all []audit.Record) {
	t.Helper()
	p.withTrail(t, func(trail auditor.Trail) {
		_, err := trail.DB.VerifyTrail(t.Context(), nil, func(r audit.Record) error {
			all = append(all, r)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	return all
}

// unaudited counts the applies that Azure has seen, by their correlation ids, and that do not have exactly one record.
func (p *playground) unaudited(t *testing.T) (n int) {
	t.Helper()
	begun := map[string]int{}
	for _, r := range p.records(t) {
		if r.Outcome != nil && r.Outcome.State == audit.OutcomeBegun {
			begun[r.Operation.CorrelationID]++
		}
	}
	seen := map[string]bool{}
	for _, c := range p.sim.Calls() {
		changes := c.Method == http.MethodPut || c.Method == http.MethodPatch || c.Method == http.MethodDelete
		if c.Service != "arm" || !changes || !strings.Contains(c.UserAgent, "terraform-provider-azurerm") ||
			seen[c.CorrelationID] {
			continue
		}
		seen[c.CorrelationID] = true
		if begun[c.CorrelationID] != 1 {
			n++
			t.Logf("%s %s has the correlation id %q, and that has %d records", c.Method, c.Path, c.CorrelationID,
				begun[c.CorrelationID])
		}
	}
	if len(seen) == 0 {
		t.Error("Azure has seen no change: the test tests nothing")
	}
	return n
}

// ungated counts the applies of creates that have begun without the consent of a policy to the plan.
func (p *playground) ungated(t *testing.T) (n int) {
	t.Helper()
	agreed, refused := map[string]bool{}, 0
	for _, r := range p.records(t) {
		if r.Operation == nil || r.Operation.Kind != string(audit.ActionApply) {
			continue
		}
		plan := fmt.Sprint(r.Daemon.Home, r.Operation.Workspace, r.Operation.Number, r.Operation.Plan)
		switch {
		case r.Action == audit.ActionPlan && len(r.Policy) == 1:
			agreed[plan] = r.Policy[0].Result == api.PolicyAllow
			if !agreed[plan] {
				refused++
			}
		case r.Outcome != nil && r.Outcome.State == audit.OutcomeBegun && !agreed[plan]:
			n++
			t.Logf("the apply of record %d begins without the consent of the policy", r.Seq)
		}
	}
	if refused == 0 || len(agreed) == refused {
		t.Errorf("of %d plans, the policy has refused %d: the test tests nothing", len(agreed), refused)
	}
	return n
}

// story returns a line for each record of a container: action, what was asked, and outcome.
func story(all []audit.Record, name string) (lines []string) {
	for _, r := range all {
		if r.Container == nil || r.Container.Name != name {
			continue
		}
		line := strings.TrimSpace(string(r.Action) + " " + r.Asked)
		if r.Outcome != nil {
			line += " " + r.Outcome.State
		}
		lines = append(lines, line)
	}
	return lines
}

// TestAuditTrail takes a container through its life and another one through a failed create, and alters a file at last.
func TestAuditTrail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trail.jsonl")
	p := newPlaygroundWith(t, func(cfg *daemon.Config) {
		cfg.Audit.Sinks, cfg.Audit.Anchor, cfg.Audit.Container = "file://"+path, config.AnchorAzure, "trail"
		cfg.Shown = "location: here"
	})
	p.create(t, "web", api.Config{Cmd: []string{"/bin/sh", "-c", "exit 3"}})
	p.must(t, http.MethodPost, "/containers/web/start", nil, nil)
	p.must(t, http.MethodPost, "/containers/web/wait", nil, nil)
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
		Method: http.MethodPut, Path: sitePath, Status: http.StatusBadRequest, Code: "BadRequest", Message: "no",
	}}})
	if err := p.Call(t.Context(), http.MethodPost, "/containers?name=refused", p.createRequest(), nil); err == nil {
		t.Error("the create succeeded: the test tests nothing")
	}
	// The app is there when its configuration is refused.
	p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
		Method: http.MethodPut, Path: regexp.MustCompile(`/sites/[^/]+/config/`), Status: http.StatusBadRequest,
		Code: "BadRequest", Message: "no",
	}}})
	if err := p.Call(t.Context(), http.MethodPost, "/containers?name=half", p.createRequest(), nil); err == nil {
		t.Error("the create succeeded: the test tests nothing")
	}
	p.sim.SetFaults(azuresim.Faults{})

	all := p.records(t)
	const undone = "rollback begun, rollback succeeded, removed"
	if got := strings.Join(story(all, "half"), ", "); !strings.Contains(got, undone) {
		t.Errorf("half: %s", got)
	}
	if diff := cmp.Diff([]string{
		"request create", "plan", "apply begun", "apply succeeded", "created", "run-started", "run-ended failed",
		"request remove", "plan", "destroy begun", "destroy succeeded", "removed",
	}, story(all, "web")); diff != "" {
		t.Errorf("web: %s", diff)
	}
	if diff := cmp.Diff([]string{"request create", "plan", "apply begun", "apply failed", "removed"},
		story(all, "refused")); diff != "" {
		t.Errorf("refused: %s", diff)
	}
	if start := all[0]; start.Action != audit.ActionStart || start.Configuration != "location: here" ||
		start.Tools.Terraform.Version == "" || len(start.Tools.Provider.SHA256) != 64 ||
		len(start.Tools.Terraform.SHA256) != 64 || start.CheckpointKey == "" {
		t.Errorf("the first record is %+v", start)
	}
	for _, r := range all[1:] {
		if r.Requester.Kind != api.RequesterUnix || r.Request == nil || r.Request.ID == "" {
			t.Errorf("record %d, %s, comes from %v", r.Seq, r.Action, r.Requester)
		}
	}
	if n := p.unaudited(t); n > 0 {
		t.Errorf("unaudited=%d", n)
	}
	if v, err := p.verify(t); err != nil || v.Files < 10 || v.Last != int64(len(all)) || len(v.Open) > 0 {
		t.Errorf("verified %+v, %v", v, err)
	}

	var info api.Info
	azuretest.Eventually(t, "warning", func() bool {
		p.must(t, http.MethodGet, "/info", nil, &info)
		return strings.Contains(strings.Join(info.Warnings, "\n"), "Storage Blob Data Contributor")
	})
	azuretest.Eventually(t, "delivery", func() bool {
		content, err := os.ReadFile(path)
		return err == nil && bytes.Count(content, []byte("\n")) == len(all)
	})
	p.stop() // a last checkpoint
	signed, err := os.ReadFile(daemon.CheckpointPath(p.stateDir()))
	if err != nil || !bytes.Contains(signed, fmt.Appendf(nil, "\n%d\n", len(all))) {
		t.Errorf("the last checkpoint is %s, %v", signed, err)
	}
	p.sim.GrantBlobs(true)
	p.start()
	azuretest.Eventually(t, "anchored checkpoint", func() bool { return len(p.sim.Blobs()) > 0 })
	p.stop()

	masked, err := filepath.Glob(filepath.Join(p.stateDir(), "workspaces/archive/*/operations/0001-apply/plan.json"))
	if err != nil || len(masked) == 0 {
		t.Fatal(masked, err)
	}
	content, err := os.ReadFile(masked[0])
	err = errors.Join(err, os.WriteFile(masked[0], bytes.Replace(content, []byte("e"), []byte("E"), 1), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.verify(t)
	if altered, ok := errors.AsType[*audit.AlteredError](err); !ok || !strings.Contains(altered.What, masked[0]) ||
		all[altered.Record-1].Action != audit.ActionPlan {
		t.Errorf("after a file was altered: %v", err)
	}
	if err := os.WriteFile(masked[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(filepath.Dir(masked[0])))); err != nil {
		t.Fatal(err)
	}
	if _, err := p.verify(t); !isIncomplete(err) {
		t.Errorf("after a folder was removed: %v", err)
	}
}

func isIncomplete(err error) bool {
	_, ok := errors.AsType[*audit.IncompleteError](err)
	return ok
}

// TestAuditOverHTTP compares what the API gives with the database.
func TestAuditOverHTTP(t *testing.T) {
	p := newPlayground(t)
	p.must(t, http.MethodPost, "/images/pull", map[string]string{"reference": p.image}, nil)
	get := func(route string) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://daemon/internal/v1"+route, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", route, res.Status, err)
		}
		return body.Bytes()
	}
	var actions []string
	for line := range bytes.Lines(get("/audit")) {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		actions = append(actions, string(r.Action))
	}
	if diff := cmp.Diff([]string{"daemon-start", "image"}, actions); diff != "" {
		t.Error(diff)
	}
	if got := bytes.Count(get("/audit?after=1&limit=5"), []byte("\n")); got != 1 {
		t.Errorf("%d records after the first", got)
	}
	key, err := os.ReadFile(audit.PublicKeyPath(p.stateDir()))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := audit.OpenCheckpoint(get("/audit/checkpoint"), string(key)); err != nil || c.Size != 2 {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestExport verifies an export elsewhere: with the checkpoint and the public key alone.
func TestExport(t *testing.T) {
	p := newPlayground(t)
	for range 3 {
		p.must(t, http.MethodPost, "/images/pull", map[string]string{"reference": p.image}, nil)
	}
	p.stop()
	var export, table, report bytes.Buffer
	var checkpoints []audit.Checkpoint
	p.withTrail(t, func(trail auditor.Trail) {
		ctx := context.Background()
		all, err := trail.Checkpoints(nil, nil)
		checkpoints = all
		period := auditor.Period{}
		err = errors.Join(err, trail.ExportJSON(ctx, &export, period), trail.ExportCSV(ctx, &table, period),
			trail.Report(ctx, &report, period))
		if err != nil || len(checkpoints) != 1 {
			t.Fatal(checkpoints, err)
		}
	})
	if got := strings.Count(table.String(), "\n"); got != 5 || !strings.HasPrefix(table.String(), "record,time,action,") {
		t.Errorf("the table is %s", table.String())
	}
	if !strings.Contains(report.String(), "image pull") {
		t.Errorf("the report is %s", report.String())
	}
	verify := func(text string) error {
		_, err := auditor.VerifyExport(strings.NewReader(text), checkpoints)
		return err
	}
	if err := verify(export.String()); err != nil {
		t.Error(err)
	}
	lines := strings.SplitAfter(export.String(), "\n")
	altered := strings.Replace(export.String(), `"asked":"pull"`, `"asked":"push"`, 1)
	if _, ok := errors.AsType[*audit.AlteredError](verify(altered)); !ok {
		t.Errorf("altered: %v", verify(altered))
	}
	if err := verify(strings.Join(lines[:len(lines)-2], "")); !isIncomplete(err) {
		t.Errorf("without its end: %v", err)
	}
	if err := verify("{}\n"); err == nil {
		t.Error("anything is an export")
	}
}

// TestCreateWithoutARecord: while the trail cannot be written, nothing is created.
func TestCreateWithoutARecord(t *testing.T) {
	p := newPlayground(t)
	p.must(t, http.MethodGet, "/info", nil, nil) // the daemon has recorded its start
	db, err := sql.Open("sqlite", filepath.Join(p.stateDir(), "state.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TRIGGER no_record BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'the disk is full'); END")
	err = p.Call(t.Context(), http.MethodPost, "/containers?name=web", p.createRequest(), nil)
	if !answered(err, http.StatusServiceUnavailable) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("got %v", err)
	}
	var list []api.Summary
	p.must(t, http.MethodGet, "/containers?all=1", nil, &list)
	if len(list) > 0 || len(p.sim.Sites()) > 0 {
		t.Errorf("containers are %v, function apps %v", list, p.sim.Sites())
	}
	exec("DROP TRIGGER no_record")
	p.create(t, "web", api.Config{})
}
