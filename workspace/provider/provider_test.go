package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/azuretest/cloudtest"
)

// azurerm returns a running pool of the real provider.
func azurerm(t *testing.T, change func(*Config)) *Pool {
	t.Helper()
	tools := cloudtest.Tools(t)
	return running(t, func(cfg *Config) {
		cfg.Path = tools.ProviderPath
		if change != nil {
			change(cfg)
		}
	})
}

// running returns a started pool, and checks after the test that it has left nothing behind.
func running(t *testing.T, change func(*Config)) *Pool {
	t.Helper()
	cfg := Config{
		Env: map[string]string{"PATH": os.Getenv("PATH")}, Dir: filepath.Join(t.TempDir(), "p"), Log: zerolog.Nop(),
	}
	change(&cfg)
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	dir := p.dir
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left := azuretest.Children(t); len(left) > 0 {
			t.Errorf("processes left: %v", left)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	})
	return p
}

// settled waits until no process is being started, and returns the idle ones.
func (p *Pool) settled() (pids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.starting > 0 {
		p.changed.Wait()
	}
	for _, proc := range p.idle {
		pids = append(pids, proc.pid)
	}
	return pids
}

func lease(t *testing.T, p *Pool, types ...string) *Lease {
	t.Helper()
	l, err := p.Lease(t.Context(), Request{Types: types})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	return l
}

// alive reports whether a process exists, and not only its entry.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestProcessesAreStartedAheadAndServeOneOperation(t *testing.T) {
	p := azurerm(t, func(cfg *Config) { cfg.Size = 2 })
	ahead := p.settled()
	if len(ahead) != 2 {
		t.Fatalf("%d processes are started ahead, want 2", len(ahead))
	}
	first, second, third := lease(t, p), lease(t, p), lease(t, p)
	pids := []int{first.PID(), second.PID(), third.PID()}
	ids := []string{first.CorrelationID(), second.CorrelationID(), third.CorrelationID()}
	slices.Sort(pids)
	slices.Sort(ids)
	if len(slices.Compact(pids)) != 3 || len(slices.Compact(ids)) != 3 ||
		!slices.Contains(ahead, first.PID()) || !slices.Contains(ahead, second.PID()) {
		t.Errorf("got processes %v with %v, of which %v were ahead", pids, ids, ahead)
	}
	first.Release()
	first.Release()
	if again := p.settled(); len(again) != 2 || slices.Contains(again, first.PID()) {
		t.Errorf("idle are %v after %v was released, want two others", again, first.PID())
	}
	if err := second.Broken(); err != nil {
		t.Error(err)
	}
}

func TestSchemaIsThatOfTheProvider(t *testing.T) {
	p := azurerm(t, nil)
	const app = "azurerm_linux_function_app"
	whole, err := call(t.Context(), dial(t, lease(t, p, "azurerm_no_such").Socket()), methodSchema, "")
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, lease(t, p, app).Socket())
	part, err := call(t.Context(), conn, methodSchema, "")
	if err != nil || len(whole) < 1<<20 || len(part) > len(whole)/10 ||
		!strings.Contains(part, app) || strings.Contains(part, "azurerm_kubernetes_cluster") {
		t.Errorf("the schema has %d bytes and its part %d, %v", len(whole), len(part), err)
	}
	identities, err := call(t.Context(), conn, methodIdentities, "")
	if err != nil || strings.Contains(identities, "azurerm_kubernetes_cluster") {
		t.Errorf("identities: %d bytes, %v", len(identities), err)
	}
}

func TestReuse(t *testing.T) {
	p := azurerm(t, func(cfg *Config) { cfg.Reuse, cfg.Size = 3, 1 })
	pid := p.settled()[0]
	for range 3 {
		l := lease(t, p)
		if l.PID() != pid {
			t.Errorf("leased %d, want %d again", l.PID(), pid)
		}
		// While one has it, nobody else gets it.
		other := lease(t, p)
		if other.PID() == pid {
			t.Error("leased twice")
		}
		other.process.leases = 3 // so that it does not come back
		other.Release()
		l.Release()
	}
	if l := lease(t, p); l.PID() == pid {
		t.Error("leased a fourth time")
	}
}

