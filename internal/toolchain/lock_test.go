package toolchain

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// holdEnv, in the environment of this test binary, turns it into a process that holds the lock of azurerm in the
// cache folder that the variable names, until its stdin ends.
const holdEnv = "TOOLCHAIN_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		if err := hold(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func hold(dir string) error {
	p := &preparer{Config: Config{CacheDir: dir, progressTick: time.Second}, progress: newProgress(nil, time.Hour)}
	return p.locked(context.Background(), p.azurermArtefact(), func(string) error {
		p.working("building azurerm: 7 of 9 packages, 3s")
		fmt.Println("held")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	})
}

// holder is another process that holds the lock of azurerm.
type holder struct {
	pid     int
	release func()
}

func (f *fixture) hold(t *testing.T) holder {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+f.CacheDir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release := sync.OnceFunc(func() {
		if err := stdin.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process with the lock: %v", err)
		}
	})
	t.Cleanup(release)
	ready := make([]byte, len("held\n"))
	if _, err := io.ReadFull(stdout, ready); err != nil {
		t.Fatal(err)
	}
	return holder{cmd.Process.Pid, release}
}

func TestReadyToolsWaitForNobody(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	first := f.prepare(t) // builds both
	f.hold(t)
	waiting := false
	f.Progress = onProgress(func(string) { waiting = true })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again, err := Prepare(ctx, f.Config)
	if err != nil || again != first || waiting {
		t.Errorf("got %+v, %v, progress: %v; want the tools at once", again, err, waiting)
	}
}

// TestBuildDoesNotWaitForAnotherArtefact has a process build OpenTofu while another one holds the lock of azurerm.
func TestBuildDoesNotWaitForAnotherArtefact(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	h := f.hold(t)
	f.progressInterval = time.Nanosecond
	builds := -1
	f.Progress = onProgress(func(line string) {
		f.progress.mu.Lock()
		f.progress.buf.WriteString(line)
		f.progress.mu.Unlock()
		if builds < 0 && strings.HasPrefix(line, "waiting for azurerm") {
			builds = f.builds(t)
			h.release()
		}
	})
	f.prepare(t)
	if builds != 1 || f.builds(t) != 2 {
		t.Errorf("%d builds before azurerm's lock was free and %d in the end, want 1 and 2", builds, f.builds(t))
	}
}

func TestWaitingNamesTheOtherProcess(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	f.script(t, "terraform", "Terraform", "1.11.4")
	h := f.hold(t)
	var first string
	f.Progress = onProgress(func(line string) {
		if first == "" {
			first = line
			h.release()
		}
	})
	f.prepare(t)
	for _, word := range []string{
		"waiting for azurerm " + ProviderVersion + ": process " + strconv.Itoa(h.pid) + " (toolchain.test)",
		"is building azurerm: 7 of 9 packages, 3s",
	} {
		if !strings.Contains(first, word) {
			t.Errorf("the first line is %q, want %q in it", first, word)
		}
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	f := setup(t)
	f.script(t, "terraform", "Terraform", "1.11.4")
	f.hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.Progress = onProgress(func(string) { cancel() })
	if _, err := Prepare(ctx, f.Config); err == nil || !strings.Contains(err.Error(), "lock azurerm") ||
		!strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v, want the lock and the cancellation", err)
	}
}

func TestTwoAtOnceBuildOnce(t *testing.T) {
	f := setup(t)
	f.withGo(t)
	f.script(t, "terraform", "Terraform", "1.11.4")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Prepare(t.Context(), f.Config); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.builds(t) != 1 {
		t.Errorf("built %d times, want once", f.builds(t))
	}
}
