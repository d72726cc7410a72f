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
	steps := &registrySteps{met: map[string]int{}, killed: make(chan string), next: make(chan bool)}
	p := newAzure(t, func(cfg *azuresim.Config) {
		cfg.Shared = nil
		cfg.Wrap = func(next http.Handler) http.Handler {
			steps.handler = next
			return steps
		}
	})
	steps.kill = p.kill
	p.canWrap(t)
	p.plain(t, "team/tool", nil)
	p.launch(t)
	azuretest.Eventually(t, "the look-up of the base at start", func() bool {
		return strings.Contains(p.log(t), "wraps images without a Functions host")
	})
	steps.armed.Store(true)
	answer := p.request(t, http.MethodPost, "/containers?name=web", api.CreateRequest{
		Config: &api.Config{Image: "team.azurecr.io/team/tool:1", Cmd: []string{"tool", "show"}},
	})
	kills := map[string]int{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("daemons were killed %v\n%s", kills, p.log(t))
		}
	})
	for created := false; !created; {
		azuretest.Eventually(t, "a step, or the container", func() bool {
			select {
			case step := <-steps.killed:
				kills[step]++
				p.spawn(t)
				steps.next <- true
				return true
			default:
			}
			var info api.InspectResponse
			err := p.Call(t.Context(), http.MethodGet, "/containers/web", nil, &info)
			created = err == nil && info.AZF.ResourceID != ""
			return created
		})
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

// registrySteps kills a daemon before each step of a wrap, and another one after it.
type registrySteps struct {
	handler http.Handler
	kill    func()
	armed   atomic.Bool
	killed  chan string // the step at which a daemon was killed
	next    chan bool   // the next daemon is there

	mu    sync.Mutex // from the death of a daemon until the next one is there
	kills atomic.Int32
	met   map[string]int
}

var stepPath = regexp.MustCompile(`^/v2/(azure-functions/base|sockerless/[a-z]+)/(blobs/uploads/|blobs/|manifests/)`)

func (s *registrySteps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := stepPath.FindString(r.URL.Path)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !s.armed.Load() || path == "" || reads != strings.Contains(path, "/base/") {
		s.handler.ServeHTTP(w, r)
		return
	}
	kills := s.kills.Load()
	s.mu.Lock()
	if kills != s.kills.Load() {
		s.mu.Unlock()
		panic(http.ErrAbortHandler) // the daemon that asks was killed at another request
	}
	key := r.Method + path + r.URL.Query().Get("mount") + r.URL.Query().Get("digest")
	if reads {
		key = r.Method + r.URL.Path
	}
	s.met[key]++
	times := s.met[key]
	if times > 2 {
		s.mu.Unlock()
		s.handler.ServeHTTP(w, r)
		return
	}
	defer s.mu.Unlock()
	when := "before "
	if times == 2 {
		when = "after "
		s.handler.ServeHTTP(w, r)
	}
	s.kills.Add(1)
	s.kill()
	s.killed <- when + r.Method + " " + path
	<-s.next
	panic(http.ErrAbortHandler)
}
