package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	tfjson "github.com/hashicorp/terraform-json"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// recorded collects the steps of all operations. at, when set, is called before a step is recorded.
type recorded struct {
	steps  []Step
	refuse Stage
	at     func(Step)
}

var errFull = errors.New("the disk is full")

func (r *recorded) record(_ context.Context, s Step) error {
	if r.at != nil {
		r.at(s)
	}
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

// wantOwnIDs checks that each apply has a correlation id of its own, and that Azure saw no other change of azurerm.
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
			spec.DerivedImage = map[string]string{"recipe": "1"}
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
			wantNames(t, filepath.Join(m.ArchivePath(testID), operationFolder(1, applying)))
			archived := filepath.Join(m.ArchivePath(testID), operationsDir)
			for file, content := range kept {
				if now, err := os.ReadFile(filepath.Join(archived, file)); string(now) != content || err != nil {
					t.Errorf("%s has changed: %v", file, err)
				}
			}
			r.wantFiles(t, m.ArchivePath(testID))
			if got := kept["0001-apply/"+imageFile]; got != "{\n  \"recipe\": \"1\"\n}" {
				t.Errorf("kept of the derived image is %q", got)
			}
			for _, s := range r.steps {
				if wanted := s.Workspace == testID && s.Operation.Kind == string(applying); wanted != (s.Files[imageFile] != "") {
					t.Errorf("step %s of %s %d has the files %v", s.Stage, s.Workspace, s.Operation.Number, s.Files)
				}
			}
		})
	}
}

// wantFiles compares the files of a workspace's operations with the digests.
func (r *recorded) wantFiles(t *testing.T, workspace string) {
	t.Helper()
	for _, s := range r.steps {
		if s.Workspace != testID || s.Stage != Ended {
			continue
		}
		for file, sum := range s.Files {
			path := filepath.Join(workspace, operationFolder(s.Operation.Number, kind(s.Operation.Kind)), file)
			if got, err := FileDigest(path); got != sum || err != nil {
				t.Errorf("%s has the digest %s, not %s, %v", path, got, sum, err)
			}
		}
	}
}

// wantNames checks that the masked plan of a create shows which settings the app gets, and none of their values.
func wantNames(t *testing.T, folder string) {
	t.Helper()
	var plan tfjson.Plan
	content := files(t, folder)[maskedPlan]
	if err := json.Unmarshal([]byte(content), &plan); err != nil {
		t.Fatal(err)
	}
	shown := map[string]any{"environment": plan.Variables["environment"].Value}
	for _, rc := range plan.ResourceChanges {
		if after, ok := rc.Change.After.(map[string]any); ok {
			shown[rc.Address] = after["app_settings"]
		}
	}
	for where, names := range map[string][]string{
		"environment": {"EMPTY", "NASTY"}, "azurerm_linux_function_app.this": {"AZF_SPEC_0", "NASTY"},
	} {
		settings, _ := shown[where].(map[string]any)
		for _, name := range names {
			if settings[name] != redacted && name != "EMPTY" || settings[name] == nil {
				t.Errorf("%s shows %q as %v", where, name, settings[name])
			}
		}
	}
}

// TestStepsOfARetry: a failed apply and the one that completes its work have records, files and ids of their own.
func TestStepsOfARetry(t *testing.T) {
	lose := azuresim.Rule{Method: http.MethodPut, Path: sitePath, Times: 1, Drop: azuresim.DropAfter}
	for name, row := range map[string]struct{ pooled, killed bool }{
		"started providers, a lost answer": {true, false}, "own providers, a lost answer": {false, false},
		"started providers, a killed terraform": {true, true}, "own providers, a killed terraform": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, sim, r := recording(t, row.pooled)
			spec, _ := foundation(t, m)
			faults := azuresim.Faults{Rules: []azuresim.Rule{lose}}
			var once sync.Once
			if row.killed {
				faults = azuresim.Faults{AfterWrite: func(method, path string, _ int) {
					if method != http.MethodPut || !sitePath.MatchString(path) {
						return
					}
					once.Do(func() {
						for _, p := range terraformProcesses(t, m, "apply") {
							kill(t, p)
						}
					})
				}}
			}
			sim.SetFaults(faults)
			outputs, err := m.Provision(t.Context(), testID, spec, nil)
			wantImported(t, outputs, err)
			story := r.story(testID)
			want := []string{
				"1 apply planned 0/1/0", "1 apply applying 0/1/0 applied", "1 apply ended 0/1/0 applied failed",
				"2 apply planned 1/0/0", "2 apply applying 1/0/0 applied", "2 apply ended 1/0/0 applied",
			}
			if diff := cmp.Diff(want, story); diff != "" {
				t.Error(diff)
			}
			if last := r.steps[len(r.steps)-1].Operation.CorrelationID; outputs.Operation.CorrelationID != last {
				t.Errorf("Provision returns the id %s, want that of the last operation, %s", outputs.Operation.CorrelationID, last)
			}
			r.wantOwnIDs(t, sim)
			wantDestroyed(t, m, sim)
		})
	}
}

// TestVerdictThatCannotBeWritten changes nothing in Azure. The apply that was recorded has an end.
func TestVerdictThatCannotBeWritten(t *testing.T) {
	m, sim, r := recording(t, true)
	spec, _ := foundation(t, m)
	r.at = func(s Step) {
		if s.Stage != Applying {
			return
		}
		if err := os.Mkdir(filepath.Join(m.Path(testID), operationFolder(1, applying), verdict), 0o700); err != nil {
			t.Error(err)
		}
	}
	_, err := m.Provision(t.Context(), testID, spec, nil)
	if err == nil || len(sim.Sites()) > 0 {
		t.Errorf("got %v with %v", err, sim.Sites())
	}
	want := []string{
		"1 apply planned 0/1/0", "1 apply applying 0/1/0 applied", "1 apply ended 0/1/0 applied failed",
	}
	if diff := cmp.Diff(want, r.story(testID)); diff != "" {
		t.Error(diff)
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
			op, err := readVerdict(filepath.Join(m.Path(testID), operationFolder(1, applying), verdict))
			if err != nil || op.Applied != (stage == Ended) || strings.Contains(op.Error, errFull.Error()) != (stage != Ended) {
				t.Errorf("the verdict is %+v, %v", op, err)
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
