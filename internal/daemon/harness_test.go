package daemon_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
)

// Flags of the harness: make crash N=200 gives them.
var (
	crashKills = flag.Int("crash.n", 6, "how often the harness kills a daemon or its Terraform")
	crashSeed  = flag.Uint64("crash.seed", 1, "seed of the harness; 0 takes one from the clock, and prints it")
)

// crashClients is the number of the harness's clients.
const crashClients = 4

// harness kills daemons, their terraforms and their azurerms while clients use them, with an Azure that fails now and
// then. It keeps the answers that it gets.
type harness struct {
	azure   *playground
	daemons []*playground
	seed    uint64
	runs    string // the file in which each run leaves its id

	// ran and ranWrapped report whether a container ran, of an image with a Functions host and of a wrapped one; refused,
	// whether the policy refused one. Otherwise there is nothing to compare.
	ran, ranWrapped, refused atomic.Bool

	mu         sync.Mutex
	containers map[string]*kept // by name
}

// kept holds the answers about one container.
type kept struct {
	created bool // 201, or seen after a create whose answer was lost
	removed bool // 204, or 404 after an attempt whose answer was lost
	tried   bool // whether a removal was tried
	wrapped bool // whether its image needs a Functions host
	// ends holds the exit codes of its runs, by the ids of these.
	ends map[string]int
}

// figures are the results of the harness, which it prints in one line.
type figures struct {
	kills, containers, orphans, lost, doubleRuns, stuckLocks, stuck, unaudited, ungated, incomplete, tempFiles int
	runs, unknownEnds, derived                                                                                 int
}

func (f figures) String() string {
	return fmt.Sprintf("kills=%d containers=%d orphans=%d lost=%d double_runs=%d stuck_locks=%d stuck=%d "+
		"unaudited=%d ungated=%d incomplete=%d temp_files=%d",
		f.kills, f.containers, f.orphans, f.lost, f.doubleRuns, f.stuckLocks, f.stuck, f.unaudited, f.ungated, f.incomplete,
		f.tempFiles)
}

func TestLongCrash(t *testing.T) {
	azure := newAzure(t)
	crash(t, azure, []*playground{azure})
}

// TestLongCrashOfOneOfThree kills one of three daemons on PostgreSQL at a time.
func TestLongCrashOfOneOfThree(t *testing.T) {
	azure := newAzure(t)
	crash(t, azure, daemons(t, azure, pgtest.Database(t), 3))
}

