package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/daemon"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/internal/policy"
	"github.com/sockerless/backend-azf/internal/toolchain"
)

// processEnv, in the environment of this test binary, makes it a daemon: it holds a processConfig as JSON.
const processEnv = "AZF_TEST_DAEMON"

// processConfig is what a daemon in a process of its own needs of the test.
type processConfig struct {
	Sim         azuresim.Access
	Dir, Socket string
	// Database is that of one of several daemons, whose Terraform states are there too.
	Database string
	// Disk is the size of a file system of its own for the state folder, in bytes; 0 means that it has none.
	Disk int
	// Policy is a folder of rules, "" if there are none.
	Policy string
	// Wrapping is nil if no image is wrapped.
	Wrapping *wrapSettings
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(processEnv); spec != "" {
		if err := daemonProcess(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

// daemonProcess runs a daemon as serve does, in the cloud of another process.
func daemonProcess(spec string) error {
	var p processConfig
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		return err
	}
	if p.Disk > 0 {
		if err := mountDisk(p.Dir, p.Disk); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	transport, err := p.Sim.Transport()
	if err != nil {
		return err
	}
	cfg, err := simulated(ctx, p.Sim, transport, p.Dir, p.Socket)
	if err != nil {
		return err
	}
	if cfg.Tools, err = toolchain.Prepare(ctx, toolchain.Config{}); err != nil {
		return err
	}
	cfg.Log = zerolog.New(os.Stderr).With().Timestamp().Logger()
	cfg.Azure.ServicePlanSKU = "P5mv3" // with memory for all containers that a test leaves
	if p.Policy != "" {
		cfg.Policy.Sets = []policy.Set{{Name: "house", Path: p.Policy}}
	}
	if p.Wrapping != nil {
		p.Wrapping.apply(&cfg)
	}
	if p.Database != "" {
		shared(&cfg, p.Database)
	}
	d, err := daemon.New(ctx, cfg)
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// process is a daemon that can be killed.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // set when ended is closed
}

// kill ends the daemon at once, and returns when it is dead.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails when it is dead
	<-p.ended
}

// spawn starts a daemon in a process of its own, which kill ends. Its log is appended to the file daemon.log.
func (p *playground) spawn(t *testing.T) *process {
	t.Helper()
	spec, err := json.Marshal(processConfig{
		Sim: p.sim.Access(), Dir: p.dir, Socket: p.socket, Database: p.database, Disk: p.disk, Policy: p.policy,
		Wrapping: p.wrapping,
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "daemon.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	d := &process{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), processEnv+"="+string(spec))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.disk > 0 {
		ownMounts(d.cmd.SysProcAttr)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := errors.Join(d.cmd.Start(), log.Close()); err != nil {
		t.Fatalf("start a daemon (one with a disk of its own needs user namespaces): %v", err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(d.kill)
	p.process = d
	return d
}

// kill ends the daemon that was spawned last.
func (p *playground) kill() {
	p.mu.Lock()
	d := p.process
	p.mu.Unlock()
	d.kill()
}

// launch is spawn, but returns when the daemon answers.
func (p *playground) launch(t *testing.T) {
	t.Helper()
	d := p.spawn(t)
	azuretest.Eventually(t, "daemon", func() bool {
		select {
		case <-d.ended:
			t.Fatalf("the daemon ended: %v\n%s", d.err, p.log(t))
		default:
		}
		return p.Call(t.Context(), http.MethodGet, "/healthz", nil, nil) == nil
	})
}

// log returns the log of all daemons so far.
func (p *playground) log(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.dir, "daemon.log"))
	if err != nil {
		t.Error(err)
	}
	return string(content)
}

// terraforms returns the command lines of the processes that work in the playground's workspaces.
func (p *playground) terraforms(t *testing.T) (found []string) {
	t.Helper()
	for _, process := range azuretest.Processes(t, func(process azuretest.Process) bool {
		return process.PID != os.Getpid() && strings.HasPrefix(process.Getenv("TF_CLI_CONFIG_FILE"), p.dir)
	}) {
		if len(process.Args) > 0 {
			found = append(found, process.String()+" ")
		}
	}
	return found
}
