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
	folder := filepath.Join(dir, operationFolder(1, applying))
	err = errors.Join(os.MkdirAll(folder, 0o700), writeVerdict(folder, Operation{Started: time.Now(), Lineage: "b"}))
	if op, opErr := newestOperation(dir); err != nil || opErr != nil || op.Lineage != "a" {
		t.Errorf("after an operation that was not applied: %+v, %v, %v", op, err, opErr)
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
			now := time.Now()
			for before, want := range map[time.Time]int{now.Add(-time.Hour): 0, now.Add(time.Hour): 2} {
				if got, err := m.Expired(before, 10); len(got) != want || err != nil {
					t.Errorf("before %v: %q, %v", before, got, err)
				}
			}
			paths, err := m.Expired(now.Add(time.Hour), 1)
			if diff := cmp.Diff([]string{"archive/" + testID}, paths); diff != "" || err != nil {
				t.Error(diff, err)
			}
			if err := m.RemoveExpired(paths); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(archived); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the archived workspace is there: %v", err)
			}
		})
	}
}
