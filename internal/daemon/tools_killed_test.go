package daemon_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/config"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// victims are programs that the kernel may kill alone, when memory runs out.
type victims string

const (
	killDaemon    victims = "daemon" // with its terraforms
	killTerraform victims = "terraform"
	killAzurerm   victims = "azurerm"
	killBoth      victims = "terraform and azurerm"
)

// daemonPID returns the process id of the daemon, which may be this process.
func (p *playground) daemonPID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return os.Getpid()
	}
	return p.process.cmd.Process.Pid
}

// all kills every process that it is given.
func all(pids []int) []int { return pids }

// killTools kills the terraforms of the daemon, its azurerms (its own, and those of its terraforms) or both, and
// reports whether there was one of each: otherwise it kills none. choose returns those to kill, at least one of some.
func (p *playground) killTools(t *testing.T, which victims, choose func([]int) []int) bool {
	t.Helper()
	self := p.daemonPID()
	processes := azuretest.Processes(t, nil)
	program := func(process azuretest.Process, prefix string) bool {
		return strings.HasPrefix(filepath.Base(process.Exe), prefix)
	}
	var terraforms, azurerms []int
	for _, process := range processes {
		if process.Parent == self && program(process, filepath.Base(p.tools.Terraform)) &&
			!program(process, "terraform-provider-") {
			terraforms = append(terraforms, process.PID)
		}
	}
	for _, process := range processes {
		ours := process.Parent == self || slices.Contains(terraforms, process.Parent)
		if ours && program(process, "terraform-provider-azurerm") {
			azurerms = append(azurerms, process.PID)
		}
	}
	// One is not killed while the other is missing: asked again and again, that would kill each azurerm as it starts, and
	// no terraform would ever come.
	if which != killAzurerm && len(terraforms) == 0 || which != killTerraform && len(azurerms) == 0 {
		return false
	}
	var killed []int
	if which != killAzurerm {
		killed = append(killed, choose(terraforms)...)
	}
	if which != killTerraform {
		killed = append(killed, choose(azurerms)...)
	}
	for _, pid := range killed {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
	return true
}

// TestLongToolsKilled kills terraform, azurerm or both once, at each step of a container's life that changes Azure,
// with started providers and without. The client sees nothing of it.
func TestLongToolsKilled(t *testing.T) {
	for pool, moments := range map[string][]bool{config.PoolOn: {false, true}, config.PoolOff: {true}} {
		p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Providers.Pool = pool })
		for _, which := range []victims{killTerraform, killAzurerm, killBoth} {
			t.Run("pool "+pool+", "+string(which), func(t *testing.T) {
				for _, after := range moments {
					p.atWrite(after, http.MethodPut, sitePath, p.killer(t, which))
					p.create(t, "web", api.Config{})
					p.atWrite(after, http.MethodDelete, sitePath, p.killer(t, which))
					p.must(t, http.MethodDelete, "/containers/web", nil, nil)
				}
				p.nothingLeft(t)
			})
		}
		p.stop()
	}
}

// killer returns a function that kills, and complains when there is nothing to kill.
func (p *playground) killer(t *testing.T, which victims) func() {
	return func() {
		if !p.killTools(t, which, all) {
			t.Errorf("there was no %s to kill", which)
		}
	}
}

// killAtEach kills the victims at each such call for a function app.
func (p *playground) killAtEach(t *testing.T, which victims, method string) {
	p.sim.SetFaults(azuresim.Faults{Latency: func(m, at string) time.Duration {
		if m == method && sitePath.MatchString(at) {
			p.killTools(t, which, all)
		}
		return 0
	}})
}

// TestLongToolsKilledAgainAndAgain kills terraform at each attempt to create a container's app, so that its create
// fails. Nothing is left, and the name is free. Kills at each read of the app do not stop a removal.
func TestLongToolsKilledAgainAndAgain(t *testing.T) {
	p := newPlayground(t)
	p.create(t, "shared", api.Config{})
	p.killAtEach(t, killTerraform, http.MethodPut)
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=web", p.createRequest(), nil)
	if err == nil {
		t.Fatal("the create succeeded: the test tests nothing")
	}
	p.sim.SetFaults(azuresim.Faults{})
	if sites := p.sim.Sites(); len(sites) != 1 {
		t.Errorf("the failed create has left one of %v", sites)
	}
	p.create(t, "web", api.Config{})
	p.killAtEach(t, killTerraform, http.MethodGet) // while it plans
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	p.sim.SetFaults(azuresim.Faults{})
	p.must(t, http.MethodDelete, "/containers/shared", nil, nil)
	p.nothingLeft(t)
}

// TestLongProviderCrashesAgainAndAgain has azurerm end at each attempt to create a container's app, whether the daemon
// or terraform has started it: killed, or by a panic of its own. The client is told, and nothing is left.
func TestLongProviderCrashesAgainAndAgain(t *testing.T) {
	for _, pool := range []string{config.PoolOn, config.PoolOff} {
		t.Run("pool "+pool, func(t *testing.T) {
			p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.Providers.Pool = pool })
			var log bytes.Buffer
			p.restart(t, &log, func(*daemon.Config) {})
			p.create(t, "shared", api.Config{})
			p.killAtEach(t, killAzurerm, http.MethodPut)
			p.crashes(t, "the Terraform provider crashed or was killed: ")
			// azurerm reads the message of this answer, which is not there.
			p.sim.SetFaults(azuresim.Faults{Rules: []azuresim.Rule{{
				Path: regexp.MustCompile(`/checknameavailability$`), Status: http.StatusOK,
				Body: map[string]any{"nameAvailable": false},
			}}})
			p.crashes(t, "the Terraform provider crashed: panic: runtime error: invalid memory address or nil pointer")
			p.sim.SetFaults(azuresim.Faults{})
			if sites := p.sim.Sites(); len(sites) != 1 {
				t.Errorf("the failed creates have left one of %v", sites)
			}
			p.must(t, http.MethodDelete, "/containers/shared", nil, nil)
			p.nothingLeft(t)
			p.stop()
			if !strings.Contains(log.String(), "linux_function_app_resource.go") {
				t.Error("the log lacks the stack of the crash")
			}
		})
	}
}

// crashes wants a create to fail, and its error to name the crash.
func (p *playground) crashes(t *testing.T, crash string) {
	t.Helper()
	got := p.refused(t, "web", secretValue)
	for _, want := range []string{"cannot create container web: " + crash, "in the daemon's log", "Try again"} {
		if got.status != http.StatusInternalServerError || !strings.Contains(got.message, want) {
			t.Errorf("got %+v, want %q in it", got, want)
		}
	}
	if strings.Contains(got.message, "goroutine") || strings.Contains(got.message, "--terraform") {
		t.Errorf("got %q", got.message)
	}
}
