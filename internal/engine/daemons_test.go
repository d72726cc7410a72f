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
	"time"

	"github.com/rs/zerolog"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/invoker/protocol"
	"github.com/sockerless/backend-azf/store"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// daemons are engines on one PostgreSQL database, of which none is started, with the same fakes.
func daemons(t *testing.T, url string, n int, takeOverAfter time.Duration) []*fixture {
	t.Helper()
	shared := fixture{workspaces: &fakeWorkspaces{}, invoker: &fakeInvoker{}, logs: &fakeLogs{}, registry: &fakeRegistry{}, azure: &fakeAzure{}}
	list := make([]*fixture, n)
	for i := range list {
		f := shared
		var err error
		if f.db, err = store.Open(t.Context(), store.Config{URL: url}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.db.Close(); err != nil {
				t.Error(err)
			}
		})
		f.Engine, err = New(t.Context(), Config{
			Store: f.db, Workspaces: f.workspaces, Invoker: f.invoker, Logs: f.logs, Registry: f.registry, Azure: f.azure, Settings: testSettings(), ReconcileInterval: -1,
			TakeOverAfter: takeOverAfter, Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = &f
	}
	return list
}

func (f *fixture) begin(t *testing.T) {
	t.Helper()
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnyDaemonAnswers(t *testing.T) {
	all := daemons(t, pgtest.Database(t), 3, time.Hour)
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
	var told []string
	for lines := bufio.NewScanner(stream); len(told) < 4 && lines.Scan(); {
		var event api.Event
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		told = append(told, string(event.Action))
	}
	if got := strings.Join(told, " "); got != "create start die destroy" {
		t.Errorf("events: %s", got)
	}
}

func TestRefusalsReachTheDaemonThatWaits(t *testing.T) {
	all := daemons(t, pgtest.Database(t), 2, time.Hour)
	all[1].begin(t) // the first one takes no jobs, so all run in the other
	ctx, end := context.WithCancel(t.Context())
	attended := make(chan struct{})
	go func() {
		defer close(attended)
		all[0].db.StayConnected(ctx, func(error) {})
	}()
	defer func() { end(); <-attended }()
	all[0].workspaces.provision = func(context.Context) error {
		return &api.Error{Kind: api.Forbidden, Message: "no role", RetryAfter: time.Minute, CorrelationID: "corr", RequestID: "req", Err: errors.New("AuthorizationFailed")}
	}
	_, err := all[0].ContainerCreate(t.Context(), "web", request)
	known, ok := errors.AsType[*api.Error](err)
	if !ok || known.Kind != api.Forbidden || known.Message != "cannot create container web: no role" || known.RetryAfter != time.Minute ||
		known.CorrelationID != "corr" || known.RequestID != "req" || known.Err == nil {
		t.Errorf("got %#v", err)
	}
}

func TestForcedRemoveEndsARunElsewhere(t *testing.T) {
	all := daemons(t, pgtest.Database(t), 2, time.Hour)
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

// runningIn makes the job of an unfinished create look as a daemon leaves it that dies while it works on it.
func runningIn(t *testing.T, f *fixture, daemon string) string {
	t.Helper()
	id := strings.Repeat("a", 64)
	c := store.Container{ID: id, Name: "web", Config: *request.Config, FunctionApp: "app"}
	err := f.db.CreateContainer(t.Context(), c, func(ctx context.Context, tx *sql.Tx) error {
		var job int64
		if err := f.enqueue(provisionArgs{ContainerID: id}, &job)(ctx, tx); err != nil {
			return err
		}
		// In the same transaction, before a daemon can take it.
		_, err := tx.ExecContext(ctx, "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = ARRAY[$1] WHERE id = $2", daemon, job)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAbandonedJobsAreTakenOver(t *testing.T) {
	for name, row := range map[string]struct {
		owner int // this one, one that never attended, another
		taken bool
	}{
		"of this one, which lost it": {0, true}, "of a dead one": {1, true}, "not of one that lives": {2, false},
	} {
		t.Run(name, func(t *testing.T) {
			all := daemons(t, pgtest.Database(t), 3, time.Hour)
			own, dead, other := all[0], all[1], all[2]
			own.begin(t)
			attending := other.db.Watch("any") // attending wakes everyone
			other.begin(t)
			<-attending
			runningIn(t, own, []*fixture{own, dead, other}[row.owner].db.DaemonID())
			now := time.Now()
			seen, err := own.takeOver(t.Context(), nil, now)
			if err != nil || (len(seen) == 1) != row.taken {
				t.Fatalf("at first: got %v, %v", seen, err)
			}
			seen, err = own.takeOver(t.Context(), seen, now.Add(time.Hour-time.Second))
			if err != nil || (len(seen) == 1) != row.taken {
				t.Fatalf("too early: got %v, %v", seen, err)
			}
			if seen, err = own.takeOver(t.Context(), seen, now.Add(time.Hour)); err != nil || len(seen) != 0 {
				t.Fatalf("in time: got %v, %v", seen, err)
			}
			if !row.taken {
				if c, err := own.db.Container(t.Context(), "web"); err != nil || c.State != store.Creating {
					t.Errorf("got %v, %v; want it left alone", c.State, err)
				}
				return
			}
			own.until(t, "web", store.Created)
		})
	}
}

// TestDatabaseGoneAndBack cuts a daemon off from its database while Terraform works for a client who waits.
func TestDatabaseGoneAndBack(t *testing.T) {
	server, url := pgtest.Own(t)
	f := daemons(t, url, 1, 300*time.Millisecond)[0]
	f.begin(t)
	began, cut := make(chan struct{}), make(chan error, 1)
	f.workspaces.provision = func(ctx context.Context) error {
		f.workspaces.set(func() { f.workspaces.provision = nil }) // the second time it works
		close(began)
		<-ctx.Done() // as an interrupted terraform
		cut <- context.Cause(ctx)
		return ctx.Err()
	}
	created := make(chan error)
	go func() {
		_, err := f.ContainerCreate(t.Context(), "web", request)
		created <- err
	}()
	<-began
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-cut; !errors.Is(err, errCutOff) {
		t.Errorf("the run ended with %v, want that the daemon was cut off", err)
	}
	if _, err := f.ContainerCreate(t.Context(), "other", request); api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "database") {
		t.Errorf("create meanwhile: got %v, want unavailable", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Errorf("the client who waited: %v", err)
	}
	if c, err := f.db.Container(t.Context(), "web"); err != nil || c.State != store.Created || f.workspaces.destroyed != 0 {
		t.Errorf("got %v, %v, destroyed %d times; want it created", c.State, err, f.workspaces.destroyed)
	}
}

// TestOneDaemonAtATimeMakesTheFoundation is for daemons that begin together.
func TestOneDaemonAtATimeMakesTheFoundation(t *testing.T) {
	all := daemons(t, pgtest.Database(t), 3, time.Hour)
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
		t.Errorf("%d daemons made the foundation at a time, want one", most)
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
		if err := f.db.CreateContainer(t.Context(), store.Container{ID: id, Name: id[:12]}, nothing); err != nil {
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
