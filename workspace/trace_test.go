package workspace

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// recorded collects the steps of all operations.
type recorded struct {
	steps  []Step
	refuse Stage
}

var errFull = errors.New("the disk is full")

func (r *recorded) record(_ context.Context, s Step) error {
	if s.Stage == r.refuse {
		return errFull
	}
	r.steps = append(r.steps, s)
	return nil
}

// story returns a line for each step of a workspace.
func (r *recorded) story(workspace string) (lines []string) {
	for _, s := range r.steps {
		if s.Workspace != workspace {
			continue
		}
		line := fmt.Sprintf("%d %s %s %d/%d/%d", s.Operation.Number, s.Operation.Kind, s.Stage, s.Operation.Plan.Import,
			s.Operation.Plan.Add, s.Operation.Plan.Destroy)
		if s.Operation.Applied {
			line += " applied"
		}
		if s.Operation.Error != "" {
			line += " failed"
		}
		lines = append(lines, line)
	}
	return lines
}

func recording(t *testing.T, pooled bool) (*Manager, *azuresim.Sim, *recorded) {
	t.Helper()
	r := &recorded{}
	m, sim := cloudWith(t, func(cfg *Config, pool *provider.Config) {
		cfg.Record, cfg.DigestKey = r.record, []byte("key")
		if !pooled {
			pool.Path = ""
		}
	})
	return m, sim, r
}

// TestStepsOfOperations follows a container whose state is lost: the removal imports the app first. Each apply has a
// correlation id of its own, and nothing that an operation has left is changed by a later one.
func TestStepsOfOperations(t *testing.T) {
	for name, pooled := range map[string]bool{"started providers": true, "own providers": false} {
		t.Run(name, func(t *testing.T) {
			m, sim, r := recording(t, pooled)
			spec, _ := foundation(t, m)
			provision(t, m, spec)
			provision(t, m, spec)
			forgetState(t, m, testID) // leaves a verdict with number 3
			kept := map[string]string{}
			for _, folder := range []string{"0001-apply", "0002-apply"} {
				for file, content := range files(t, filepath.Join(m.Path(testID), operationsDir, folder)) {
					if file != planFile {
						kept[folder+"/"+file] = content
					}
				}
			}
			wantDestroyed(t, m, sim)
			want := []string{
				"1 apply planned 0/1/0", "1 apply applying 0/1/0 applied", "1 apply ended 0/1/0 applied",
				"2 apply planned 0/0/0", "2 apply ended 0/0/0",
				"4 import planned 1/0/0", "4 import applying 1/0/0 applied", "4 import ended 1/0/0 applied",
				"5 destroy planned 0/0/1", "5 destroy applying 0/0/1 applied", "5 destroy ended 0/0/1 applied",
			}
			if diff := cmp.Diff(want, r.story(testID)); diff != "" {
				t.Error(diff)
			}
			if got := r.story(FoundationID); len(got) != 3 {
				t.Errorf("the foundation: %q", got)
			}
			r.wantOwnIDs(t, sim)
			archived := filepath.Join(m.ArchivePath(testID), operationsDir)
			for file, content := range kept {
				if now, err := os.ReadFile(filepath.Join(archived, file)); string(now) != content || err != nil {
					t.Errorf("%s has changed: %v", file, err)
				}
			}
			r.wantFiles(t, archived)
		})
	}
}

// wantOwnIDs checks that each apply has a correlation id of its own, and each change that Azure has seen one of these.
func (r *recorded) wantOwnIDs(t *testing.T, sim *azuresim.Sim) {
	t.Helper()
	ids := map[string]string{}
	for _, s := range r.steps {
		if s.Stage != Applying {
			continue
		}
		if other := ids[s.Operation.CorrelationID]; other != "" {
			t.Errorf("%s %d has the correlation id of %s", s.Workspace, s.Operation.Number, other)
		}
		ids[s.Operation.CorrelationID] = fmt.Sprint(s.Workspace, s.Operation.Number)
	}
	for _, c := range sim.Calls() {
		changes := c.Service == "arm" && c.Method != http.MethodGet
		ours := strings.Contains(c.UserAgent, "terraform-provider-azurerm") && !strings.Contains(c.Path, "/list")
		if changes && ours && ids[c.CorrelationID] == "" {
			t.Errorf("%s %s has the correlation id %q, which no step has", c.Method, c.Path, c.CorrelationID)
		}
	}
}

