package workspace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// files are the names and contents of a folder's files.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, entry := range entries {
		if content, err := os.ReadFile(filepath.Join(dir, entry.Name())); err == nil {
			found[entry.Name()] = string(content)
		}
	}
	return found
}

func TestMendedState(t *testing.T) {
	const good, older, half = `{"serial": 2}`, `{"serial": 1}`, `{"serial"`
	for name, row := range map[string]struct{ left, want map[string]string }{
		"nothing":                     {},
		"whole":                       {map[string]string{stateFile: good, backupFile: older}, map[string]string{stateFile: good, backupFile: older}},
		"made by the lock":            {map[string]string{stateFile: "", lockInfo: "{}"}, map[string]string{}},
		"half written":                {map[string]string{stateFile: half}, map[string]string{stateFile + damaged: half}},
		"half written over another":   {map[string]string{stateFile: half, backupFile: older}, map[string]string{stateFile + damaged: half, backupFile: older, stateFile: older}},
		"emptied":                     {map[string]string{stateFile: "", backupFile: older}, map[string]string{backupFile: older, stateFile: older}},
		"both half written":           {map[string]string{stateFile: half, backupFile: half}, map[string]string{stateFile + damaged: half, backupFile: half}},
		"a file that was not renamed": {map[string]string{".tmp-123": half, "main.tf": "x"}, map[string]string{"main.tf": "x"}},
		"errored state, half written": {map[string]string{erroredFile: half}, map[string]string{erroredFile + damaged: half}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range row.left {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m := &Manager{cfg: Config{Log: zerolog.Nop()}}
			for range 2 { // the second time there is nothing to mend
				if err := errors.Join(m.mend(dir), m.pushErrored(t.Context(), dir, &session{})); err != nil {
					t.Fatal(err)
				}
				if row.want == nil {
					row.want = map[string]string{}
				}
				if diff := cmp.Diff(row.want, files(t, dir)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestStateThatCannotBeMendedYet keeps what there is for the next time.
func TestStateThatCannotBeMendedYet(t *testing.T) {
	for name, content := range map[string]string{"emptied": "", "half written": `{"serial"`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, backup := filepath.Join(dir, stateFile), filepath.Join(dir, backupFile)
			if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Mkdir(backup, 0o700)); err != nil {
				t.Fatal(err)
			}
			m := &Manager{cfg: Config{Log: zerolog.Nop()}}
			if err := m.mend(dir); err == nil {
				t.Error("a backup that cannot be read is no error")
			}
			if err := errors.Join(os.Remove(backup), os.WriteFile(backup, []byte("{}"), 0o600), m.mend(dir)); err != nil {
				t.Fatal(err)
			}
			if state := files(t, dir)[stateFile]; state != "{}" {
				t.Errorf("the state is %q, want the backup", state)
			}
		})
	}
}

func TestStateInUse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	// Of an open file description, since a process does not see its own locks.
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	m := &Manager{cfg: Config{Log: zerolog.Nop()}}
	if err := m.mend(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want a refusal", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the state of a run that goes on was mended: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.mend(dir); err != nil {
		t.Error(err)
	}
}

func TestStraysAreEnded(t *testing.T) {
	manager := func() *Manager {
		m, err := New(Config{Dir: t.TempDir(), Terraform: "none", SubscriptionID: "s", Find: noFind, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ours, others := manager(), manager()
	start := func(m *Manager) *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		cmd.Env = []string{"A=b", cliConfigEnv + "=" + m.env[cliConfigEnv], "C=d"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	stray, other := start(ours), start(others)
	if err := ours.EndLeftoverProcesses(); err != nil {
		t.Fatal(err)
	}
	if err := stray.Wait(); err == nil || stray.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the stray ended with %v", err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another daemon's process was ended: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = other.Wait() // it was killed
}

// TestMendedWorkspaces leaves workspaces as killed runs do, and goes on in them.
func TestMendedWorkspaces(t *testing.T) {
	m, sim := cloud(t)
	spec, shared := foundation(t, m)
	dir := m.Path(testID)
	state := filepath.Join(dir, stateFile)
	killed := func(t *testing.T) {
		t.Helper()
		if err := writeVerdict(dir, applying, Operation{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Provision(t.Context(), testID, spec); err != nil {
		t.Fatal(err)
	}

	t.Run("half a state", func(t *testing.T) {
		content, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(state, content[:len(content)/2], 0o600), remove(dir, backupFile), os.RemoveAll(filepath.Join(dir, ".terraform", "providers")),
			remove(dir, ".terraform/initialized"), os.WriteFile(filepath.Join(dir, "apply.tfplan"), content[:100], 0o600)); err != nil {
			t.Fatal(err)
		}
		killed(t)
		made, err := m.Provision(t.Context(), testID, spec)
		if err != nil || made.Operation.Plan.Add != 0 || made.Operation.Plan.Destroy != 0 || len(sim.Sites()) != 1 {
			t.Errorf("got %+v, %v with %v; want the app imported", made.Operation.Plan, err, sim.Sites())
		}
	})
	t.Run("a state that could not be written", func(t *testing.T) {
		if err := errors.Join(os.Rename(state, filepath.Join(dir, erroredFile)), remove(dir, backupFile)); err != nil {
			t.Fatal(err)
		}
		killed(t)
		run, err := m.Destroy(t.Context(), testID)
		if err != nil || run.Plan != (Changes{Destroy: 1}) || len(sim.Sites()) != 0 {
			t.Errorf("got %+v, %v with %v", run.Plan, err, sim.Sites())
		}
		if _, err := os.Stat(filepath.Join(m.ArchivePath(testID), erroredFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	})
	t.Run("a foundation whose folder was lost", func(t *testing.T) {
		lost := func() {
			if err := os.RemoveAll(filepath.Join(m.cfg.Dir, "foundation")); err != nil {
				t.Fatal(err)
			}
		}
		before := len(sim.Resources())
		lost()
		made, err := m.Foundation(t.Context(), shared)
		if err != nil || made.Operation.Plan.Add != 0 || made.Operation.Plan.Destroy != 0 || made.ServicePlanID == "" || len(sim.Resources()) != before {
			t.Errorf("got %+v, %v; want it imported", made.Operation.Plan, err)
		}
		lost()
		shared.Tags = map[string]string{OwnerTag: "another"}
		if _, err := m.Foundation(t.Context(), shared); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `sockerless-owner="test"`) {
			t.Errorf("got %v, want it refused as another's", err)
		}
	})
}
