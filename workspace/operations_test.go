package workspace

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestWorkspaceOfAnEarlierRelease removes an app whose state is lost. The files of its create have no folder.
func TestWorkspaceOfAnEarlierRelease(t *testing.T) {
	m, sim := cloud(t)
	m.cfg.Log = zerolog.Nop()
	spec, _ := foundation(t, m)
	provision(t, m, spec)
	dir := m.Path(testID)
	created := filepath.Join(dir, operationFolder(1, applying))
	for name, earlier := range map[string]string{
		planFile: "apply.tfplan", maskedPlan: "apply.plan.json", planOutput: "apply.plan.jsonl", applyOutput: "apply.jsonl",
	} {
		if err := os.Rename(filepath.Join(created, name), filepath.Join(dir, earlier)); err != nil {
			t.Fatal(err)
		}
	}
	var op map[string]any
	content, err := os.ReadFile(filepath.Join(created, verdict))
	if err := errors.Join(err, json.Unmarshal(content, &op)); err != nil {
		t.Fatal(err)
	}
	for _, added := range []string{"number", "kind", "applied"} {
		delete(op, added)
	}
	err = errors.Join(
		writeJSON(filepath.Join(dir, "apply.operation.json"), op), os.RemoveAll(filepath.Join(dir, operationsDir)),
		remove(dir, stateFile), remove(dir, backupFile),
	)
	if err != nil {
		t.Fatal(err)
	}
	kept := files(t, dir)
	c := containerOf(testID)
	c.Begun = false // so that only the verdict tells that there may be an app
	destroyed, err := m.Destroy(t.Context(), c, nil)
	if err != nil || destroyed.Plan != (Changes{Destroy: 1}) || destroyed.Number != 2 || len(sim.Sites()) > 0 {
		t.Errorf("got %+v, %v with %v", destroyed, err, sim.Sites())
	}
	archived := files(t, m.ArchivePath(testID))
	for _, name := range []string{"apply.plan.json", "apply.plan.jsonl", "apply.jsonl", "apply.operation.json"} {
		if archived[name] != kept[name] || kept[name] == "" {
			t.Errorf("%s has changed", name)
		}
	}
	if archived["apply.tfplan"] != "" {
		t.Error("the archive holds the plan file")
	}
}

// TestVerdictsOfAnEarlierRelease: they are those of operations whose apply was begun.
func TestVerdictsOfAnEarlierRelease(t *testing.T) {
	dir := t.TempDir()
	const earlier = `{"correlation_id": "c", "started": "2026-11-01T00:00:00Z", "lineage": "a", "serial": 7}`
	if err := os.WriteFile(filepath.Join(dir, "apply.operation.json"), []byte(earlier), 0o600); err != nil {
		t.Fatal(err)
	}
	op, err := newestOperation(dir)
	if err != nil || op == nil || op.Lineage != "a" || op.Serial != 7 || !touched(dir) {
		t.Errorf("got %+v, %v", op, err)
	}
	leave(t, dir, 1, Operation{Started: time.Now(), Lineage: "b"})
	if op, err := newestOperation(dir); err != nil || op.Lineage != "a" {
		t.Errorf("after an operation that was not applied: %+v, %v", op, err)
	}
	leave(t, dir, 2, Operation{Lineage: "c", Applied: true}) // the clock was set back
	if op, err := newestOperation(dir); err != nil || op.Lineage != "c" || op.Number != 2 {
		t.Errorf("after an operation that was applied: %+v, %v", op, err)
	}
}

// leave leaves the verdict of an apply in a workspace, and returns its folder.
func leave(t *testing.T, dir string, number int, op Operation) string {
	t.Helper()
	folder := filepath.Join(dir, operationFolder(number, applying))
	if err := errors.Join(os.MkdirAll(folder, 0o700), writeVerdict(folder, op)); err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestNewestOperation: of a damaged verdict only the number is known, and more than four digits count as a number.
func TestNewestOperation(t *testing.T) {
	dir := t.TempDir()
	leave(t, dir, 9999, Operation{Lineage: "a", Applied: true})
	folder := leave(t, dir, 10000, Operation{Lineage: "b", Applied: true})
	if op, err := newestOperation(dir); err != nil || op.Lineage != "b" {
		t.Errorf("got %+v, %v", op, err)
	}
	if err := os.WriteFile(filepath.Join(folder, verdict), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if op, err := newestOperation(dir); err != nil || op.Lineage != "" || op.Number != 10000 {
		t.Errorf("got %+v, %v for a damaged one", op, err)
	}
	if n, err := local(t, nil).nextNumber(dir); n != 10001 || err != nil {
		t.Errorf("the next number is %d, %v", n, err)
	}
}
