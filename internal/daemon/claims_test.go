package daemon_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuresim"
	"github.com/sockerless/backend-azf/internal/azuretest"
)

// giveUp sends a create and leaves while Azure creates the function app. Then it lets Azure go on.
func (p *playground) giveUp(t *testing.T, path string, req api.CreateRequest) {
	t.Helper()
	arrived, goOn := make(chan struct{}, 1), make(chan struct{})
	p.sim.SetFaults(azuresim.Faults{Latency: func(method, path string) (none time.Duration) {
		if method == http.MethodPut && sitePath.MatchString(path) {
			arrived <- struct{}{}
			<-goOn
		}
		return none
	}})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { left <- p.Call(ctx, http.MethodPost, path, req, nil) }()
	<-arrived
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	p.sim.SetFaults(azuresim.Faults{})
	close(goOn)
}

// TestClientsThatGiveUp leave before the answer to their create. Nothing stays in Azure that nobody knows of, and a
// client that asks again by name gets the container of its first request.
func TestClientsThatGiveUp(t *testing.T) {
	p := newPlayground(t)
	req := api.CreateRequest{Config: &api.Config{Image: p.image, Cmd: []string{"hello"}}}
	p.giveUp(t, "/containers", req)
	p.wantNothing(t)
	p.giveUp(t, "/containers?name=job", req)
	other := api.CreateRequest{Config: &api.Config{Image: p.image, Cmd: []string{"goodbye"}}}
	err := p.Call(t.Context(), http.MethodPost, "/containers?name=job", other, nil)
	if !answered(err, http.StatusConflict) {
		t.Errorf("another request: got %v", err)
	}
	var created api.CreateResponse
	// The daemon learns a little later that the first client has left.
	azuretest.Eventually(t, "the container of the first request", func() bool {
		err := p.Call(t.Context(), http.MethodPost, "/containers?name=job", req, &created)
		if err != nil && !answered(err, http.StatusConflict) {
			t.Fatal(err)
		}
		return err == nil
	})
	var inspected api.InspectResponse
	p.must(t, http.MethodGet, "/containers/job", nil, &inspected)
	if created.ID != inspected.ID || inspected.State.Status != "created" || len(p.sim.Sites()) != 1 {
		t.Errorf("got %+v and %+v, function apps %v", created, inspected.State, p.sim.Sites())
	}
	if err := p.Call(t.Context(), http.MethodPost, "/containers?name=job", req, nil); !answered(err, http.StatusConflict) {
		t.Errorf("after the answer: got %v", err)
	}
	p.must(t, http.MethodDelete, "/containers/job", nil, nil)
	p.wantNothing(t)
}
