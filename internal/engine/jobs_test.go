package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

// errNoRole is a refusal with all that an outcome carries.
var errNoRole = &api.Error{
	Kind: api.Forbidden, Message: "no role", RetryAfter: time.Minute, CorrelationID: "corr", RequestID: "req",
	Err: errors.New("AuthorizationFailed"),
}

// expectNoRole checks that the create of container web failed with errNoRole.
func expectNoRole(t *testing.T, err error) {
	t.Helper()
	known, ok := errors.AsType[*api.Error](err)
	if !ok || known.Kind != api.Forbidden || known.Message != "cannot create container web: no role" ||
		known.RetryAfter != time.Minute || known.CorrelationID != "corr" || known.RequestID != "req" || known.Err == nil {
		t.Errorf("got %#v", err)
	}
}

// onlyJob returns the one job of a kind.
func (f *fixture) onlyJob(t *testing.T, kind string) *rivertype.JobRow {
	t.Helper()
	list, err := f.river.JobList(t.Context(), river.NewJobListParams().Kinds(kind))
	if err != nil || len(list.Jobs) != 1 {
		t.Fatalf("got %d jobs, %v", len(list.Jobs), err)
	}
	return list.Jobs[0]
}

// TestOutcomeOfAJobThatHasEnded waits for a job that was completed before.
func TestOutcomeOfAJobThatHasEnded(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(context.Context) error { return errNoRole }
	if _, err := f.ContainerCreate(t.Context(), "web", request); err == nil {
		t.Fatal("the create has not failed")
	}
	job := f.onlyJob(t, "provision")
	if job.State != rivertype.JobStateCompleted {
		t.Errorf("the job is %s, want it completed", job.State)
	}
	expectNoRole(t, f.await(t.Context(), hexID("a"), store.Creating, job.ID))
}

// TestFailedChangeHasNoOutcome lets the container vanish while its job works. The job cannot record its success, and
// completes without an outcome when it runs again.
func TestFailedChangeHasNoOutcome(t *testing.T) {
	f := setup(t)
	f.workspaces.provision = func(ctx context.Context) error {
		return f.db.Delete(ctx, f.only(t), nothing)
	}
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if api.KindOf(err) != api.Unavailable {
		t.Errorf("got %v, want that the container is gone", err)
	}
	var job *rivertype.JobRow
	azuretest.Eventually(t, "the job is completed", func() bool {
		job = f.onlyJob(t, "provision")
		return job.State == rivertype.JobStateCompleted
	})
	outcome, ok, err := f.db.Outcome(t.Context(), job.ID)
	if job.Attempt != 2 || job.Output() != nil || ok || err != nil {
		t.Errorf("attempt %d: got outcome %+v, %v, %v; want none", job.Attempt, outcome, ok, err)
	}
}

func TestOutcomesAreForgottenAfterADay(t *testing.T) {
	f := setup(t)
	f.create(t, "old")
	old := f.onlyJob(t, "provision").ID
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, age := range []time.Duration{23 * time.Hour, 25 * time.Hour} {
		_, ok, err := f.db.Outcome(t.Context(), old)
		if err != nil || !ok {
			t.Errorf("before %s: got %v, %v; want the outcome", age, ok, err)
		}
		ended := time.Now().Add(-age)
		if _, err := f.river.Driver().GetExecutor().JobUpdateFull(t.Context(), &riverdriver.JobUpdateFullParams{
			ID: old, FinalizedAtDoUpdate: true, FinalizedAt: &ended,
		}); err != nil {
			t.Fatal(err)
		}
	}
	f.start(t)
	azuretest.Eventually(t, "the queue forgets the job", func() bool {
		_, ok, err := f.db.Outcome(t.Context(), old)
		return !ok && err == nil
	})
}
