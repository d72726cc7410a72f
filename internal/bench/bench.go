// Package bench measures what a container costs: with plain terraform, with this daemon in its modes, and with the
// floors of both ways to Azure, side by side against one simulator, in one run. It must not know how the daemon is
// wired: it starts the commands of cmd/azf-bench (daemon, replay, sdk) and measures their processes.
//
//	report, err := bench.Run(ctx, bench.Config{Program: path, Sim: sim, Recorder: recorder, ...})
//	report.Print(os.Stdout)
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/azuresim"
)

// Config configures Run. Everything is required but for Progress.
type Config struct {
	// Program is the binary of cmd/azf-bench; Environ is the environment of the processes that it is started in.
	Program string
	Environ []string
	// Dir is an empty folder with a short path, which the caller removes.
	Dir string
	// Sim is the cloud. Recorder wraps its handler. Image is a function image in its registry that has /bin/sh.
	Sim      *azuresim.Sim
	Recorder *Recorder
	Image    string
	// Terraform is the binary that plain terraform uses, CLIConfig the content of its CLI configuration and TerraformEnv
	// its environment.
	Terraform    string
	CLIConfig    string
	TerraformEnv map[string]string
	// Policy is a folder of rules that allow the containers of the benchmark, which have the label team.
	Policy string
	// Rounds is the number of measurements of each thing, and ProfileRounds the number with the latency of ARM, which 0
	// leaves out. The medians count.
	Rounds        int
	ProfileRounds int
	// TrailRecords is the number of audit records whose writing and verification is measured; 0 measures none.
	TrailRecords int
	// Batch containers are created, Parallel at a time.
	Batch    int
	Parallel int
	// Growth holds the numbers of existing containers to measure with, ascending.
	Growth []int
	// Progress gets the name of what is measured next.
	Progress func(string)
}

// Variants of a create, with their names in the tables.
const (
	variantPlain  = "a"
	variantNoPool = "b"
	variantPool   = "c"
	variantReuse  = "d"
	variantReplay = "e"
	variantSDK    = "f"
	variantPolicy = "g"
)

var variants = []struct{ name, what string }{
	{variantPlain, "plain terraform: init, plan, show, apply, own provider each"},
	{variantNoPool, "daemon, provider_pool off"},
	{variantPool, "daemon, provider_pool on, provider_reuse 1"},
	{variantReuse, "daemon, provider_pool on, provider_reuse 50"},
	{variantReplay, "azurerm's calls of (c), replayed one after another"},
	{variantSDK, "one site PUT with the SDK, polled each second"},
	{variantPolicy, "daemon as (c), with the policy examples/policy"},
}

var modes = []mode{
	{name: variantNoPool, pool: "off", reuse: 1}, {name: variantPool, pool: "on", reuse: 1},
	{name: variantReuse, pool: "on", reuse: 50},
}

// withPolicy differs from variantPool by its policy alone.
var withPolicy = mode{name: variantPolicy, pool: "on", reuse: 1, policy: true}

type bench struct {
	Config
	daemons int
	report  *Report
}

// Run measures everything, one thing after the other. With the defaults of azf-bench it takes about a quarter of an
// hour.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	b := &bench{Config: cfg, report: newReport(cfg)}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"create and destroy", func(ctx context.Context) error { return b.creates(ctx, "no latency", cfg.Rounds) }},
		{"many creates", b.batches},
		{"growth", b.growth},
		{"audit trail", b.trail},
		{"create and destroy with the latency of ARM", func(ctx context.Context) error {
			if cfg.ProfileRounds == 0 {
				return nil
			}
			b.Sim.SetFaults(azuresim.Faults{Latency: armLatency})
			defer b.Sim.SetFaults(azuresim.Faults{})
			return b.creates(ctx, "ARM", cfg.ProfileRounds)
		}},
	} {
		b.say("%s", part.name)
		if err := part.run(ctx); err != nil {
			return nil, fmt.Errorf("measure %s: %w", part.name, err)
		}
	}
	b.report.check()
	return b.report, nil
}

func (b *bench) say(format string, args ...any) {
	if b.Progress != nil {
		b.Progress(fmt.Sprintf(format, args...))
	}
}