func TestWhatIsNeverLeasedAgain(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *Lease, *clockwork.FakeClock){
		"stopped": func(t *testing.T, l *Lease, _ *clockwork.FakeClock) {
			if _, err := call(t.Context(), dial(t, l.Socket()), methodStop, ""); err != nil {
				t.Error(err)
			}
		},
		"an error of the call": func(t *testing.T, l *Lease, _ *clockwork.FakeClock) {
			// A message that is not protobuf.
			if _, err := call(t.Context(), dial(t, l.Socket()), "/tfplugin5.Provider/Configure", "\xff"); err == nil {
				t.Error("no error")
			}
		},
		"too old": func(_ *testing.T, _ *Lease, c *clockwork.FakeClock) { c.Advance(time.Hour) },
		"dead":    func(t *testing.T, l *Lease, _ *clockwork.FakeClock) { kill(t, l) },
	} {
		t.Run(name, func(t *testing.T) {
			c := azuretest.NewClock()
			p := azurerm(t, func(cfg *Config) { cfg.Reuse, cfg.MaxAge, cfg.Now = 50, time.Hour, c.Now })
			l := lease(t, p)
			spoil(t, l, c)
			l.Release()
			if idle := p.settled(); len(idle) > 0 {
				t.Errorf("%v is idle", idle)
			}
		})
	}
}

