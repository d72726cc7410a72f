package daemon_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/auditor"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/policy"
)

const wrapRules = `package main

image := input.sockerless.container.image

deny contains "not of the team" if not startswith(image.reference, "team.azurecr.io/team/")

deny contains "another base" if not startswith(image.derived.base, "mcr.microsoft.com/azure-functions/base@sha256:")

deny contains "another source" if not endswith(image.derived.source, image.digest)
`

// imageRecord is the form of image.json.
type imageRecord struct {
	Source        namedDigest `json:"source"`
	Base          namedDigest `json:"base"`
	HandlerDigest string      `json:"handler_digest"`
	Recipe        int         `json:"recipe"`
	Derived       namedDigest `json:"derived"`
	HostLayers    []string    `json:"host_layers"`
	PushedBytes   int64       `json:"pushed_bytes"`
	MountedBlobs  int64       `json:"mounted_blobs"`
	At            time.Time   `json:"at"`
}

type namedDigest struct{ Reference, Digest string }

// imageRecordIn reads image.json of the first operation in a workspace.
func imageRecordIn(t *testing.T, workspace string) (r imageRecord) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(workspace, "operations", "0001-apply", "image.json"))
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWhatIsDerivedIsRecorded compares what the workspace, the audit trail, the policies and the app's tags say of a
// wrapped image.
func TestWhatIsDerivedIsRecorded(t *testing.T) {
	house := rules(t, t.TempDir(), "main.rego", wrapRules)
	house.On = []string{"create"}
	form := schema(t)
	p := wraps(t, func(cfg *daemon.Config) { cfg.Policy.Sets = []policy.Set{house, form} })
	const image = "team.azurecr.io/team/tool:1"
	p.plain(t, "team/tool", nil)
	p.create(t, "web", api.Config{Image: image, Cmd: []string{"tool", "show"}})
	var inspected api.InspectResponse
	p.must(t, http.MethodGet, "/containers/web", nil, &inspected)
	id, derived, workspace := inspected.ID, inspected.AZF.Derived, inspected.AZF.Workspace
	source, base := api.DigestIn(derived.Source), api.DigestIn(derived.Base)

	kept := imageRecordIn(t, workspace)
	want := imageRecord{
		namedDigest{image, source}, namedDigest{derived.Base, base}, derived.Handler, derived.Recipe,
		namedDigest{derived.Reference, derived.Digest}, derived.HostLayers, derived.PushedBytes, derived.MountedBlobs,
		derived.At,
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("image.json: %s", diff)
	}
	if source == "" || base == "" || len(kept.HostLayers) == 0 || kept.PushedBytes == 0 || kept.MountedBlobs == 0 ||
		kept.At.IsZero() {
		t.Errorf("image.json is %+v", kept)
	}
	plan, err := os.ReadFile(filepath.Join(workspace, "operations", "0001-apply", "plan.json"))
	if err != nil || !strings.Contains(string(plan), strings.TrimPrefix(derived.Digest, "sha256:")) {
		t.Errorf("the plan does not name %s: %v", derived.Digest, err)
	}
	if tag := p.tagsOf()["web"]["sockerless-image-digest"]; tag != source {
		t.Errorf("the app has the tag %q, want %q", tag, source)
	}

	p.create(t, "again", api.Config{Image: image, Cmd: []string{"tool", "show"}})
	p.must(t, http.MethodGet, "/containers/again", nil, &inspected)
	again := imageRecordIn(t, inspected.AZF.Workspace)
	if again.PushedBytes != 0 || again.MountedBlobs != 0 || !again.At.After(kept.At) {
		t.Errorf("the second create of the image keeps %+v", again)
	}

	p.plain(t, "other/tool", nil)
	req := api.CreateRequest{Config: &api.Config{Image: "team.azurecr.io/other/tool:1", Cmd: []string{"tool", "show"}}}
	err = p.Call(t.Context(), http.MethodPost, "/containers?name=other", req, nil)
	if !answered(err, http.StatusForbidden) || !strings.Contains(err.Error(), "plan: not of the team (main.rego:5)") {
		t.Errorf("got %v", err)
	}

	p.wantDerivedRecords(t, id, audit.Derived{
		Digest: derived.Digest, Source: source, Base: base, Handler: derived.Handler, Recipe: derived.Recipe,
	})
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	archived := filepath.Join(p.stateDir(), "workspaces", "archive", id)
	if diff := cmp.Diff(kept, imageRecordIn(t, archived)); diff != "" {
		t.Errorf("in the archive: %s", diff)
	}
	if _, err := p.verify(t); err != nil {
		t.Error(err)
	}
	path := filepath.Join(archived, "operations", "0001-apply", "image.json")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = p.verify(t)
	if _, ok := errors.AsType[*audit.AlteredError](err); !ok || !strings.Contains(err.Error(), "image.json") {
		t.Errorf("image.json was altered, and verify says %v", err)
	}
}

// wantDerivedRecords checks the records of a container whose image was wrapped.
func (p *playground) wantDerivedRecords(t *testing.T, id string, want audit.Derived) {
	t.Helper()
	seen := map[audit.Action]bool{}
	for _, r := range p.records(t) {
		if r.Container == nil || r.Container.ID != id || r.Action == audit.ActionRequest {
			continue
		}
		seen[r.Action] = true
		if r.Container.Derived == nil || *r.Container.Derived != want {
			t.Errorf("record %d (%s) has %+v, want %+v", r.Seq, r.Action, r.Container.Derived, want)
		}
		if r.Operation != nil && r.Operation.Files["image.json"] == "" {
			t.Errorf("record %d (%s) has the files %v", r.Seq, r.Action, r.Operation.Files)
		}
	}
	if !seen[audit.ActionPlan] || !seen[audit.ActionApply] || !seen[audit.ActionCreated] {
		t.Errorf("there are records of %v", seen)
	}
	p.withTrail(t, func(trail auditor.Trail) {
		var out strings.Builder
		if err := trail.Show(t.Context(), &out, id); err != nil || !strings.Contains(out.String(), want.Base) {
			t.Errorf("audit show prints %s, %v", out.String(), err)
		}
	})
}
