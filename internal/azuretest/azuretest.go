// Package azuretest is the test kit that every package of this module may use: it imports none of them. Only tests
// import it, and packages that only tests import. What needs the simulator or Terraform is in azuretest/cloudtest.
//
//	azuretest.Needs(t, "PostgreSQL")         // go test -short leaves this test out
//	azuretest.NeedsProgram(t, "docker")      // the same, and the test fails where docker is not on PATH
//	azuretest.NeedsIsolation(t, container.Supported) // the test fails where containers get no root of their own
//	dir := azuretest.ShortDir(t)             // for unix sockets, removed with the test
//	clock := azuretest.NewClock()            // cfg.Now = clock.Now; clock.Advance(time.Minute)
//	cred := azuretest.Credential{}           // an azcore.TokenCredential that asks nobody
//	azuretest.Eventually(t, "the file exists", func() bool { ... })
//	azuretest.Children(t)                    // processes that this one started; see also Processes
//	azuretest.BuildProgram(t, "./testdata/x") // a main package's binary, built once
package azuretest

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// Needs skips the test under go test -short, because the test needs more than Go. what names the need, such as
// "terraform". Without -short, the caller must fail the test where the need is missing, and never skip it.
func Needs(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("-short leaves out tests that need %s", what)
	}
}

// NeedsProgram calls Needs, and fails the test if the program is not on PATH. It returns the program's path.
func NeedsProgram(t testing.TB, name string) string {
	t.Helper()
	Needs(t, name)
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs %s (make programs installs it where it may): %v", name, err)
	}
	return path
}

// NeedsIsolation fails the test if containers of the simulator get no root of their own here. supported is
// container.Supported, whose error says what to do. This package must not import it.
func NeedsIsolation[Isolation any](t testing.TB, supported func() (Isolation, error)) {
	t.Helper()
	if _, err := supported(); err != nil {
		t.Fatalf("this test needs isolated containers: %v", err)
	}
}

// maxShortDir leaves room for a name in the 108 bytes that Linux allows for the path of a unix socket.
const maxShortDir = 60

// ShortDir returns a new folder whose path is at most 60 bytes long, so that it can hold unix sockets. It is removed
// with the test, which fails if that is impossible.
func ShortDir(t testing.TB) string {
	t.Helper()
	parent := os.TempDir()
	if len(parent) > maxShortDir/2 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "azf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Intervals and the limit of Eventually.
const (
	pollInterval = 20 * time.Millisecond
	pollLimit    = 5 * time.Minute
)

// Eventually blocks until the condition holds, and fails the test after five minutes. It is for conditions that nothing
// announces: a file, a line in a log, a process that ends. what names the condition, for the failure.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	eventually(t, what, condition, pollLimit)
}

func eventually(t testing.TB, what string, condition func() bool, limit time.Duration) {
	t.Helper()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	late := time.NewTimer(limit)
	defer late.Stop()
	for !condition() {
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		case <-late.C:
			t.Fatalf("%s: not within %v", what, limit)
		case <-ticker.C:
		}
	}
}
