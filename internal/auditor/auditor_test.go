package auditor_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/auditor"
	"github.com/sockerless/backend-azf/store"
)

var id = strings.Repeat("a", 64)

// trail returns a trail with the record of one operation, whose only file has the content "plan".
func trail(t *testing.T, workspace string) auditor.Trail {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "state.db"), Daemon: audit.Daemon{Home: "h"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "daemon.id"), []byte("h"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("plan"))
	record(t, db, audit.Record{Action: audit.ActionPlan, Operation: &audit.Operation{
		Workspace: workspace, Number: 1, Kind: "apply", Files: map[string]string{"plan.json": hex.EncodeToString(sum[:])},
	}})
	return auditor.Trail{DB: db, StateDir: dir}
}

func record(t *testing.T, db *store.DB, r audit.Record) {
	t.Helper()
	if err := db.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// keep writes the operation's file below a folder of the workspaces.
func keep(t *testing.T, trail auditor.Trail, folder, content string) {
	t.Helper()
	path := filepath.Join(trail.StateDir, "workspaces", folder, "operations", "0001-apply", "plan.json")
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// TestFilesOfOperations looks for them wherever a workspace may be.
func TestFilesOfOperations(t *testing.T) {
	for name, row := range map[string]struct {
		kept    map[string]string // content by folder
		pruned  []string
		altered bool
		missing bool
		plan    bool // the workspace is that of a service plan
	}{
		"plan in use": {plan: true, kept: map[string]string{"plans/first": "plan"}},
		"plan archived": {
			plan: true, kept: map[string]string{"plans/first": "new", "archive/first-2": "plan"},
		},
		"plan altered":                 {plan: true, kept: map[string]string{"plans/first": "Plan"}, altered: true},
		"plan missing":                 {plan: true, missing: true},
		"plan pruned":                  {plan: true, pruned: []string{"archive/first-2"}},
		"plan's operation":             {plan: true, pruned: []string{"plans/first/operations/0001-apply"}},
		"another plan pruned":          {plan: true, pruned: []string{"archive/0a1b2c3d"}, missing: true},
		"container of that id":         {plan: true, kept: map[string]string{"containers/first": "plan"}, missing: true},
		"in use":                       {kept: map[string]string{"containers/" + id: "plan"}},
		"archived":                     {kept: map[string]string{"archive/" + id: "plan"}},
		"archived for the second time": {kept: map[string]string{"archive/" + id: "other", "archive/" + id + "-2": "plan"}},
		"altered":                      {kept: map[string]string{"containers/" + id: "Plan"}, altered: true},
		"missing":                      {missing: true},
		"pruned":                       {pruned: []string{"archive/" + id}},
		"the second one pruned":        {pruned: []string{"archive/" + id + "-2"}},
		"another one pruned":           {pruned: []string{"archive/" + strings.Repeat("b", 64)}, missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			workspace := id
			if row.plan {
				workspace = "plans/first"
			}
			trail := trail(t, workspace)
			for folder, content := range row.kept {
				keep(t, trail, folder, content)
			}
			if row.pruned != nil {
				record(t, trail.DB, audit.Record{Action: audit.ActionPruned, Pruned: &audit.Pruned{Workspaces: row.pruned}})
			}
			v, err := trail.Verify(t.Context(), nil, true)
			_, altered := errors.AsType[*audit.AlteredError](err)
			_, incomplete := errors.AsType[*audit.IncompleteError](err)
			if altered != row.altered || incomplete != row.missing || err != nil && !altered && !incomplete {
				t.Errorf("got %+v, %v", v, err)
			}
			if _, err := trail.Verify(t.Context(), nil, false); err != nil {
				t.Errorf("without files: %v", err)
			}
		})
	}
}

// TestFilesOfAnotherDaemon are elsewhere.
func TestFilesOfAnotherDaemon(t *testing.T) {
	trail := trail(t, id)
	if err := os.WriteFile(filepath.Join(trail.StateDir, "daemon.id"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := trail.Verify(t.Context(), nil, true); err != nil || v.Elsewhere != 1 || v.Files != 0 {
		t.Errorf("got %+v, %v", v, err)
	}
}