// creates measures every way to create one container, in turns, and the other steps of a container's life.
func (b *bench) creates(ctx context.Context, profile string, rounds int) (err error) {
	var daemons []*daemon
	defer func() {
		for _, d := range daemons {
			err = errors.Join(err, d.stop())
		}
	}()
	for _, m := range append(slices.Clip(modes), withPolicy) {
		d, err := b.startDaemon(ctx, m)
		if err != nil {
			return err
		}
		daemons = append(daemons, d)
		// The first create creates the foundation, which is not measured.
		if _, err := d.create(ctx, b.Image, "first"); err != nil {
			return err
		}
	}
	var first struct{ Id string } //nolint:revive // Docker spells it so
	if err := daemons[0].call(ctx, http.MethodGet, "/containers/first", nil, &first); err != nil {
		return err
	}
	plain, err := b.newPlain(daemons[0].workspace(first.Id))
	if err != nil {
		return err
	}
	t := b.report.table(profile)
	for round := range rounds {
		b.say("round %d of %d", round+1, rounds)
		if err := b.plainRound(ctx, t, plain); err != nil {
			return err
		}
		for _, d := range daemons {
			if err := b.daemonRound(ctx, t, d); err != nil {
				return err
			}
		}
		if err := b.floorRound(ctx, t, plain); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) plainRound(ctx context.Context, t *Table, p *plain) error {
	dir, err := p.workspace()
	if err != nil {
		return err
	}
	s, err := p.sample(func() error { return p.create(ctx, dir) })
	if err != nil {
		return err
	}
	t.add(variantPlain, "create", s)
	if s, err = p.sample(func() error { return p.destroy(ctx, dir) }); err != nil {
		return err
	}
	t.add(variantPlain, "destroy", s)
	return nil
}

// daemonRound takes one container through its life.
func (b *bench) daemonRound(ctx context.Context, t *Table, d *daemon) error {
	name := "measured"
	s, err := d.sample(ctx, func() error {
		calls, err := b.Recorder.record(func() error {
			_, err := d.create(ctx, b.Image, name, "/bin/sh", "-c", "seq 10000")
			return err
		})
		if d.name == variantPool {
			b.report.calls = byTerraform(calls)
		}
		return err
	})
	if err != nil {
		return err
	}
	t.add(d.name, "create", s)
	if err := b.run(ctx, t, d, name); err != nil {
		return err
	}
	if s, err = d.sample(ctx, func() error { return d.remove(ctx, name) }); err != nil {
		return err
	}
	t.add(d.name, "destroy", s)
	return nil
}

// run measures the delay of wait's answer, and the duration of reading logs of 10,000 lines.
func (b *bench) run(ctx context.Context, t *Table, d *daemon, name string) error {
	before := len(b.Sim.Calls())
	if err := d.call(ctx, http.MethodPost, "/containers/"+name+"/start", nil, nil); err != nil {
		return err
	}
	if err := d.call(ctx, http.MethodPost, "/containers/"+name+"/wait", nil, nil); err != nil {
		return err
	}
	answered := time.Now()
	var ended time.Time
	for _, c := range b.Sim.Calls()[before:] {
		if c.Service == "host" && c.Method == http.MethodPost {
			ended = c.Time.Add(c.Duration)
		}
	}
	if ended.IsZero() {
		return errors.New("the function app was not called")
	}
	t.add(d.name, "wait", Sample{Wall: answered.Sub(ended)})
	var logs []byte
	started := time.Now()
	if err := d.call(ctx, http.MethodGet, "/containers/"+name+"/logs?stdout=1", nil, &logs); err != nil {
		return err
	}
	t.add(d.name, "logs", Sample{Wall: time.Since(started)})
	if len(logs) < 10_000*10 { // each line has a header of 8 bytes
		return fmt.Errorf("the logs have %d bytes, less than 10,000 lines", len(logs))
	}
	return nil
}

// floorRound measures clients without Terraform, each in a process of its own.
func (b *bench) floorRound(ctx context.Context, t *Table, p *plain) error {
	site := Site{
		Subscription: azuresim.DefaultSubscriptionID, ResourceGroup: azuresim.DefaultResourceGroup,
		Location: azuresim.DefaultLocation, Name: siteName(),
		Image:    b.Image,
		Settings: map[string]string{"FUNCTIONS_EXTENSION_VERSION": "~4", "FUNCTIONS_WORKER_RUNTIME": "custom"},
	}
	var ok bool
	if site.PlanID, ok = p.vars["service_plan_id"].(string); !ok {
		return errors.New("the workspace names no plan")
	}
	for _, floor := range []struct {
		variant, command string
		task             Task
	}{{variantReplay, "replay", Task{Calls: b.report.calls}}, {variantSDK, "sdk", Task{Site: site}}} {
		floor.task.Sim = b.Sim.Access()
		content, err := json.Marshal(floor.task)
		if err != nil {
			return err
		}
		file := filepath.Join(b.Dir, floor.command+".json")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, b.Program, floor.command, "--task", file)
		cmd.Env, cmd.Stderr = b.Environ, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("azf-bench %s: %w", floor.command, err)
		}
		var s Sample
		if err := json.Unmarshal(out, &s); err != nil {
			return fmt.Errorf("azf-bench %s: %w", floor.command, err)
		}
		t.add(floor.variant, "create", s)
	}
	return nil
}