// kill ends a leased process from outside and waits until the pool knows.
func kill(t *testing.T, l *Lease) {
	t.Helper()
	if err := syscall.Kill(l.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for !l.process.client.Exited() {
		if t.Context().Err() != nil {
			t.Fatal("it lives")
		}
	}
}

func TestDeadProcessIsKnownAsBroken(t *testing.T) {
	p := azurerm(t, nil)
	l := lease(t, p)
	if err := l.Broken(); err != nil {
		t.Fatal(err)
	}
	kill(t, l)
	if _, err := call(t.Context(), dial(t, l.Socket()), "/tfplugin5.Provider/Configure", ""); err == nil {
		t.Error("a dead process answers")
	}
	if err := l.Broken(); err == nil || !strings.Contains(err.Error(), "/tfplugin5.Provider/Configure") ||
		!strings.Contains(err.Error(), "the provider process ended") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyACrashIsKept(t *testing.T) {
	var l lastWords
	write := func(lines ...string) {
		for _, line := range lines {
			if n, err := l.Write([]byte(line + "\n")); n != len(line)+1 || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
		}
	}
	write("cannot start")
	if got := l.String(); got != "cannot start" {
		t.Errorf("got %q", got)
	}
	l.listenForCrash()
	write("[DEBUG] AzureRM Response: ", `{"key": "a secret"}`)
	if got := l.String(); got != "" {
		t.Errorf("got %q, want no debug log", got)
	}
	write("panic: runtime error: index out of range", "", "goroutine 1 [running]:", strings.Repeat("x", 100<<10))
	const want = "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nx"
	if got := l.String(); !strings.HasPrefix(got, want) || len(got) > 8<<10 {
		t.Errorf("got %d bytes: %.100q", len(got), got)
	}
}

func TestIdleProcessesAreEnded(t *testing.T) {
	c := azuretest.NewClock()
	p := azurerm(t, func(cfg *Config) {
		cfg.Size, cfg.IdleAfter, cfg.MaxAge, cfg.Now = 1, time.Hour, 30*time.Minute, c.Now
	})
	first := p.settled()
	c.Advance(20 * time.Minute)
	p.tend()
	if got := p.settled(); !slices.Equal(got, first) {
		t.Errorf("after 20 minutes %v are idle, want %v still", got, first)
	}
	c.Advance(10 * time.Minute)
	p.tend()
	second := p.settled()
	if len(second) != 1 || slices.Equal(second, first) {
		t.Errorf("after 30 minutes %v are idle, want a new one in place of %v", second, first)
	}
	c.Advance(30 * time.Minute)
	p.tend()
	if got := p.settled(); len(got) > 0 {
		t.Errorf("after an hour without a lease %v are idle", got)
	}
	p.tend()
	if got := p.settled(); len(got) > 0 {
		t.Errorf("started %v though nobody needs it", got)
	}
	lease(t, p)
	if got := p.settled(); len(got) != 1 {
		t.Errorf("after a lease %v are idle, want one", got)
	}
}

func TestProcessOfItsOwn(t *testing.T) {
	p := azurerm(t, func(cfg *Config) { cfg.Size, cfg.Reuse, cfg.Env["WHICH"] = 1, 50, "the pool's" })
	ahead := p.settled()
	l, err := p.Lease(t.Context(), Request{Env: map[string]string{"WHICH": "its own"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", l.PID()))
	if err != nil || !strings.Contains(string(environ), "WHICH=its own\x00") || slices.Contains(ahead, l.PID()) {
		t.Errorf("process %d of %v has %q, %v", l.PID(), ahead, environ, err)
	}
	if !strings.Contains(string(environ), "ARM_CORRELATION_REQUEST_ID="+l.CorrelationID()+"\x00") ||
		strings.Contains(string(environ), "HOME=") {
		t.Errorf("its environment is %q", environ)
	}
	l.Release()
	if got := p.settled(); !slices.Equal(got, ahead) {
		t.Errorf("idle are %v, want %v alone", got, ahead)
	}
}

// program writes a script that takes the place of the provider, and returns its path.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "provider")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgramsThatAreNotAProvider(t *testing.T) {
	for name, row := range map[string]struct{ script, want string }{
		"ends":             {"echo no room >&2; exit 1", "no room"},
		"prints nonsense":  {"echo hello; exec cat", "Unrecognized remote plugin message"},
		"unknown protocol": {"echo '1|6|unix|/nowhere|grpc|'; exec cat", "incompatible"},
		"not gRPC":         {"echo '1|5|unix|/nowhere|netrpc|'; exec cat", "netrpc"},
		"does not answer":  {"echo '1|5|unix|/nowhere|grpc|'; exec cat", "connect"},
		"prints nothing":   {"exec sleep 1000", "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			p := running(t, func(cfg *Config) {
				cfg.Path, cfg.Size, cfg.StartTimeout = program(t, row.script), 1, 300*time.Millisecond
			})
			_, err := p.Lease(t.Context(), Request{})
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			p.settled()
		})
	}
}

func TestStartIsGivenUp(t *testing.T) {
	p := running(t, func(cfg *Config) { cfg.Path = program(t, "exec sleep 1000") })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Lease(ctx, Request{}); err == nil {
		t.Error("leased what never started")
	}
}

func TestChangedBinaryIsNotStarted(t *testing.T) {
	path := program(t, "exit 1")
	p := running(t, func(cfg *Config) { cfg.Path = path })
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho evil >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := p.Lease(t.Context(), Request{})
	if err == nil || !strings.Contains(err.Error(), "has changed since the daemon started") {
		t.Errorf("got %v", err)
	}
}

func TestPoolThatDoesNotRun(t *testing.T) {
	if _, err := New(Config{Dir: t.TempDir()}); err == nil {
		t.Error("a pool without a binary was created")
	}
	if _, err := New(Config{Dir: t.TempDir(), Path: "/nowhere"}); err == nil {
		t.Error("a pool of a missing binary was created")
	}
	p, err := New(Config{Path: program(t, ""), Dir: filepath.Join(t.TempDir(), "p")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Lease(t.Context(), Request{}); err == nil {
		t.Error("leased before the start")
	}
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	if _, err := p.Lease(t.Context(), Request{}); err == nil {
		t.Error("leased after the end")
	}
}

func TestCloseEndsWhatIsLeased(t *testing.T) {
	p := azurerm(t, nil)
	l := lease(t, p)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if alive(l.PID()) {
		t.Errorf("process %d lives", l.PID())
	}
	l.Release()
}

func TestLongFolderIsReplaced(t *testing.T) {
	p := azurerm(t, func(cfg *Config) { cfg.Dir = filepath.Join(t.TempDir(), strings.Repeat("long", 30)) })
	if lease(t, p); strings.Contains(p.dir, "long") {
		t.Errorf("sockets lie in %s", p.dir)
	}
}
