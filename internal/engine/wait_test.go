package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
)

func TestNotInvoked(t *testing.T) {
	f := setup(t)
	f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		return invoker.Result{}, errors.New("401: the key is wrong")
	}
	f.create(t, "web")
	f.run(t, "web")
	res := f.wait(t, "web", "")
	if res.StatusCode != 125 || res.Error == nil || !strings.Contains(res.Error.Message, "401") {
		t.Errorf("got %+v, want 125 with the cause", res)
	}
}

func TestForcedRemoveEndsTheRun(t *testing.T) {
	f := setup(t)
	began := make(chan struct{})
	f.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		close(began)
		<-ctx.Done()
		return invoker.Result{}, context.Cause(ctx)
	}
	f.create(t, "web")
	f.run(t, "web")
	if err := f.ContainerStart(t.Context(), "web"); api.KindOf(err) != api.NotModified {
		t.Errorf("second start: got %v, want not modified", err)
	}
	<-began
	if err := f.ContainerRemove(t.Context(), "web", false); api.KindOf(err) != api.Conflict {
		t.Errorf("got %v, want a conflict without force", err)
	}
	accepted, removed := make(chan struct{}), make(chan error)
	go func() {
		_, err := f.ContainerWait(t.Context(), "web", api.WaitRemoved, func() { close(accepted) })
		removed <- err
	}()
	<-accepted
	if err := f.ContainerRemove(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	if err := <-removed; err != nil {
		t.Errorf("wait for removal: %v", err)
	}
}

func TestWait(t *testing.T) {
	f := setup(t)
	proceed := make(chan struct{})
	f.invoker.run = func(context.Context, invoker.Request) (invoker.Result, error) {
		<-proceed
		return invoker.Result{ExitCode: 4}, nil
	}
	f.create(t, "web")
	if res := f.wait(t, "web", api.WaitNotRunning); res.StatusCode != 0 {
		t.Errorf("got %+v, want 0 at once for a container that never ran", res)
	}
	accepted, codes := make(chan struct{}, 2), make(chan int64, 2)
	for range 2 {
		go func() {
			res, err := f.ContainerWait(t.Context(), "web", api.WaitNextExit, func() { accepted <- struct{}{} })
			if err != nil {
				t.Error(err)
			}
			codes <- res.StatusCode
		}()
	}
	<-accepted
	<-accepted
	f.run(t, "web")
	ctx, leave := context.WithCancel(t.Context())
	if _, err := f.ContainerWait(ctx, "web", "", leave); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the client's cancellation", err)
	}
	close(proceed)
	for range 2 {
		if code := <-codes; code != 4 {
			t.Errorf("got %d, want 4", code)
		}
	}
	if _, err := f.ContainerWait(t.Context(), "web", "healthy", func() {}); api.KindOf(err) != api.InvalidParameter {
		t.Errorf("got %v, want invalid", err)
	}
	if _, err := f.ContainerWait(t.Context(), "nobody", "", func() {}); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want not found", err)
	}
}

func TestAutoRemove(t *testing.T) {
	f := setup(t)
	_, release := f.held()
	destroying, destroy := make(chan struct{}), make(chan struct{})
	f.workspaces.destroy = func(context.Context) error {
		close(destroying)
		<-destroy
		return nil
	}
	req := request
	req.HostConfig = &api.HostConfig{AutoRemove: true}
	if _, err := f.ContainerCreate(t.Context(), "web", req); err != nil {
		t.Fatal(err)
	}
	f.run(t, "web")
	codes := make(chan int64, 3)
	conditions := []api.WaitCondition{api.WaitNotRunning, api.WaitNextExit, api.WaitRemoved}
	accepted := make(chan struct{}, len(conditions))
	for _, cond := range conditions {
		go func() {
			res, err := f.ContainerWait(t.Context(), "web", cond, func() { accepted <- struct{}{} })
			if err != nil {
				t.Errorf("wait %s: %v", cond, err)
			}
			codes <- res.StatusCode
		}()
	}
	for range conditions {
		<-accepted
	}
	release <- 5
	<-destroying
	for range 2 { // two of the conditions hold at the end of the run
		if code := <-codes; code != 5 {
			t.Errorf("got %d, want 5", code)
		}
	}
	close(destroy)
	if code := <-codes; code != 5 {
		t.Errorf("wait for removal: got %d, want 5", code)
	}
	if _, err := f.ContainerInspect(t.Context(), "web"); api.KindOf(err) != api.NotFound {
		t.Errorf("got %v, want it gone", err)
	}
}

func TestForcedRemovalIsAnExit(t *testing.T) {
	f := setup(t)
	began, _ := f.held()
	f.create(t, "web")
	f.run(t, "web")
	<-began
	accepted, answer := make(chan struct{}), make(chan api.WaitResponse)
	go func() {
		res, err := f.ContainerWait(t.Context(), "web", "", func() { close(accepted) })
		if err != nil {
			t.Error(err)
		}
		answer <- res
	}()
	<-accepted
	if err := f.ContainerRemove(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	if res := <-answer; res.StatusCode != 137 {
		t.Errorf("got %+v, want 137", res)
	}
}

func TestWaitForRemovalThatFails(t *testing.T) {
	f := setup(t)
	f.workspaces.destroy = func(context.Context) error { return errors.New("no answer") }
	f.create(t, "web")
	accepted, answer := make(chan struct{}), make(chan api.WaitResponse)
	go func() {
		res, err := f.ContainerWait(t.Context(), "web", api.WaitRemoved, func() { close(accepted) })
		if err != nil {
			t.Error(err)
		}
		answer <- res
	}()
	<-accepted
	if err := f.ContainerRemove(t.Context(), "web", false); err == nil {
		t.Fatal("no error")
	}
	if res := <-answer; res.Error == nil || !strings.Contains(res.Error.Message, "no answer") {
		t.Errorf("got %+v, want the failure", res)
	}
}
