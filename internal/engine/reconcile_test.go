package engine

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/invoker"
	"github.com/sockerless/backend-azf/store"
)

func hexID(c string) string { return strings.Repeat(c, 64) }

// loseJobs forgets every job, as a database does that was restored in part.
func (f *fixture) loseJobs(t *testing.T) {
	t.Helper()
	if _, err := f.db.ReleaseJobs(t.Context()); err != nil { // the queue does not delete running jobs
		t.Fatal(err)
	}
	all := river.NewJobDeleteManyParams().UnsafeAll().First(jobPage)
	if _, err := f.river.JobDeleteMany(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	left, err := f.river.JobList(t.Context(), river.NewJobListParams().First(jobPage))
	if err != nil || len(left.Jobs) > 0 {
		t.Fatalf("%d jobs are left, %v", len(left.Jobs), err)
	}
}

// until blocks until a container is in a state. "" means that it is gone.
func (f *fixture) until(t *testing.T, ref string, state store.State) {
	t.Helper()
	for {
		changed := f.db.WatchAll()
		c, err := f.db.Container(t.Context(), ref)
		if api.KindOf(err) == api.NotFound && state == "" || err == nil && c.State == state {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("%s stays %s", ref, c.State)
		}
	}
}

func TestMissingJobsAreInserted(t *testing.T) {
	f := setup(t)
	began := make(chan struct{}, 10)
	stuck := func(ctx context.Context) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	f.create(t, "removed")
	f.create(t, "run")
	f.workspaces.set(func() { f.workspaces.provision, f.workspaces.destroy = stuck, stuck })
	f.invoker.run = func(ctx context.Context, _ invoker.Request) (invoker.Result, error) {
		return invoker.Result{}, stuck(ctx)
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 2)
	go func() {
		_, err := f.ContainerCreate(ctx, "created", request)
		left <- err
	}()
	go func() { left <- f.ContainerRemove(ctx, "removed", false) }()
	if err := f.ContainerStart(t.Context(), "run"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-began
	}
	leave()
	for range 2 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the client's departure", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.loseJobs(t)
	f.workspaces.set(func() { f.workspaces.provision, f.workspaces.destroy = nil, nil })
	f.invoker.run = nil
	f.start(t)
	f.until(t, "created", store.Created)
	f.until(t, "removed", "")
	f.until(t, "run", store.Exited)
	if err := f.reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	jobs, err := f.river.JobList(t.Context(), river.NewJobListParams().Kinds("provision", "destroy", "invoke"))
	if err != nil || len(jobs.Jobs) != 3 {
		t.Errorf("got %d jobs, %v; want one each", len(jobs.Jobs), err)
	}
}

// insert inserts a job and returns its id.
func (f *fixture) insert(t *testing.T, args river.JobArgs) (id int64) {
	t.Helper()
	tx, err := f.db.SQL().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.enqueue(args, &id)(t.Context(), tx), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestOneJobOfAKind inserts a job a second time. While the first one is unfinished, none is added. When its change is
// visible, it is finished.
func TestOneJobOfAKind(t *testing.T) {
	f := setup(t)
	going, fail := make(chan struct{}), make(chan struct{})
	f.workspaces.destroy = func(context.Context) error {
		close(going)
		<-fail
		return errors.New("no answer")
	}
	id := f.create(t, "web")
	removed := make(chan error, 1)
	go func() { removed <- f.ContainerRemove(t.Context(), "web", false) }()
	<-going
	list, err := f.river.JobList(t.Context(), river.NewJobListParams().Kinds("destroy"))
	if err != nil || len(list.Jobs) != 1 {
		t.Fatalf("got %d jobs, %v", len(list.Jobs), err)
	}
	running := list.Jobs[0].ID
	if again := f.insert(t, destroyArgs{ContainerID: id}); again != running {
		t.Errorf("inserted job %d, want it to be job %d", again, running)
	}
	close(fail)
	if err := <-removed; err == nil {
		t.Error("the removal has not failed")
	}
	if job, err := f.river.JobGet(t.Context(), running); err != nil || job.State != rivertype.JobStateCompleted {
		t.Errorf("got %+v, %v; want it completed with what it has changed", job, err)
	}
	f.workspaces.set(func() { f.workspaces.destroy = nil })
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Errorf("the next removal: %v", err)
	}
}

func TestJobsOfALaterClockArePulledForward(t *testing.T) {
	f := setup(t)
	later := time.Now().Add(24 * time.Hour)
	id := hexID("a")
	c := store.Container{ID: id, Name: "web", FunctionApp: appName(id), Config: *request.Config}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	args, err := json.Marshal(provisionArgs{ContainerID: id})
	if err != nil {
		t.Fatal(err)
	}
	f.insertPlaced(t, c, func(ctx context.Context, tx *sql.Tx) error {
		_, err := f.river.Driver().UnwrapExecutor(tx).JobInsertFull(ctx, &riverdriver.JobInsertFullParams{
			Kind: "provision", EncodedArgs: args, Queue: terraformQueue, Priority: 1, MaxAttempts: maxAttempts,
			State: rivertype.JobStateAvailable, ScheduledAt: &later,
		})
		return err
	})
	f.start(t)
	f.until(t, "web", store.Created)
}

func TestFailedRemovalIsRetried(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(context.Context) error { return errors.New("no quota") }
	f.workspaces.destroy = func(context.Context) error { return errors.New("no answer") }
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if err == nil || !strings.Contains(err.Error(), "the daemon will retry its removal") {
		t.Errorf("got %v, want it to say so", err)
	}
	f.until(t, "web", store.Dead)
	list, err := f.ContainerList(t.Context(), api.ListOptions{All: true})
	if err != nil || !strings.HasPrefix(list[0].Status, "Dead, removal will be retried in ") {
		t.Errorf("got %+v, %v", list, err)
	}
	if err := f.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.workspaces.removals) != 1 {
		t.Errorf("destroyed %d times before it is due", len(f.workspaces.removals))
	}
	f.clock.Advance(5 * time.Minute)
	if err := f.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	for { // it fails once more
		changed := f.db.WatchAll()
		if c, err := f.db.Container(t.Context(), "web"); err != nil || c.Failures == 2 {
			break
		}
		<-changed
	}
	f.workspaces.set(func() { f.workspaces.destroy = nil })
	f.clock.Advance(5 * time.Minute)
	if err := f.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := f.db.Container(t.Context(), "web"); err != nil || c.State != store.Dead {
		t.Errorf("got %v, %v; want it to wait for twice as long", c.State, err)
	}
	f.clock.Advance(5 * time.Minute)
	if err := f.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.until(t, "web", "")
}

func TestRetryAfter(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		0: 5 * time.Minute, 1: 5 * time.Minute, 2: 10 * time.Minute, 4: 40 * time.Minute, 5: time.Hour, 1000: time.Hour,
	} {
		if got := retryAfter(failures); got != want {
			t.Errorf("after %d failures: got %s, want %s", failures, got, want)
		}
	}
	for errs, want := range map[int]time.Duration{0: time.Second, 3: 8 * time.Second, 100: time.Minute} {
		job := &rivertype.JobRow{Errors: make([]rivertype.AttemptError, errs)}
		if got := time.Until(jobRetries{}.NextRetry(job)); got > want || got < want-time.Second {
			t.Errorf("after %d errors: got %s, want %s", errs, got, want)
		}
	}
}