// batches measures many creates at once.
func (b *bench) batches(ctx context.Context) (err error) {
	one, err := b.startDaemon(ctx, modes[0])
	if err != nil {
		return err
	}
	id, err := one.create(ctx, b.Image, "first")
	if err != nil {
		return errors.Join(err, one.stop())
	}
	p, err := b.newPlain(one.workspace(id))
	if err = errors.Join(err, one.stop()); err != nil {
		return err
	}
	b.say("%d creates by plain terraform, %d at a time", b.Batch, b.Parallel)
	err = b.batch(variantPlain, os.Getpid(), isTerraform, func(int) error {
		dir, err := p.workspace()
		if err != nil {
			return err
		}
		return p.create(ctx, dir)
	})
	if err != nil {
		return err
	}
	for _, m := range modes[1:] {
		d, err := b.startDaemon(ctx, m)
		if err != nil {
			return err
		}
		_, err = d.create(ctx, b.Image, "first")
		if err == nil {
			err = d.settle(ctx)
		}
		if err == nil {
			b.say("%d creates by the daemon, %d at a time, reuse %d", b.Batch, b.Parallel, m.reuse)
			err = b.batch(m.name, d.cmd.Process.Pid, everyProc, func(n int) error {
				_, err := d.create(ctx, b.Image, "c"+strconv.Itoa(n))
				return err
			})
		}
		if err = errors.Join(err, d.stop()); err != nil {
			return err
		}
	}
	return nil
}

// onBusyPlan repeats f while Azure refuses it because another change of the same service plan is under way.
func onBusyPlan(f func() error) error {
	for {
		if err := f(); err == nil || !strings.Contains(err.Error(), "another operation is in progress") {
			return err
		}
	}
}

// batch runs f as often as there are containers in a batch, and records rate and memory.
func (b *bench) batch(variant string, root int, match func(proc) bool, f func(n int) error) error {
	stop := peak(root, match)
	var g errgroup.Group
	g.SetLimit(b.Parallel)
	started := time.Now()
	for n := range b.Batch {
		g.Go(func() error { return onBusyPlan(func() error { return f(n) }) })
	}
	err := g.Wait()
	wall := time.Since(started)
	b.report.Batches = append(
		b.report.Batches,
		Batch{
			Variant:    variant,
			Containers: b.Batch,
			Parallel:   b.Parallel,
			Wall:       wall,
			PerSecond:  float64(b.Batch) / wall.Seconds(),
			Peak:       stop(),
		},
	)
	return err
}

// growth measures the daemon with more and more containers.
func (b *bench) growth(ctx context.Context) (err error) {
	d, err := b.startDaemon(ctx, modes[2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	have := 0
	for _, want := range b.Growth {
		b.say("%d containers", want)
		var g errgroup.Group
		g.SetLimit(b.Parallel)
		for ; have < want; have++ {
			name := "c" + strconv.Itoa(have)
			g.Go(func() error {
				return onBusyPlan(func() error {
					_, err := d.create(ctx, b.Image, name)
					return err
				})
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if err := d.settle(ctx); err != nil {
			return err
		}
		row := Growth{Containers: want}
		// The measured container is removed again.
		creates, lists, inspects := []time.Duration{}, []time.Duration{}, []time.Duration{}
		for range b.Rounds {
			s, err := d.sample(ctx, func() error { _, err := d.create(ctx, b.Image, "measured"); return err })
			if err != nil {
				return err
			}
			creates = append(creates, s.Wall)
			if err := d.remove(ctx, "measured"); err != nil {
				return err
			}
		}
		if err := d.settle(ctx); err != nil {
			return err
		}
		// One after the other, so that the garbage of a long list does not count for inspect.
		for _, ask := range []struct {
			path string
			into *[]time.Duration
		}{{"/containers/c0", &inspects}, {"/containers?all=1", &lists}} {
			for range 4 * b.Rounds {
				var body []byte
				started := time.Now()
				if err := d.call(ctx, http.MethodGet, ask.path, nil, &body); err != nil {
					return err
				}
				*ask.into = append(*ask.into, time.Since(started))
			}
		}
		all, err := tree(d.cmd.Process.Pid, func(p proc) bool { return p.pid == d.cmd.Process.Pid })
		if err != nil {
			return err
		}
		row.Create, row.List, row.Inspect, row.Memory = median(creates), median(lists), median(inspects), memoryOf(all)
		b.report.Growth = append(b.report.Growth, row)
	}
	return nil
}
