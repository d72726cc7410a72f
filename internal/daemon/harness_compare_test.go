package daemon_test

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/invoker/protocol"
)

// compare waits until the daemons rest, and compares containers, runs, function apps and locks with the answers that
// the clients got. It removes the containers and stops the daemons.
func (h *harness) compare(t *testing.T) (f figures) {
	t.Helper()
	list := h.rest(t, &f)
	ran := h.ranRuns(t, &f)
	h.compareContainers(t, &f, list, ran)
	h.compareApps(t, &f, list)
	h.removeAll(t, &f, list)
	for _, p := range h.daemons {
		f.stuckLocks += len(p.locks(t))
		if err := p.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-p.process.ended
		azuretest.Eventually(t, "no process of Terraform", func() bool { return len(p.terraforms(t)) == 0 })
		f.tempFiles += len(p.tempFiles(t))
	}
	derived, incomplete := h.azure.derivedImages(t)
	f.derived, f.incomplete = len(derived), len(incomplete)
	for _, p := range h.daemons {
		if v, err := p.verify(t); err != nil || len(v.Open) > 0 {
			t.Errorf("the audit trail: %+v, %v", v, err)
		}
	}
	f.unaudited, f.ungated = h.daemons[0].unaudited(t), h.daemons[0].ungated(t)
	return f
}

// maxRemovals is the number of removals after which a dead container is stuck.
const maxRemovals = 5

// rest waits until no container is under way, removes dead ones, and returns the containers that are not stuck.
func (h *harness) rest(t *testing.T, f *figures) (list []api.Summary) {
	t.Helper()
	p := h.daemons[0]
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("at last there were %+v", list)
			for _, p := range h.daemons {
				t.Log(p.log(t))
			}
		}
	})
	removals := map[string]int{}
	stuck := func(c api.Summary) bool { return removals[c.ID] == maxRemovals }
	azuretest.Eventually(t, "rest", func() bool {
		p.must(t, http.MethodGet, "/containers?all=1", nil, &list)
		rests := true
		for _, c := range list {
			rests = rests && (c.Status == "Created" || c.State == "exited" || stuck(c))
			if c.State != "dead" || stuck(c) {
				continue
			}
			removals[c.ID]++
			// A daemon may have removed it first.
			err := p.Call(t.Context(), http.MethodDelete, "/containers/"+c.ID, nil, nil)
			if err != nil && !answered(err, http.StatusNotFound) {
				t.Logf("remove %s: %v", c.Names[0], err)
			}
		}
		return rests
	})
	all := len(list)
	list = slices.DeleteFunc(list, stuck)
	f.stuck += all - len(list)
	return list
}

// removeAll removes the containers that are left. One that cannot be removed is stuck.
func (h *harness) removeAll(t *testing.T, f *figures, list []api.Summary) {
	t.Helper()
	var removals sync.WaitGroup
	for _, c := range list {
		removals.Go(func() {
			err := h.daemons[0].Call(t.Context(), http.MethodDelete, "/containers/"+c.ID+"?force=1", nil, nil)
			if err == nil {
				return
			}
			t.Logf("remove %s: %v", c.Names[0], err)
			h.mu.Lock()
			defer h.mu.Unlock()
			f.stuck++
		})
	}
	removals.Wait()
	if left := h.azure.sim.Sites(); len(left) > f.stuck+f.orphans {
		t.Errorf("removed containers have left %v", left)
	}
}

// ranRuns returns the number of times that each run ran.
func (h *harness) ranRuns(t *testing.T, f *figures) map[string]int {
	t.Helper()
	ran := map[string]int{}
	content, err := os.ReadFile(h.runs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for id := range strings.Lines(string(content)) {
		ran[strings.TrimSpace(id)]++
	}
	for id, n := range ran {
		if n > 1 {
			t.Logf("run %s ran %d times", id, n)
			f.doubleRuns++
		}
	}
	return ran
}

// compareContainers compares the containers with the answers about them.
func (h *harness) compareContainers(t *testing.T, f *figures, list []api.Summary, ran map[string]int) {
	t.Helper()
	there := map[string]bool{}
	for _, c := range list {
		there[strings.TrimPrefix(c.Names[0], "/")] = true
	}
	for name, k := range h.containers {
		if k.created {
			f.containers++
		}
		switch {
		case k.created && !k.tried && !there[name]:
			t.Logf("container %s was created and is gone", name)
			f.lost++
		case k.removed && there[name]:
			t.Logf("container %s was removed and is there", name)
			f.lost++
		}
		for id, code := range k.ends {
			f.runs++
			if code == protocol.ExitUnknown {
				f.unknownEnds++
			} else if ran[id] == 0 {
				t.Logf("run %s ended with %d and never ran", id, code)
				f.lost++
			}
		}
	}
}

// compareApps compares the containers with the function apps in Azure.
func (h *harness) compareApps(t *testing.T, f *figures, list []api.Summary) {
	t.Helper()
	sites := h.azure.sim.Sites()
	for _, c := range list {
		if i := slices.Index(sites, "skls-"+c.ID[:20]); i >= 0 {
			sites = slices.Delete(sites, i, i+1)
		} else {
			t.Logf("container %s has no function app", c.Names[0])
			f.lost++
		}
	}
	for _, site := range sites {
		t.Logf("function app %s has no container", site)
	}
	f.orphans = len(sites)
}