// wantFiles compares the files of a workspace's operations with the digests.
func (r *recorded) wantFiles(t *testing.T, operations string) {
	t.Helper()
	for _, s := range r.steps {
		if s.Workspace != testID || s.Stage != Ended {
			continue
		}
		for file, sum := range s.Files {
			path := filepath.Join(operations, filepath.Base(operationFolder(s.Operation.Number, kind(s.Operation.Kind))), file)
			if got, err := FileDigest(path); got != sum || err != nil {
				t.Errorf("%s has the digest %s, not %s, %v", path, got, sum, err)
			}
		}
	}
}

// TestStepThatCannotBeRecorded changes nothing in Azure.
func TestStepThatCannotBeRecorded(t *testing.T) {
	for _, stage := range []Stage{Planned, Applying, Ended} {
		t.Run(string(stage), func(t *testing.T) {
			m, sim, r := recording(t, true)
			spec, _ := foundation(t, m)
			r.refuse = stage
			_, err := m.Provision(t.Context(), testID, spec, nil)
			if !errors.Is(err, errFull) {
				t.Errorf("got %v", err)
			}
			if made := len(sim.Sites()) > 0; made != (stage == Ended) {
				t.Errorf("function apps: %v", sim.Sites())
			}
			r.refuse = ""
			if got := provision(t, m, spec); got.Operation.Number != 2 {
				t.Errorf("the next operation has number %d", got.Operation.Number)
			}
		})
	}
}

