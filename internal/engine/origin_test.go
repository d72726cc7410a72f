package engine

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
)

// by returns a context of a request of a user.
func by(ctx context.Context, uid uint32, request string) (context.Context, *api.Origin) {
	o := api.Origin{
		Requester: api.Requester{Kind: api.RequesterUnix, UID: &uid, User: "ci"},
		Request:   &api.RequestDetails{ID: request, API: "docker/1.48"},
	}
	return api.WithOrigin(ctx, o), &o
}

// TestOrigins follows the requester from the request into the rows and the jobs.
func TestOrigins(t *testing.T) {
	f := setup(t)
	creating, creator := by(t.Context(), 1000, "1")
	if _, err := f.ContainerCreate(creating, "web", request); err != nil {
		t.Fatal(err)
	}
	starting, starter := by(t.Context(), 1001, "2")
	if err := f.ContainerStart(starting, "web"); err != nil {
		t.Fatal(err)
	}
	f.wait(t, "web", api.WaitNotRunning)
	info, err := f.ContainerInspect(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	got := []*api.Origin{info.AZF.CreatedBy, info.AZF.StartedBy}
	if diff := cmp.Diff([]*api.Origin{creator, starter}, got); diff != "" {
		t.Error(diff)
	}
	for kind, want := range map[string]*api.Origin{"provision": creator, "invoke": starter} {
		if diff := cmp.Diff(*want, originOf(f.onlyJob(t, kind))); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
	removing, remover := by(t.Context(), 1002, "3")
	if err := f.ContainerRemove(removing, "web", false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*remover, originOf(f.onlyJob(t, "destroy"))); diff != "" {
		t.Error(diff)
	}
}

// TestOriginOfADaemonsJob has a removal that the daemon makes on its own.
func TestOriginOfADaemonsJob(t *testing.T) {
	f := setup(t)
	f.create(t, "web")
	id := f.create(t, "other")
	err := f.db.Remove(api.ByDaemon(t.Context(), "reconcile"), id, false, f.enqueueDestroy(id))
	if err != nil {
		t.Fatal(err)
	}
	got := originOf(f.onlyJob(t, "destroy"))
	if got.Requester.Kind != api.RequesterDaemon || got.Requester.Cause != "reconcile" || got.Request != nil {
		t.Errorf("got %+v", got)
	}
	info, err := f.ContainerInspect(t.Context(), "web")
	if err != nil || info.AZF.CreatedBy != nil || info.AZF.StartedBy != nil {
		t.Errorf("a container of nobody: got %+v, %v", info.AZF, err)
	}
}

// TestRequestersAreToldApart compares users and certificates, as the join of a create does.
func TestRequestersAreToldApart(t *testing.T) {
	one, two := uint32(1), uint32(2)
	a, b := api.Requester{Kind: api.RequesterUnix, UID: &one}, api.Requester{Kind: api.RequesterUnix, UID: &two}
	again := one
	if a.Same(b) || !a.Same(api.Requester{Kind: api.RequesterUnix, UID: &again, PID: 7}) || a.Same(api.Requester{}) {
		t.Error("users are not told apart")
	}
	c := api.Requester{Kind: api.RequesterMTLS, Fingerprint: "a"}
	if c.Same(api.Requester{Kind: api.RequesterMTLS, Fingerprint: "b"}) || !c.Same(c) {
		t.Error("certificates are not told apart")
	}
}
