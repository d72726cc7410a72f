package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/daemon"
)

// TestStopAnswersWhoWaits stops a daemon while Terraform waits for Azure. The client gets an answer, and the next
// daemon finishes the create.
func TestStopAnswersWhoWaits(t *testing.T) {
	p := newPlaygroundWith(t, func(cfg *daemon.Config) { cfg.ShutdownTimeout = 0 })
	writing, release := make(chan struct{}), make(chan struct{})
	p.atWrite(false, http.MethodPut, sitePath, func() {
		close(writing)
		<-release
	})
	answer := p.request(t, http.MethodPost, "/containers?name=web", p.createRequest())
	<-writing
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stop() // fails the test when the daemon ends with an error
	}()
	const stopping = "the daemon is stopping: it will finish the request when it has restarted"
	if err := <-answer; !answered(err, http.StatusServiceUnavailable) || !strings.Contains(err.Error(), stopping) {
		t.Errorf("got %v", err)
	}
	close(release)
	<-stopped

	p.start()
	p.happened(t, "web", api.EventCreate)
	p.must(t, http.MethodDelete, "/containers/web", nil, nil)
	if left := p.sim.Sites(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