// TestChangeDigest: plans of the same intent have one digest, with or without the same state folder.
func TestChangeDigest(t *testing.T) {
	m, sim, r := recording(t, true)
	spec, _ := foundation(t, m)
	digest := func(spec FunctionApp) string {
		provision(t, m, spec)
		got := ""
		for _, s := range r.steps {
			if s.Workspace == testID && s.Stage == Planned && s.Operation.Kind == string(applying) {
				got = s.Change
			}
		}
		wantDestroyed(t, m, sim)
		return got
	}
	first, again := digest(spec), digest(spec)
	spec.Environment = map[string]string{"NASTY": "another", "EMPTY": ""}
	other := digest(spec)
	if first != again || first == "" || first == other {
		t.Errorf("got %q, %q for the same and %q for another environment", first, again, other)
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

// TestArchive compares what stays of a removed container's workspace, and for how long.
func TestArchive(t *testing.T) {
	for name, keep := range map[string]bool{"without secrets": false, "with secrets": true} {
		t.Run(name, func(t *testing.T) {
			m, sim := cloudWith(t, func(cfg *Config, _ *provider.Config) { cfg.KeepSecrets = keep })
			spec, _ := foundation(t, m)
			provision(t, m, spec)
			wantDestroyed(t, m, sim)
			archived := m.ArchivePath(testID)
			for _, pattern := range withSecrets[1:5] {
				paths, err := filepath.Glob(filepath.Join(archived, pattern))
				if wanted := keep && pattern != "*.tfplan"; len(paths) > 0 != wanted || err != nil {
					t.Errorf("%s: %q, %v", pattern, paths, err)
				}
			}
			for _, file := range []string{
				"main.tf", lockFile, "operations/0001-apply/plan.json", "operations/0002-destroy/operation.json",
			} {
				if _, err := os.Stat(filepath.Join(archived, file)); err != nil {
					t.Error(err)
				}
			}
			// The number of an operation goes on in another workspace of the same container.
			if got := provision(t, m, spec); got.Operation.Number != 3 {
				t.Errorf("the next operation has number %d", got.Operation.Number)
			}
			wantDestroyed(t, m, sim)
		})
	}
}

// wantExpired checks what is older than a time.
func wantExpired(t *testing.T, m *Manager, before time.Time, limit int, want ...string) {
	t.Helper()
	got, err := m.Expired(before, limit)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("before %v: %s, %v", before, diff, err)
	}
}

// TestExpired archives three workspaces of one container and removes the oldest one.
func TestExpired(t *testing.T) {
	now := time.Now()
	m := local(t, func(cfg *Config) { cfg.Now = func() time.Time { return now } })
	dir := m.Path(testID)
	for n := 1; n <= 3; n++ {
		next, err := m.nextNumber(dir)
		if err != nil || next != n {
			t.Errorf("operation %d has the number %d, %v", n, next, err)
		}
		leave(t, dir, next, Operation{Applied: true, Finished: now})
		if err := m.Archive(testID); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	first, second, third := "archive/"+testID, "archive/"+testID+"-2", "archive/"+testID+"-3"
	wantExpired(t, m, now.Add(-3*time.Hour), 10)
	wantExpired(t, m, now.Add(-2*time.Hour), 10, first)
	wantExpired(t, m, now, 10, first, second, third)
	wantExpired(t, m, now, 2, first, second)
	// A copy that was restored has another time.
	if err := os.Chtimes(filepath.Join(m.cfg.Dir, first), now, now); err != nil {
		t.Fatal(err)
	}
	wantExpired(t, m, now.Add(-2*time.Hour), 10, first)

	if err := m.RemoveExpired([]string{first}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(m.ArchivePath(testID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the archived workspace is there: %v", err)
	}
	if n, err := m.nextNumber(dir); n != 4 || err != nil {
		t.Errorf("the next number is %d, %v", n, err)
	}
	leave(t, dir, 4, Operation{})
	if err := m.Archive(testID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(m.ArchivePath(testID) + "-4"); err != nil {
		t.Error(err)
	}
}

// TestExpiredOperationsOfTheFoundation leaves those that the next operation needs.
func TestExpiredOperationsOfTheFoundation(t *testing.T) {
	m := local(t, nil)
	finished := time.Now().Add(-time.Hour)
	for n, applied := range map[int]bool{9997: true, 9998: true, 9999: false, 10000: false} {
		leave(t, m.foundation(), n, Operation{Finished: finished, Applied: applied})
	}
	wantExpired(t, m, time.Now(), 10, "foundation/operations/9997-apply", "foundation/operations/9999-apply")
}

// TestArchiveOfAnEarlierRelease removes the secrets of a workspace whose operations have no folders.
func TestArchiveOfAnEarlierRelease(t *testing.T) {
	m := local(t, nil)
	dir := m.Path(testID)
	if err := os.MkdirAll(filepath.Join(dir, stateFile+".d", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	for name, stays := range map[string]bool{
		"main.tf": true, lockFile: true, "apply.plan.json": true, "apply.plan.jsonl": true, "apply.jsonl": true,
		"apply.operation.json": true, "destroy.operation.json": true,
		varsFile: false, "x.auto.tfvars": false, "apply.tfplan": false, "import.tfplan": false, "destroy.tfplan": false,
		stateFile: false, backupFile: false, stateFile + damaged: false, stateFile + damaged + "-2": false,
		erroredFile + damaged: false, lockInfo: false, ".tmp-123": false,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if stays {
			kept[name] = "{}"
		}
	}
	if err := m.Archive(testID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(kept, files(t, m.ArchivePath(testID))); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Lstat(filepath.Join(m.ArchivePath(testID), stateFile+".d")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("states of other Terraform CLI workspaces: %v", err)
	}
}
