package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/workspace/provider"
)

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

// TestExpiredOperations of the foundation and of a service plan leaves those that the next operation needs.
func TestExpiredOperations(t *testing.T) {
	m := local(t, nil)
	finished := time.Now().Add(-time.Hour)
	for _, dir := range []string{m.foundation(), m.ServicePlanPath(FirstServicePlan)} {
		for n, applied := range map[int]bool{9997: true, 9998: true, 9999: false, 10000: false} {
			leave(t, dir, n, Operation{Finished: finished, Applied: applied})
		}
	}
	wantExpired(t, m, time.Now(), 10, "foundation/operations/9997-apply", "foundation/operations/9999-apply",
		"plans/first/operations/9997-apply", "plans/first/operations/9999-apply")
	if err := m.archive(m.ServicePlanPath(FirstServicePlan)); err != nil {
		t.Fatal(err)
	}
	wantExpired(t, m, time.Now(), 2, "archive/first", "foundation/operations/9997-apply")
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
