package engine

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"
	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// daemons returns engines on one PostgreSQL database, of which none is started. They have the same fakes, and one clock
// that only the test moves.
func daemons(t *testing.T, url string, n int) ([]*fixture, *clockwork.FakeClock) {
	t.Helper()
	clock := azuretest.NewClock()
	shared := fixture{
		workspaces: &fakeWorkspaces{}, invoker: &fakeInvoker{}, logs: &fakeLogs{}, registry: &fakeRegistry{},
		azure: &fakeAzure{},
	}
	list := make([]*fixture, n)
	for i := range list {
		f := shared
		var err error
		if f.db, err = store.Open(t.Context(), store.Config{URL: url, Now: clock.Now}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.db.Close(); err != nil {
				t.Error(err)
			}
		})
		f.Engine, err = New(t.Context(), Config{
			Store: f.db, Workspaces: f.workspaces, Invoker: f.invoker, Logs: f.logs, Registry: f.registry, Azure: f.azure,
			Settings: testSettings(), ReconcileInterval: -1, Clock: clock, Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = &f
	}
	return list, clock
}

// begin starts the engine and blocks until it is among the live daemons.
func (f *fixture) begin(t *testing.T) {
	t.Helper()
	connected := f.db.WatchAll() // a new connection wakes everyone
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	<-connected
}

func TestAnyDaemonAnswers(t *testing.T) {
	all, _ := daemons(t, pgtest.Database(t), 3)
	for _, f := range all {
		f.begin(t)
	}
	one, two, three := all[0], all[1], all[2]
	proceed := make(chan struct{})
	one.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		select {
		case <-proceed:
			return invoker.Result{ExitCode: 7, Lines: []protocol.Line{{Stream: protocol.Stdout, Text: "hi"}}}, nil
		case <-ctx.Done():
			return invoker.Result{}, context.Cause(ctx)
		}
	}
	stream, err := one.SystemEvents(t.Context(), api.EventsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id := one.create(t, "web")
	if err := two.ContainerStart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	accepted, waited := make(chan struct{}), make(chan api.WaitResponse)
	go func() {
		res, err := three.ContainerWait(t.Context(), "web", "", func() { close(accepted) })
		if err != nil {
			t.Error(err)
		}
		waited <- res
	}()
	<-accepted
	close(proceed)
	if res := <-waited; res.StatusCode != 7 {
		t.Errorf("got %+v, want exit code 7", res)
	}
	if got := two.read(t, "web", api.LogOptions{Stdout: true, Tail: -1}); !strings.HasSuffix(got, "hi\n") {
		t.Errorf("got %q", got)
	}
	if err := three.ContainerRemove(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for lines := bufio.NewScanner(stream); len(actions) < 4 && lines.Scan(); {
		var event api.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		actions = append(actions, string(event.Action))
	}
	if got := strings.Join(actions, " "); got != "create start die destroy" {
		t.Errorf("events: %s", got)
	}
}

func TestRefusalsReachTheDaemonThatWaits(t *testing.T) {
	all, _ := daemons(t, pgtest.Database(t), 2)
	all[1].begin(t) // the first daemon takes no jobs, so all jobs run in the second one
	ctx, end := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		all[0].db.StayConnected(ctx, func(error) {})
	}()
	defer func() { end(); <-left }()
	all[0].workspaces.provision = func(context.Context) error { return errNoRole }
	_, err := all[0].ContainerCreate(t.Context(), "web", request)
	expectNoRole(t, err)
}

func TestForcedRemoveEndsARunElsewhere(t *testing.T) {
	all, _ := daemons(t, pgtest.Database(t), 2)
	all[0].begin(t)
	began, cause := make(chan struct{}), make(chan error, 1)
	all[0].invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return invoker.Result{}, context.Cause(ctx)
	}
	all[0].create(t, "web")
	if err := all[0].ContainerStart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	<-began
	all[1].begin(t)
	if err := all[1].ContainerRemove(t.Context(), "web", true); err != nil {
		t.Fatal(err)
	}
	if err := <-cause; !errors.Is(err, errRemoved) {
		t.Errorf("the call ended with %v, want that of the removal", err)
	}
}

// TestOneDaemonAtATimeCreatesTheFoundation starts daemons together.
func TestOneDaemonAtATimeCreatesTheFoundation(t *testing.T) {
	all, _ := daemons(t, pgtest.Database(t), 3)
	ids := make(chan string, 6)
	for _, f := range all {
		f.begin(t)
	}
	for n := range cap(ids) {
		go func() {
			res, err := all[n%3].ContainerCreate(t.Context(), fmt.Sprintf("web%d", n), request)
			if err != nil {
				t.Error(err)
			}
			ids <- res.ID
		}()
	}
	for range cap(ids) {
		<-ids
	}
	if most := all[0].workspaces.most; most != 1 {
		t.Errorf("%d daemons created the foundation at a time, want one", most)
	}
}

func nothing(context.Context, *sql.Tx) error { return nil }

// TestLostJobsDoNotKeepClientsWaiting: another job in place of the one that a client waits for ends what was asked for.
func TestLostJobsDoNotKeepClientsWaiting(t *testing.T) {
	f := setup(t)
	const lost = 1 << 40
	for name, row := range map[string]struct {
		doing store.State
		end   func(id string) error
		want  string
	}{
		"removed": {store.Removing, func(id string) error { return f.db.Delete(t.Context(), id, nothing) }, ""},
		"not removed": {store.Removing, func(id string) error {
			return f.db.Fail(t.Context(), id, "no role", retryAfter, nothing)
		}, "no role"},
		"created": {store.Creating, func(id string) error {
			return f.db.Provisioned(t.Context(), id, store.App{ResourceID: "r", HostName: "h"}, nothing)
		}, ""},
		"not created": {store.Creating, func(id string) error {
			return f.db.Delete(t.Context(), id, nothing)
		}, "the container could not be created, and is gone: the daemon's log has the reason"},
	} {
		id, err := randomHex(32)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.db.CreateContainer(t.Context(), store.Container{ID: id, Name: id[:12]}); err != nil {
			t.Fatal(err)
		}
		if row.doing == store.Removing {
			if err := f.db.Provisioned(t.Context(), id, store.App{ResourceID: "r", HostName: "h"}, nothing); err != nil {
				t.Fatal(err)
			}
			if err := f.db.Remove(t.Context(), id, false, nothing); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error)
		go func() { ended <- f.await(t.Context(), id, row.doing, lost) }()
		if err := row.end(id); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := <-ended; err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}
