package workspace

import (
	"context"
	"errors"
	"fmt"
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

// files returns the names and contents of a folder's files.
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

// stateOf returns the content of a state with the test's function app.
func stateOf(lineage string, serial int) string { return stateWith(lineage, serial, testSpec().Name) }

func stateWith(lineage string, serial int, app string) string {
	return fmt.Sprintf(`{"version": 4, "serial": %d, "lineage": %q, "resources": [{"mode": "managed",
		"type": "azurerm_linux_function_app", "name": "this", "instances": [{"attributes": {"id": "/sites/%s"}}]}]}`,
		serial, lineage, app)
}

func TestRepairedState(t *testing.T) {
	good, older, half := stateOf("a", 2), stateOf("a", 1), stateOf("a", 2)[:30]
	type content map[string]string
	for name, row := range map[string]struct{ left, want content }{
		"nothing":             {},
		"whole":               {content{stateFile: good, backupFile: older}, content{stateFile: good, backupFile: older}},
		"older":               {content{stateFile: older}, content{stateFile: older}},
		"created by the lock": {content{stateFile: "", lockInfo: "{}"}, nil},
		"half written":        {content{stateFile: half}, content{stateFile + damaged: half}},
		"half written over another": {
			content{stateFile: half, backupFile: older}, content{stateFile + damaged: half, backupFile: older, stateFile: older},
		},
		"emptied": {content{stateFile: "", backupFile: older}, content{backupFile: older, stateFile: older}},
		"null":    {content{stateFile: "null"}, content{stateFile + damaged: "null"}},
		"a list":  {content{stateFile: "[]"}, content{stateFile + damaged: "[]"}},
		"no state": {
			content{stateFile: "{}", backupFile: older}, content{stateFile + damaged: "{}", backupFile: older, stateFile: older},
		},
		"damaged for the second time": {
			content{stateFile: half, stateFile + damaged: "{}"},
			content{stateFile + damaged: "{}", stateFile + damaged + "-2": half},
		},
		"both half written": {
			content{stateFile: half, backupFile: half}, content{stateFile + damaged: half, backupFile: half},
		},
		"a file that was not renamed":   {content{".tmp-123": half, "main.tf": "x"}, content{"main.tf": "x"}},
		"errored state, half written":   {content{erroredFile: half}, content{erroredFile + damaged: half}},
		"errored state, no state":       {content{erroredFile: "{}"}, content{erroredFile + damaged: "{}"}},
		"errored state, emptied":        {content{erroredFile: ""}, content{erroredFile + damaged: ""}},
		"the file of an import":         {content{importsFile: "{}", "main.tf": "x"}, content{"main.tf": "x"}},
		"files of an import as of 0.10": {content{"imports_override.tf.json": "{}"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range row.left {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			begun(t, dir, Operation{Lineage: "a", Serial: 2})
			m, app := &Manager{cfg: Config{Log: zerolog.Nop()}}, testSpec().Name
			for range 2 { // the second time there is nothing to repair
				if err := errors.Join(m.repair(dir, app), m.pushErrored(t.Context(), &session{dir: dir}, app)); err != nil {
					t.Fatal(err)
				}
				got := files(t, dir)
				if row.want == nil {
					row.want = content{}
				}
				if diff := cmp.Diff(map[string]string(row.want), got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestStateThatStays gives a workspace states that only somebody else can read or owns. Every operation and the garbage
// collection refuse them, and change nothing.
func TestStateThatStays(t *testing.T) {
	for name, row := range map[string]struct {
		content string
		want    error
	}{
		"newer": {strings.Replace(stateOf("a", 1), `"version": 4`, `"version": 5`, 1), ErrNewerState},
		"encrypted": {
			`{"serial":1,"lineage":"a","meta":{"key_provider.pbkdf2.k":"e30="},"encrypted_data":"AAAA",` +
				`"encryption_version":"v0"}`,
			ErrEncryptedState,
		},
		"encrypted in another form": {`{"serial":1,"lineage":"a","encryption_version":"v1"}`, ErrEncryptedState},
		"of another app":            {stateWith("a", 9, "skls-y"), ErrOtherState},
		"of another lineage":        {stateOf("b", 9), ErrOtherState},
	} {
		for _, file := range []string{stateFile, erroredFile} {
			t.Run(name+", "+file, func(t *testing.T) { wantStays(t, file, row.content, row.want) })
		}
	}
}

// wantStays has everything refuse a workspace in which a file has this content.
func wantStays(t *testing.T, file, content string, want error) {
	t.Helper()
	m := &Manager{cfg: Config{Dir: t.TempDir(), Log: zerolog.Nop()}}
	m.cfg.Find = func(context.Context, string) (Found, bool, error) { return Found{}, false, nil }
	dir := m.Path(testID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	begun(t, dir, Operation{Lineage: "a", Serial: 2})
	whole := map[string]string{file: content, "main.tf": "x", lockFile: "y"}
	for name, content := range whole {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := containerOf(testID)
	_, held := m.Holds(t.Context(), c)
	_, destroyed := m.Destroy(t.Context(), c, nil)
	refused := map[string]error{"hold": held, "destroy": destroyed, "repair": m.repair(dir, c.FunctionApp)}
	if content != stateWith("a", 9, "skls-y") { // the archive does not know the app's name
		refused["archive"] = m.Archive(testID)
	}
	if file == erroredFile { // it may also appear between two attempts
		refused["push"] = m.pushErrored(t.Context(), &session{dir: dir}, c.FunctionApp)
	}
	for what, err := range refused {
		if !errors.Is(err, want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if diff := cmp.Diff(whole, files(t, dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := m.Provision(t.Context(), testID, testSpec(), nil); !errors.Is(err, want) {
		t.Errorf("provisioned: %v", err)
	}
	if got := files(t, dir)[file]; got != content {
		t.Errorf("the file holds %q now", got)
	}
}

// TestUnpushedState: a workspace holds what is in errored.tfstate, and a file that cannot be read is not taken for an
// empty one.
func TestUnpushedState(t *testing.T) {
	m := local(t, nil)
	dir, c := m.Path(testID), containerOf(testID)
	path := filepath.Join(dir, erroredFile)
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(path, []byte(stateOf("a", 1)), 0o600))
	if holds, holdsErr := m.Holds(t.Context(), c); err != nil || holdsErr != nil || !holds {
		t.Errorf("holds: %v, %v, %v", holds, err, holdsErr)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	_, held := m.Holds(t.Context(), c)
	_, destroyed := m.Destroy(t.Context(), c, nil)
	for _, err := range []error{held, destroyed, m.Archive(testID)} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a file that cannot be read: %v", err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestStateThatCannotBeRepairedYet keeps the files for the next time.
func TestStateThatCannotBeRepairedYet(t *testing.T) {
	for name, content := range map[string]string{"emptied": "", "half written": `{"serial"`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, backup := filepath.Join(dir, stateFile), filepath.Join(dir, backupFile)
			if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Mkdir(backup, 0o700)); err != nil {
				t.Fatal(err)
			}
			m := &Manager{cfg: Config{Log: zerolog.Nop()}}
			if err := m.repair(dir, ""); err == nil {
				t.Error("a backup that cannot be read was accepted")
			}
			good := stateOf("a", 1)
			err := errors.Join(os.Remove(backup), os.WriteFile(backup, []byte(good), 0o600), m.repair(dir, ""))
			if err != nil {
				t.Fatal(err)
			}
			if state := files(t, dir)[stateFile]; state != good {
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
	if err := m.repair(dir, ""); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want a refusal", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the state of an operation that goes on was repaired: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.repair(dir, ""); err != nil {
		t.Error(err)
	}
}

func TestLeftoverProcessesAreEnded(t *testing.T) {
	ours, others := local(t, nil), local(t, nil)
	start := func(m *Manager) *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		cmd.Env = []string{"A=b", cliConfigEnv + "=" + m.env[cliConfigEnv], "C=d"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	leftover, other := start(ours), start(others)
	if err := ours.EndLeftoverProcesses(); err != nil {
		t.Fatal(err)
	}
	if err := leftover.Wait(); err == nil || leftover.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the leftover process ended with %v", err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another daemon's process was ended: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = other.Wait() // it was killed
}

// TestKilledOperations leaves workspaces as killed operations do, and goes on in them.
func TestKilledOperations(t *testing.T) {
	m, sim := cloud(t)
	spec, _ := foundation(t, m)
	dir := m.Path(testID)
	state := filepath.Join(dir, stateFile)
	killed := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		begun(t, dir, Operation{})
	}
	provision(t, m, spec)
	t.Run("half a state", func(t *testing.T) {
		content, err := os.ReadFile(state)
		if err != nil {
			t.Fatal(err)
		}
		killed(t, errors.Join(
			os.WriteFile(state, content[:len(content)/2], 0o600), remove(dir, backupFile),
			os.RemoveAll(filepath.Join(dir, ".terraform", "providers")), remove(dir, ".terraform/initialized"),
			os.WriteFile(filepath.Join(dir, "apply.tfplan"), content[:100], 0o600),
		))
		outputs, err := m.Provision(t.Context(), testID, spec, nil)
		wantImported(t, outputs, err)
		if len(sim.Sites()) != 1 {
			t.Errorf("function apps: %v", sim.Sites())
		}
	})
	t.Run("a state that could not be written", func(t *testing.T) {
		killed(t, errors.Join(os.Rename(state, filepath.Join(dir, erroredFile)), remove(dir, backupFile)))
		if op := wantDestroyed(t, m, sim); op.Plan != (Changes{Destroy: 1}) {
			t.Errorf("got %+v", op.Plan)
		}
		if _, err := os.Stat(filepath.Join(m.ArchivePath(testID), erroredFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	})
}
