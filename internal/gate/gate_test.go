package gate

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/store"
)

// TestPinnedDigest: only the policies with the expected digest are in force.
func TestPinnedDigest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "main.rego")
	write := func(message string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("package main\ndeny contains \""+message+"\" if true"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	cfg := Config{Sets: []policy.Set{{Name: "house", Path: dir}}}
	g, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Digest = g.Digest()
	if g, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	write("b")
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "policy_digest: ") {
		t.Errorf("got %v", err)
	}
	if g.Digest() != cfg.Digest {
		t.Error("the digest has changed")
	}
	cfg.Sets = nil
	if _, err := New(t.Context(), cfg); err == nil {
		t.Error("no policies are accepted in place of the expected ones")
	}
}

// TestReload: policies are in force, and others see it, or neither.
func TestReload(t *testing.T) {
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "main.rego")
	write := func(message string) {
		t.Helper()
		err := os.WriteFile(path, []byte("package sockerless.request\ndeny contains \""+message+"\" if true"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	g, err := New(t.Context(), Config{Sets: []policy.Set{{Name: "house", Path: path}}, Store: db})
	if err != nil {
		t.Fatal(err)
	}
	first := g.Digest()
	// The record has the digest of the policies that were asked, whatever is in force when it is written.
	_, err = g.Request(t.Context(), Pull, nil, "app", func(text string) string { return text })
	if refused, ok := errors.AsType[*Refusal](err); !ok || lastRecord(t, db).Seq != refused.Record ||
		lastRecord(t, db).Daemon.Policies != first {
		t.Errorf("got %v and the record %+v", err, lastRecord(t, db))
	}
	write("b")
	if err := g.Reload(t.Context()); err != nil || g.Digest() == first || g.Problem() != "" {
		t.Errorf("got %v, %q", err, g.Problem())
	}
	second := g.Digest()
	if r := lastRecord(t, db); r.Action != audit.ActionPolicies || r.Daemon.Policies != second {
		t.Errorf("recorded is %+v", r)
	}
	write("\" broken")
	if err := g.Reload(t.Context()); err == nil || g.Digest() != second || !strings.Contains(g.Problem(), "main.rego:2") {
		t.Errorf("got %v, %q", err, g.Problem())
	}
	if r := lastRecord(t, db); r.Outcome.State != audit.OutcomeFailed || r.Daemon.Policies != second {
		t.Errorf("recorded is %+v", r)
	}
	write("c")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(t.Context()); err == nil || g.Digest() != second || g.Problem() == "" {
		t.Errorf("a reload that cannot be recorded: %v, %q", err, g.Problem())
	}
}

// TestRulesOnWrappedImages has rules on the image that was asked for, and on the base of the wrapped one.
func TestRulesOnWrappedImages(t *testing.T) {
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(t.TempDir(), "main.rego")
	const rules = `package main
image := input.sockerless.container.image
deny contains "another registry" if not startswith(image.reference, "team.azurecr.io/")
deny contains "another digest" if image.digest != "sha256:s"
deny contains "another recipe" if image.derived.recipe < 2
deny contains "another base" if {
	derived := image.derived
	not endswith(derived.base, "@sha256:b")
}
`
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := New(t.Context(), Config{Sets: []policy.Set{{Name: "house", Path: path, On: []string{Create}}}, Store: db})
	if err != nil {
		t.Fatal(err)
	}
	good := api.Derived{Source: "team.azurecr.io/app@sha256:s", Base: "mcr.example.com/base@sha256:b", Recipe: 2}
	base, moved, recipe := good, good, good
	base.Base, moved.Source, recipe.Recipe = "mcr.example.com/base@sha256:c", "team.azurecr.io/app@sha256:t", 1
	for _, row := range []struct {
		image   string
		derived *api.Derived
		want    string
	}{
		{"team.azurecr.io/app:1", &good, ""},
		{"team.azurecr.io/app:1", &base, "another base"},
		{"team.azurecr.io/app:1", &moved, "another digest"},
		{"team.azurecr.io/app:1", &recipe, "another recipe"},
		{"team.azurecr.io/app@sha256:s", nil, ""}, // it has a host of its own
		{"team.azurecr.io/app:1", nil, "another digest"},
		{"other.azurecr.io/app:1", &good, "another registry"},
	} {
		c := store.Container{ID: "1", Name: "web", Config: api.Config{Image: row.image}, Derived: row.derived}
		asked, err := g.Describe(t.Context(), string(policy.StagePlan), Create, &c)
		if err != nil {
			t.Fatal(err)
		}
		about, err := json.Marshal(asked)
		if err != nil {
			t.Fatal(err)
		}
		d, err := g.Ask(t.Context(), asked, []byte(`{"format_version": "1.2"}`), about)
		if got := d.Reasons(); err != nil || d.Refused() != (row.want != "") || !strings.Contains(got, row.want) ||
			strings.Count(got, "another") > 1 {
			t.Errorf("%s, %+v: got %q, %v, want %q", row.image, row.derived, got, err, row.want)
		}
	}
}

func lastRecord(t *testing.T, db *store.DB) audit.Record {
	t.Helper()
	lines, err := db.Audit(t.Context(), store.AuditQuery{})
	if err != nil || len(lines) == 0 {
		t.Fatalf("got %d records, %v", len(lines), err)
	}
	r, err := audit.Decode(lines[len(lines)-1].Line)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
