package engine

import (
	"context"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// leave sends a create and leaves while the function app is being created. Then it lets the creation go on.
func (f *fixture) leave(t *testing.T, name string) {
	t.Helper()
	began, goOn := make(chan struct{}), make(chan struct{})
	f.workspaces.set(func() {
		f.workspaces.provision = func(context.Context) error {
			close(began)
			<-goOn
			return nil
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := f.ContainerCreate(ctx, name, request)
		left <- err
	}()
	<-began
	cancel()
	if err := <-left; err == nil {
		t.Error("the create was answered")
	}
	f.workspaces.set(func() { f.workspaces.provision = nil })
	close(goOn)
}

// settled waits until no container is being created or removed, and returns those that are left.
func (f *fixture) settled(t *testing.T) []store.Container {
	t.Helper()
	for {
		changed := f.db.WatchAll()
		list, err := f.db.Containers(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		busy := false
		for _, c := range list {
			busy = busy || c.State == store.Creating || c.State == store.Removing || c.Lost() && c.Unnamed
		}
		if !busy {
			return list
		}
		<-changed
	}
}

func TestClientThatLeavesWithoutANameLeavesNothing(t *testing.T) {
	f := setup(t)
	f.leave(t, "")
	if list := f.settled(t); len(list) != 0 || len(f.workspaces.removals) != 1 {
		t.Errorf("left %+v, %d removals", list, len(f.workspaces.removals))
	}
}

func TestNextCreateJoinsTheLostOne(t *testing.T) {
	f := setup(t)
	f.leave(t, "web")
	list := f.settled(t)
	if len(list) != 1 || !list[0].Lost() {
		t.Fatalf("got %+v, want it kept", list)
	}
	other := request
	other.Config = &api.Config{Image: request.Image, Cmd: []string{"another"}}
	if _, err := f.ContainerCreate(t.Context(), "web", other); api.KindOf(err) != api.Conflict {
		t.Errorf("another command: got %v", err)
	}
	anotherUser, _ := by(t.Context(), 1000, "1")
	if _, err := f.ContainerCreate(anotherUser, "web", request); api.KindOf(err) != api.Conflict {
		t.Errorf("another user: got %v", err)
	}
	res, err := f.ContainerCreate(t.Context(), "web", request)
	if err != nil || res.ID != list[0].ID {
		t.Errorf("got %+v, %v; want to join %.12s", res, err, list[0].ID)
	}
	if _, err := f.ContainerCreate(t.Context(), "web", request); api.KindOf(err) != api.Conflict {
		t.Errorf("after an answer: got %v", err)
	}
}

// TestDaemonThatDiesLeavesNothingUnnamed kills the daemon that a client waits for.
func TestDaemonThatDiesLeavesNothingUnnamed(t *testing.T) {
	f := setup(t)
	for i, name := range []string{"named", ""} {
		c := requested(string("ab"[i])+randomID(t)[1:], name, request)
		if err := f.db.CreateContainer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		app := store.App{ResourceID: "r", HostName: "h"}
		if err := f.db.Provisioned(t.Context(), c.ID, app, nothing); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.db.SQL().ExecContext(t.Context(), "UPDATE containers SET claim = 'azf-00000000'"); err != nil {
		t.Fatal(err)
	}
	if err := f.compareJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := f.settled(t); len(list) != 1 || list[0].Name != "named" || !list[0].Lost() {
		t.Errorf("got %+v", list)
	}
	// So is a claim of this daemon for which no client waits: it could not be recorded that the client left.
	c := requested(randomID(t), "", request)
	if err := f.db.CreateContainer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := f.db.Provisioned(t.Context(), c.ID, store.App{ResourceID: "r", HostName: "h"}, nothing); err != nil {
		t.Fatal(err)
	}
	if err := f.compareJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := f.settled(t); len(list) != 1 {
		t.Errorf("got %+v", list)
	}
}

// TestWaitingClientKeepsItsContainer compares while a client waits.
func TestWaitingClientKeepsItsContainer(t *testing.T) {
	f := setup(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	f.workspaces.provision = func(context.Context) error {
		close(began)
		<-goOn
		return nil
	}
	created := make(chan error)
	go func() {
		_, err := f.ContainerCreate(t.Context(), "", request)
		created <- err
	}()
	<-began
	if err := f.compareJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	if list := f.settled(t); len(list) != 1 || list[0].Claim != "" {
		t.Errorf("got %+v", list)
	}
}

func randomID(t *testing.T) string {
	t.Helper()
	id, err := randomHex(32)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
