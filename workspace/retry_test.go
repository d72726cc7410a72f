package workspace

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/tfmodules"
	"github.com/sockerless/backend-azf/workspace/provider"
)

// script writes a shell script, and returns its path.
func script(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+content+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

const lockMessage = "Error acquiring the state lock: state blob is already locked\nLock Info:\n  ID:        4b1d\n" +
	"  Path:      states/v1\n  Operation: OperationTypeApply\n  Who:       root@ci\n  Version:   1.11.4\n" +
	"  Created:   2026-11-25 12:00:00.5 +0000 UTC\n  Info:      \n"

// failing is a task in one container's workspace. Its first attempts fail with err, as many as failures. calls counts
// the attempts, and sessions holds the session of each.
type failing struct {
	m        *Manager
	err      error
	failures int
	dead     DeadHolder
	applies  []importable
	removes  []importable
	before   func(*session) // each attempt

	calls    int
	sessions []session
}

func (f *failing) retry(t *testing.T) error {
	t.Helper()
	return f.m.retry(t.Context(), task{
		dir: f.m.Path(testID), name: testSpec().Name, dead: f.dead, applies: f.applies, removes: f.removes,
		do: func(_ context.Context, s *session) error {
			f.calls++
			f.sessions = append(f.sessions, *s)
			if f.before != nil {
				f.before(s)
			}
			if f.calls <= f.failures {
				return f.err
			}
			return nil
		},
	})
}

func failedWith(step, message string) error {
	return &TerraformError{Step: step, Dir: "/w", Diagnostics: []string{message}, Err: errors.New("exit status 1")}
}

// reasonFixtures prepare a task that fails, one for each reason in the table of the package comment. The function that
// they return checks the cure.
var reasonFixtures = map[string]func(*testing.T, *failing) (cured func(*testing.T)){
	"provider": func(t *testing.T, f *failing) func(*testing.T) {
		f.err = failedWith("plan", `Invalid resource type: The provider does not support resource type "x".`)
		f.m.cfg.Providers = startPool(t, provider.Config{
			Path: script(t, "exit 1"), Dir: filepath.Join(azuretest.ShortDir(t), "p"), Log: zerolog.Nop(),
		})
		// The pool cannot lease a process, so the first attempt does not get as far as the task.
		return func(t *testing.T) {
			if f.m.fallbacks.Load() != 1 || !f.sessions[0].unpooled {
				t.Errorf("got %d fallbacks and %+v", f.m.fallbacks.Load(), f.sessions[0])
			}
		}
	},
	"killed": func(t *testing.T, f *failing) func(*testing.T) {
		f.err = &TerraformError{Step: "plan", Dir: "/w", Err: exec.Command("sh", "-c", "kill -9 $$").Run()}
		dir := f.m.Path(testID)
		if err := os.WriteFile(filepath.Join(dir, stateFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var child *exec.Cmd // of the killed terraform
		f.before = func(s *session) {
			if child != nil {
				return
			}
			child = exec.Command("sleep", "1000")
			child.Env = []string{correlationEnv + "=" + s.correlation}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
		}
		return func(t *testing.T) {
			if err := child.Wait(); err == nil {
				t.Error("the provider of the killed terraform goes on")
			}
			if _, err := os.Stat(filepath.Join(dir, stateFile)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the workspace was not repaired: %v", err)
			}
		}
	},
	"unreadable": func(_ *testing.T, f *failing) func(*testing.T) {
		f.err = failedWith("plan", "unexpected status 403")
		f.removes = ofTestApp(f.m)
		return func(t *testing.T) {
			if f.sessions[0].stateOnly || !f.sessions[1].stateOnly {
				t.Errorf("got %+v, want the second attempt to read nothing", f.sessions)
			}
		}
	},
	"gone": func(t *testing.T, f *failing) func(*testing.T) {
		f.err = failedWith("apply", "unexpected status 404")
		f.removes = ofTestApp(f.m)
		called := filepath.Join(t.TempDir(), "called")
		f.m.cfg.Terraform = script(t, `echo "$@" >>`+called)
		f.m.cfg.Package = Package{Dir: "/nowhere", Path: "azurerm", LockFile: "# none"}
		return func(t *testing.T) {
			commands, err := os.ReadFile(called)
			if err != nil || !strings.Contains(string(commands), "state rm") ||
				!strings.Contains(string(commands), "azurerm_linux_function_app.this") {
				t.Errorf("terraform was called with %q, %v", commands, err)
			}
		}
	},
	"init": func(t *testing.T, f *failing) func(*testing.T) {
		f.err = failedWith("plan", "Error: Inconsistent dependency lock file")
		dir := f.m.Path(testID)
		if err := os.MkdirAll(filepath.Join(dir, ".terraform"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{marker, lockFile} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return func(t *testing.T) {
			for _, name := range []string{marker, lockFile} {
				if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", name, err)
				}
			}
			if f.sessions[0].needs.init || !f.sessions[1].needs.init || f.sessions[1].ready {
				t.Errorf("got %+v, want terraform init before the second attempt", f.sessions)
			}
		}
	},
	"lock": func(t *testing.T, f *failing) func(*testing.T) {
		f.err = failedWith("plan", lockMessage)
		called := filepath.Join(t.TempDir(), "called")
		f.m.cfg.Terraform = script(t, `echo "$@" >>`+called)
		f.m.cfg.Package = Package{Dir: "/nowhere", Path: "azurerm", LockFile: "# none"}
		var asked []Lock
		f.dead = func(_ context.Context, lock Lock) (bool, error) {
			asked = append(asked, lock)
			return true, nil
		}
		return func(t *testing.T) {
			want := []Lock{{ID: "4b1d", Who: "root@ci", Created: time.Date(2026, 11, 25, 12, 0, 0, 5e8, time.UTC)}}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Error(diff)
			}
			commands, err := os.ReadFile(called)
			if err != nil || string(commands) != "force-unlock -no-color -force 4b1d\n" {
				t.Errorf("terraform was called with %q, %v", commands, err)
			}
		}
	},
	"leftover": func(t *testing.T, f *failing) func(*testing.T) {
		f.err = failedWith("apply", "unexpected status 500")
		begun(t, f.m.Path(testID), Operation{})
		f.applies = ofTestApp(f.m)
		looked := 0
		f.m.cfg.Find = func(_ context.Context, id string) (Found, bool, error) {
			looked++
			return Found{ID: id, Tags: map[string]string{IDTag: testID}}, id == f.applies[0].id, nil
		}
		return func(t *testing.T) {
			if looked != 1 {
				t.Errorf("looked for the app %d times", looked)
			}
		}
	},
}

// failingFor returns a task that fails for a reason.
func failingFor(t *testing.T, reason string) (f *failing, cured func(*testing.T)) {
	t.Helper()
	f = &failing{m: local(t, nil)}
	if err := f.m.render(f.m.Path(testID), tfmodules.FunctionApp(), testSpec()); err != nil {
		t.Fatal(err)
	}
	return f, reasonFixtures[reason](t, f)
}

func TestEachReasonIsRetriedOnce(t *testing.T) {
	for _, reason := range reasons {
		t.Run(reason.name, func(t *testing.T) {
			t.Run("cured", func(t *testing.T) {
				f, cured := failingFor(t, reason.name)
				f.failures = 1
				want := 2
				if reason.name == "provider" { // the pool has failed the attempt before the task
					f.failures, want = 0, 1
				}
				if err := f.retry(t); err != nil || f.calls != want {
					t.Errorf("got %v after %d attempts", err, f.calls)
				}
				cured(t)
			})
			t.Run("recurring", func(t *testing.T) {
				f, _ := failingFor(t, reason.name)
				f.failures = 10
				want := 2
				if reason.name == "provider" {
					want = 1
				}
				if err := f.retry(t); !errors.Is(err, f.err) || f.calls != want {
					t.Errorf("got %v after %d attempts, want the failure after %d", err, f.calls, want)
				}
			})
		})
	}
}

// TestReasonsFollowEachOther lets an operation fail for one reason after another. Each is retried once, and no further.
func TestReasonsFollowEachOther(t *testing.T) {
	f := &failing{m: local(t, nil)}
	if err := f.m.render(f.m.Path(testID), tfmodules.FunctionApp(), testSpec()); err != nil {
		t.Fatal(err)
	}
	var failures []error
	for _, reason := range []string{"init", "lock", "leftover"} {
		reasonFixtures[reason](t, f)
		failures = append(failures, f.err)
	}
	failures = append(failures, failures...)
	calls := 0
	err := f.m.retry(t.Context(), task{
		dir: f.m.Path(testID), dead: f.dead, applies: f.applies,
		do: func(_ context.Context, s *session) error {
			s.ready = true // there is no terraform that could be initialised
			calls++
			return failures[calls-1]
		},
	})
	if calls != 4 || !errors.Is(err, failures[3]) {
		t.Errorf("got %v after %d attempts, want the second failure for want of init after 4", err, calls)
	}
}

func TestWhatIsNotRetried(t *testing.T) {
	owner := errors.New("the owner is unknown")
	for name, row := range map[string]struct {
		err  error
		dead DeadHolder
		want error
	}{
		"another error":                {failedWith("apply", "unexpected status 403"), nil, nil},
		"an error of ours":             {errors.New("Inconsistent dependency lock file"), nil, nil},
		"a lock, nobody knows whose":   {failedWith("plan", lockMessage), nil, nil},
		"a lock of a living operation": {failedWith("plan", lockMessage), dead(false, nil), nil},
		"a lock of an unknown owner":   {failedWith("plan", lockMessage), dead(false, owner), owner},
		"a plan that failed":           {failedWith("plan", "unexpected status 500"), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := failingFor(t, "leftover") // Azure holds an app that the state does not know
			f.err, f.dead, f.failures = row.err, row.dead, 10
			if name == "another error" {
				f.applies = nil
			}
			err := f.retry(t)
			if !errors.Is(err, row.err) || row.want != nil && !errors.Is(err, row.want) || f.calls != 1 {
				t.Errorf("got %v after %d attempts", err, f.calls)
			}
		})
	}
	t.Run("a leftover that the attempt imported itself", func(t *testing.T) {
		f, _ := failingFor(t, "leftover")
		calls := 0
		err := f.m.retry(t.Context(), task{
			dir: f.m.Path(testID), applies: f.applies,
			do: func(_ context.Context, s *session) error {
				calls++
				s.importing = []string{f.applies[0].Address}
				return f.err
			},
		})
		if !errors.Is(err, f.err) || calls != 1 {
			t.Errorf("got %v after %d attempts", err, calls)
		}
	})
	t.Run("an operation that was cancelled", func(t *testing.T) {
		f, _ := failingFor(t, "init")
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		err := f.m.retry(ctx, task{dir: f.m.Path(testID), do: func(context.Context, *session) error {
			calls++
			cancel()
			return f.err
		}})
		if !errors.Is(err, f.err) || calls != 1 {
			t.Errorf("got %v after %d attempts", err, calls)
		}
	})
}

func dead(is bool, err error) DeadHolder {
	return func(context.Context, Lock) (bool, error) { return is, err }
}

func TestLockThatCannotBeRemoved(t *testing.T) {
	f, _ := failingFor(t, "lock")
	f.failures = 10
	f.m.cfg.Terraform = script(t, "echo no such lock >&2; exit 1")
	err := f.retry(t)
	if !errors.Is(err, f.err) || !strings.Contains(err.Error(), "remove the lock 4b1d of root@ci") || f.calls != 1 {
		t.Errorf("got %v after %d attempts", err, f.calls)
	}
}

// TestPackageCommentNamesTheReasons compares the table in the package comment with the loop's.
func TestPackageCommentNamesTheReasons(t *testing.T) {
	content, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(content), "//\treason ")
	table, _, _ = strings.Cut(table, "\n//\n")
	var named, want []string
	for line := range strings.SplitSeq(table, "\n") {
		if name, _, _ := strings.Cut(strings.TrimPrefix(line, "//\t"), " "); strings.HasPrefix(line, "//\t") && name != "" {
			named = append(named, name)
		}
	}
	for _, reason := range reasons {
		want = append(want, reason.name)
		if reasonFixtures[reason.name] == nil {
			t.Errorf("no test makes an operation fail for %s", reason.name)
		}
	}
	if diff := cmp.Diff(want, named); diff != "" {
		t.Error(diff)
	}
}
