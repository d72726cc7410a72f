package azuretest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// recorder is a test that records how it ended.
type recorder struct {
	testing.TB
	failed, skipped string
	cleanups        []func()
}

func (r *recorder) Helper()           {}
func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any) { r.failed += fmt.Sprint(args...) }
func (r *recorder) Fatal(args ...any) { r.failed += fmt.Sprint(args...); runtime.Goexit() }
func (r *recorder) Skipf(f string, args ...any) {
	r.skipped = fmt.Sprintf(f, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(f string, args ...any) {
	r.failed += fmt.Sprintf(f, args...)
	runtime.Goexit()
}

// record runs a test and returns how it ended.
func record(t *testing.T, test func(testing.TB)) *recorder {
	t.Helper()
	r, done := &recorder{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r
}

// setShort sets -short for the length of a test.
func setShort(t *testing.T, value string) {
	t.Helper()
	before := flag.Lookup("test.short").Value.String()
	if err := flag.Set("test.short", value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flag.Set("test.short", before); err != nil {
			t.Error(err)
		}
	})
}

func TestNeedsSkipsOnlyUnderShort(t *testing.T) {
	needs := map[string]func(testing.TB){
		"what":    func(t testing.TB) { Needs(t, "no-such-program") },
		"program": func(t testing.TB) { NeedsProgram(t, "no-such-program") },
	}
	for name, test := range needs {
		t.Run("short/"+name, func(t *testing.T) {
			setShort(t, "true")
			if r := record(t, test); !strings.Contains(r.skipped, "no-such-program") || r.failed != "" {
				t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
			}
		})
	}
	t.Run("long", func(t *testing.T) {
		setShort(t, "false")
		if r := record(t, needs["what"]); r.skipped+r.failed != "" {
			t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
		}
		if r := record(t, needs["program"]); r.skipped != "" || !strings.Contains(r.failed, "no-such-program") {
			t.Errorf("skipped %q, failed %q, want a failure", r.skipped, r.failed)
		}
		if path := NeedsProgram(t, "go"); filepath.Base(path) != "go" {
			t.Errorf("go is %q", path)
		}
	})
}

func TestShortDirHoldsSockets(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), strings.Repeat("long", 20)))
	var dir string
	r := record(t, func(t testing.TB) { dir = ShortDir(t) })
	if r.failed != "" {
		t.Fatal(r.failed)
	}
	l, err := net.Listen("unix", filepath.Join(dir, strings.Repeat("s", 108-maxShortDir-2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, f := range r.cleanups {
		f()
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func TestEventually(t *testing.T) {
	calls := 0
	third := func() bool { calls++; return calls == 3 }
	if r := record(t, func(t testing.TB) { Eventually(t, "third", third) }); r.failed != "" || calls != 3 {
		t.Errorf("failed %q after %d calls", r.failed, calls)
	}
	r := record(t, func(t testing.TB) { eventually(t, "never", func() bool { return false }, time.Millisecond) })
	if !strings.Contains(r.failed, "never: not within 1ms") {
		t.Errorf("got %q, want a failure", r.failed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r = record(t, func(t testing.TB) {
		eventually(cancelled{t, ctx}, "late", func() bool { return false }, time.Hour)
	})
	if !strings.Contains(r.failed, "late: context canceled") {
		t.Errorf("got %q, want a failure", r.failed)
	}
}

// cancelled is a test with a context of its own.
type cancelled struct {
	testing.TB
	ctx context.Context
}

func (c cancelled) Context() context.Context { return c.ctx }

func TestClocks(t *testing.T) {
	clock := NewClock()
	began := clock.Now()
	fired := clock.After(time.Minute)
	clock.Advance(time.Minute)
	if at := <-fired; at.Sub(began) != time.Minute || !clock.Now().Equal(at) {
		t.Errorf("the timer fired at %v, the clock shows %v", at, clock.Now())
	}
	var shifted ShiftedClock
	shifted.Advance(time.Hour)
	if ahead := time.Until(shifted.Now()); ahead < 59*time.Minute || ahead > time.Hour {
		t.Errorf("the clock is %v ahead, want an hour", ahead)
	}
}

func TestCredential(t *testing.T) {
	request := policy.TokenRequestOptions{Scopes: []string{"a", "b"}}
	failure := errors.New("no token")
	for name, row := range map[string]struct {
		credential Credential
		want, err  string
	}{
		"scopes":      {Credential{}, "a b", ""},
		"token":       {Credential{Token: "t", Scope: "a b"}, "t", ""},
		"error":       {Credential{Token: "t", Err: failure}, "", "no token"},
		"other scope": {Credential{Token: "t", Scope: "c"}, "", `a token for scope "a b" was requested, want "c"`},
	} {
		token, err := row.credential.GetToken(t.Context(), request)
		if token.Token != row.want || (err == nil) != (row.err == "") || err != nil && err.Error() != row.err {
			t.Errorf("%s: got %q, %v", name, token.Token, err)
		}
		if err == nil && time.Until(token.ExpiresOn) < 50*time.Minute {
			t.Errorf("%s: it expires at %v", name, token.ExpiresOn)
		}
	}
}

func TestProcesses(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v=false", "a b")
	cmd.Env = []string{"AZURETEST_CHILD=first", "AZURETEST_CHILD=yes"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var found []Process
	Eventually(t, "the child", func() bool {
		found = Processes(t, func(p Process) bool { return p.Getenv("AZURETEST_CHILD") == "yes" })
		return len(found) > 0
	})
	p := found[0]
	if len(found) != 1 || p.PID != cmd.Process.Pid || p.Parent != os.Getpid() || p.Exe != exe(t) {
		t.Errorf("got %+v", found)
	}
	if len(p.Args) != 4 || p.Args[3] != "a b" || !strings.HasSuffix(p.String(), " a b") || p.Name == "" ||
		p.Getenv("AZURETEST") != "" {
		t.Errorf("got %+v, %s", p, p)
	}
	if all := Children(t); len(all) != 1 || all[0].PID != cmd.Process.Pid {
		t.Errorf("children: %v", all)
	}
	if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
	if all := Children(t); len(all) != 0 {
		t.Errorf("children: %v, want none", all)
	}
}

func exe(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBuildProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(path, BuildProgram(t, "./testdata/hello"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path).CombinedOutput(); err != nil || string(out) != "hello\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if first, second := BuildProgram(t, "./testdata/hello"), BuildProgram(t, "./testdata/hello"); &first[0] != &second[0] {
		t.Error("the program was built twice")
	}
	r := record(t, func(t testing.TB) { BuildProgram(t, "./testdata/broken") })
	if !strings.Contains(r.failed, "undefined: nonsense") {
		t.Errorf("got %q, want the compiler's message", r.failed)
	}
}

// TestChild is the child process of TestProcesses: it lives until its standard input ends.
func TestChild(t *testing.T) {
	if os.Getenv("AZURETEST_CHILD") == "" {
		return
	}
	var b [1]byte
	if _, err := os.Stdin.Read(b[:]); err == nil {
		t.Error("standard input goes on")
	}
}
