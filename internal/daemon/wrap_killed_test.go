package daemon_test

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// TestLongKilledDuringWrap kills one daemon after the other, before and after each step of a wrap: each read of
// the base image, and each write to the registry.
func TestLongKilledDuringWrap(t *testing.T) {
	steps := &registrySteps{met: map[string]int{}, killed: make(chan string)}
	p := newAzure(t, func(cfg *azuresim.Config) {
		cfg.Shared = nil
		cfg.Wrap = func(next http.Handler) http.Handler {
			steps.next = next
			return steps
		}
	})
	steps.kill = p.kill
	p.canWrap(t)
	p.plain(t, "team/tool", nil)
	p.launch(t)
	steps.armed.Store(true)
	created := make(chan struct{})
	answer := p.request(t, http.MethodPost, "/containers?name=web", api.CreateRequest{
		Config: &api.Config{Image: "team.azurecr.io/team/tool:1", Cmd: []string{"tool", "show"}},
	})
	go func() {
		defer close(created)
		azuretest.Eventually(t, "container", func() bool {
			var info api.InspectResponse
			err := p.Call(t.Context(), http.MethodGet, "/containers/web", nil, &info)
			return err == nil && info.AZF.ResourceID != ""
		})
	}()
	kills := map[string]int{}
	for done := false; !done; {
		select {
		case step := <-steps.killed:
			kills[step]++
			p.spawn(t)
		case <-created:
			done = true
		}
	}
	if err := <-answer; err == nil {
		t.Error("a dead daemon has answered")
	}
	for _, want := range []string{
		"before GET /v2/azure-functions/base/blobs/", "before POST /v2/sockerless/host/blobs/uploads/",
		"after PATCH /v2/sockerless/host/blobs/uploads/", "before PUT /v2/sockerless/host/manifests/",
		"after PUT /v2/sockerless/host/manifests/", "before PUT /v2/sockerless/wrapped/manifests/",
		"after PUT /v2/sockerless/wrapped/manifests/",
	} {
		if kills[want] == 0 {
			t.Errorf("no daemon was killed %s", want)
		}
	}
	t.Logf("daemons were killed %v", kills)
	derived, incomplete := p.derivedImages(t)
	if hosts := p.tags(t, "sockerless/host"); len(derived) != 1 || len(incomplete) != 0 || len(hosts) != 1 {
		t.Errorf("derived images %v, incomplete %v, hosts %v, want one", derived, incomplete, hosts)
	}
	if left := p.tempFiles(t); len(left) > 0 {
		t.Errorf("temporary files %v", left)
	}
	p.lives(t, "web")
}

// registrySteps kills a daemon before and after each step of a wrap: two times in all for each.
type registrySteps struct {
	next   http.Handler
	kill   func()
	killed chan string
	armed  atomic.Bool

	mu  sync.Mutex
	met map[string]int
}

var stepPath = regexp.MustCompile(`^/v2/(azure-functions/base|sockerless/[a-z]+)/(blobs/uploads/|blobs/|manifests/)`)

func (s *registrySteps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := stepPath.FindString(r.URL.Path)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !s.armed.Load() || path == "" || reads != strings.Contains(path, "/base/") {
		s.next.ServeHTTP(w, r)
		return
	}
	step := r.Method + " " + path
	s.mu.Lock()
	key := step + r.URL.Query().Get("mount") + r.URL.Query().Get("digest")
	n := s.met[key]
	s.met[key]++
	s.mu.Unlock()
	switch n {
	case 0:
		s.kill()
		s.killed <- "before " + step
	case 1:
		s.next.ServeHTTP(w, r)
		s.kill()
		s.killed <- "after " + step
	default:
		s.next.ServeHTTP(w, r)
		return
	}
	panic(http.ErrAbortHandler)
}
