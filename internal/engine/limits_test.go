package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

func TestOneChangeOfAServicePlanAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(DefaultLimits())
		applied, err := g.BeforeApply(t.Context(), workspace.Changes{Add: 1})
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan func())
		go func() {
			applied, err := g.BeforeApply(t.Context(), workspace.Changes{Add: 1})
			if err != nil {
				t.Error(err)
			}
			second <- applied
		}()
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if _, err := g.BeforeApply(ctx, workspace.Changes{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the wait", err)
		}
		select {
		case <-second:
			t.Error("two changes of one service plan go on")
		default:
		}
		applied()
		(<-second)()
	})
}

func TestWritesPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := DefaultLimits()
		limits.AzureWritesPerMinute = 110 // ten apps
		g, began := NewGate(limits), time.Now()
		for range 30 {
			applied, err := g.BeforeApply(t.Context(), workspace.Changes{Add: 1})
			if err != nil {
				t.Fatal(err)
			}
			applied()
		}
		// Ten at once, and ten in each minute.
		if took := time.Since(began); took < 119*time.Second || took > 121*time.Second {
			t.Errorf("30 apps took %s, want 2 minutes", took)
		}
		limits.AzureWritesPerMinute = 1
		if _, err := NewGate(limits).BeforeApply(t.Context(), workspace.Changes{Add: 1000}); err != nil {
			t.Errorf("more than the whole budget: %v", err)
		}
	})
}

func TestOverloadIsRefused(t *testing.T) {
	f := setup(t)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.limits = Limits{TerraformRuns: 1, TerraformRunsPerServicePlan: 1, AzureWritesPerMinute: 1, Queue: 3}
	f.start(t)
	began, proceed := make(chan string, 3), make(chan struct{})
	f.workspaces.set(func() {
		f.workspaces.provision = func(context.Context) error {
			f.workspaces.set(func() { began <- f.workspaces.app.Name })
			<-proceed
			return nil
		}
	})
	created := make(chan error, 3)
	var order []string
	for _, name := range []string{"one", "two", "three"} {
		go func() {
			_, err := f.ContainerCreate(t.Context(), name, request)
			created <- err
		}()
		c := f.appears(t, name)
		order = append(order, c.FunctionApp)
	}
	_, err := f.ContainerCreate(t.Context(), "four", request)
	refused, ok := errors.AsType[*api.Error](err)
	if !ok || refused.Kind != api.Unavailable || refused.RetryAfter != queueRetryAfter {
		t.Errorf("got %v, want it refused for now", err)
	}
	for _, want := range order { // one at a time, in the order of the requests
		if got := <-began; got != want {
			t.Errorf("created %s, want %s", got, want)
		}
		proceed <- struct{}{}
		if err := <-created; err != nil {
			t.Error(err)
		}
	}
	close(proceed)
	if _, err := f.ContainerCreate(t.Context(), "four", request); err != nil {
		t.Error(err)
	}
}

// appears blocks until there is a container of that name, and returns it.
func (f *fixture) appears(t *testing.T, name string) store.Container {
	t.Helper()
	for {
		changed := f.db.WatchAll()
		c, err := f.db.Container(t.Context(), name)
		if err == nil {
			return c
		}
		if api.KindOf(err) != api.NotFound {
			t.Fatal(err)
		}
		<-changed
	}
}