func crash(t *testing.T, azure *playground, daemons []*playground) {
	h := &harness{
		azure: azure, daemons: daemons, seed: *crashSeed, runs: filepath.Join(azure.dir, "runs"),
		containers: map[string]*kept{},
	}
	if h.seed == 0 {
		h.seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-crash.seed=%d", h.seed)
	random := rand.New(rand.NewPCG(h.seed, 0))
	house := rules(t, filepath.Join(azure.dir, "policy"), "main.rego", refusing)
	azure.canWrap(t)
	for _, p := range daemons {
		p.policy, p.wrapping = house.Path, azure.wrapping
		p.launch(t)
	}
	ctx, stop := context.WithCancel(t.Context())
	var clients, trouble sync.WaitGroup
	for n := range uint64(crashClients) {
		clients.Go(func() { h.client(ctx, t, rand.New(rand.NewPCG(h.seed, 1+n))) })
	}
	troubled, calm := context.WithCancel(ctx)
	trouble.Go(func() { h.trouble(troubled, t, rand.New(rand.NewPCG(h.seed, 100))) })
	kills, killed := 0, map[victims]int{}
	var kinds []victims
	// On a slow machine, the first daemons may die before they have done anything. So the harness gives those that
	// follow more time, until a container of each kind has run, and one was refused.
	for ; kills < *crashKills || !h.ran.Load() || !h.ranWrapped.Load() || !h.refused.Load(); kills++ {
		if len(kinds) == 0 { // each kind has its turn
			kinds = []victims{killDaemon, killTerraform, killAzurerm, killBoth}
			random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		}
		patience := 1 + max(0, kills-*crashKills)
		limit := 9000
		if kinds[0] != killDaemon {
			limit = 4000 // they follow each other more closely, so that one hits what another has left
		}
		pause(t.Context(), time.Duration(patience*(200+random.IntN(limit)))*time.Millisecond)
		h.kill(t, random, daemons[random.IntN(len(daemons))], kinds[0])
		killed[kinds[0]]++
		kinds = kinds[1:]
	}
	stop()
	calm()
	clients.Wait()
	trouble.Wait()
	azure.sim.SetFaults(azuresim.Faults{})
	got := h.compare(t)
	got.kills = kills
	fmt.Println(got)
	t.Logf("killed %v; %d runs, %d of them with an unknown end; %d derived images",
		killed, got.runs, got.unknownEnds, got.derived)
	if got.orphans+got.lost+got.doubleRuns+got.stuckLocks+got.stuck+got.unaudited+got.ungated+got.incomplete+
		got.tempFiles > 0 {
		t.Error("something was lost, or is left")
	}
}

// kill kills a daemon and starts the next one, or waits for a process of its Terraform and kills it.
func (h *harness) kill(t *testing.T, random *rand.Rand, victim *playground, which victims) {
	t.Helper()
	if which == killDaemon {
		victim.kill()
		victim.launch(t)
		return
	}
	one := func(pids []int) []int {
		at := random.IntN(len(pids))
		return pids[at : at+1]
	}
	azuretest.Eventually(t, "a process to kill", func() bool { return victim.killTools(t, which, one) })
}

// trouble has Azure fail in one way after the other.
func (h *harness) trouble(ctx context.Context, t *testing.T, random *rand.Rand) {
	latency := func(string, string) time.Duration { return time.Duration(rand.IntN(20)) * time.Millisecond }
	for ctx.Err() == nil {
		rule := azuresim.Rule{Skip: random.IntN(5), Times: 1}
		switch random.IntN(6) {
		case 0:
			rule.Status, rule.RetryAfter = http.StatusTooManyRequests, time.Second
		case 1:
			rule.Method, rule.Status, rule.Code = http.MethodPut, http.StatusConflict, "Conflict"
		case 2:
			rule.Method, rule.Status = http.MethodPut, http.StatusInternalServerError
		case 3:
			rule.Drop = azuresim.DropBefore
		case 4:
			rule.Method, rule.Drop = http.MethodPut, azuresim.DropAfter
		case 5:
			rule.Method, rule.Status, rule.Code = http.MethodDelete, http.StatusConflict, "Conflict"
		}
		h.azure.sim.SetFaults(azuresim.Faults{Latency: latency, Rules: []azuresim.Rule{rule}})
		if random.IntN(3) == 0 {
			h.loseHosts(t)
		}
		pause(ctx, time.Duration(100+random.IntN(900))*time.Millisecond)
	}
}

// pause waits, since the harness kills at random moments.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// client creates containers, runs them and removes most of them, until ctx ends.
func (h *harness) client(ctx context.Context, t *testing.T, random *rand.Rand) {
	for ctx.Err() == nil {
		name := fmt.Sprintf("c%016x", random.Uint64())
		k := &kept{ends: map[string]int{}, wrapped: random.IntN(2) == 0}
		image := h.azure.image
		if k.wrapped {
			var err error
			if image, err = h.newImage(t.Context(), name); err != nil {
				t.Error(err)
				return
			}
		}
		h.mu.Lock()
		h.containers[name] = k
		h.mu.Unlock()
		var created api.CreateResponse
		script := "echo $AZF_RUN_ID >>" + h.runs + "; sleep 0." + fmt.Sprint(random.IntN(10))
		req := api.CreateRequest{Config: &api.Config{Image: image, Cmd: []string{"/bin/sh", "-c", script}}}
		if random.IntN(5) == 0 {
			req.Labels = map[string]string{"refuse": "yes"}
		}
		err := h.ask(random, http.MethodPost, "/containers?name="+name, req, &created)
		if err != nil && strings.Contains(err.Error(), "this container is refused") {
			h.refused.Store(true)
		}
		if err != nil && !h.appears(ctx, random, name) {
			continue
		}
		k.created = true
		for range random.IntN(3) {
			h.run(ctx, random, name, k)
		}
		for random.IntN(4) > 0 && !k.removed && ctx.Err() == nil {
			err := h.ask(random, http.MethodDelete, "/containers/"+name+"?force=1", nil, nil)
			k.removed = err == nil || k.tried && answered(err, http.StatusNotFound)
			k.tried = true
		}
	}
}

// appears reports whether a container exists in the end although its create had no answer or failed.
func (h *harness) appears(ctx context.Context, random *rand.Rand, name string) bool {
	for ctx.Err() == nil {
		var info api.InspectResponse
		err := h.ask(random, http.MethodGet, "/containers/"+name, nil, &info)
		if err == nil && info.AZF.ResourceID != "" {
			return true
		}
		if err == nil && info.State.Dead || answered(err, http.StatusNotFound) {
			return false
		}
		pause(ctx, 50*time.Millisecond)
	}
	return false
}

// run starts a container and waits for the end of its run.
func (h *harness) run(ctx context.Context, random *rand.Rand, name string, k *kept) {
	if h.ask(random, http.MethodPost, "/containers/"+name+"/start", nil, nil) != nil {
		return // it may run or not, but never twice
	}
	for ctx.Err() == nil {
		var res api.WaitResponse
		var info api.InspectResponse
		err := h.ask(random, http.MethodPost, "/containers/"+name+"/wait", nil, &res)
		if err == nil {
			err = h.ask(random, http.MethodGet, "/containers/"+name, nil, &info)
		}
		if err == nil {
			k.ends[info.AZF.RunID] = int(res.StatusCode)
			if k.wrapped {
				h.ranWrapped.Store(true)
			} else {
				h.ran.Store(true)
			}
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// ask sends a request to one of the daemons.
func (h *harness) ask(random *rand.Rand, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return h.daemons[random.IntN(len(h.daemons))].Call(ctx, method, path, in, out)
}

// refusing are rules that refuse the containers with a label.
const refusing = `package main

deny contains "this container is refused" if input.sockerless.container.labels.refuse
`
