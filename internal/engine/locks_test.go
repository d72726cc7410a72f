package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/riverqueue/river/riverdriver"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// lockedBy is Terraform's error for a lock.
func lockedBy(who string, created time.Time) error {
	return &workspace.TerraformError{Step: "plan", Dir: "/w", Err: errors.New("exit status 1"), Diagnostics: []string{
		"Error acquiring the state lock: Error message: state blob is already locked\nLock Info:\n" +
			"  ID:        4b1d\n  Path:      states/v1\n  Operation: OperationTypeApply\n" +
			"  Who:       " + who + "\n  Version:   1.11.4\n  Created:   " + created.UTC().String() + "\n  Info:      \n\n\n" +
			"Terraform acquires a state lock",
	}}
}

func TestOwnersOfLocks(t *testing.T) {
	all, clock := daemons(t, pgtest.Database(t), 3)
	e, other := all[0], all[1]
	e.cfg.Home = "here"
	other.begin(t)
	began := clock.Now()
	clock.Advance(time.Hour)
	now, taken := clock.Now(), began.Add(time.Minute)
	operations := func(daemon, home string, missing time.Time) []store.Operation {
		return []store.Operation{{
			DaemonID: daemon, Home: home, Who: "root@ci", Started: began, Seen: now, MissingSince: missing,
		}}
	}
	live := operations(other.db.DaemonID(), "there", time.Time{})
	predecessor := operations("azf-dead", "here", time.Time{})
	missing := func(since time.Duration) []store.Operation { return operations("azf-gone", "there", now.Add(-since)) }
	for name, row := range map[string]struct {
		who        string
		created    time.Time
		operations []store.Operation
		dead       bool
		unknown    bool
	}{
		"nobody":                      {who: "root@ci", created: taken},
		"this daemon, earlier":        {"root@ci", taken, operations(e.db.DaemonID(), "here", time.Time{}), true, false},
		"predecessor":                 {"root@ci", taken, predecessor, true, false},
		"live":                        {"root@ci", taken, live, false, false},
		"predecessor or live":         {"root@ci", taken, slices.Concat(predecessor, live), false, false},
		"missing for a minute":        {"root@ci", taken, missing(time.Minute), false, true},
		"missing, not marked yet":     {"root@ci", taken, operations("azf-gone", "there", time.Time{}), false, true},
		"missing for long":            {"root@ci", taken, missing(deadAfter), true, false},
		"missing, a second too short": {"root@ci", taken, missing(deadAfter - time.Second), false, true},
		"a person":                    {"eve@ci", taken, predecessor, false, false},
		"older than the operation":    {"root@ci", began.Add(-time.Minute), predecessor, false, false},
		"younger than the operation":  {"root@ci", now.Add(time.Hour), predecessor, false, false},
		"predecessor or just missing": {"root@ci", taken, slices.Concat(predecessor, missing(0)), false, true},
		"older within the clock skew": {"root@ci", began.Add(-time.Second), predecessor, true, false},
	} {
		lock, ok := workspace.LockOf(lockedBy(row.who, row.created))
		if !ok || lock.ID != "4b1d" || lock.Who != row.who || !lock.Created.Equal(row.created) {
			t.Fatalf("%s: read %+v, %v", name, lock, ok)
		}
		dead, err := e.holderIsDead(t.Context(), row.operations, lock)
		if dead != row.dead || (snoozed(err) != nil) != row.unknown || (err != nil && !row.unknown) {
			t.Errorf("%s: got %v, %v; want %v, unknown %v", name, dead, err, row.dead, row.unknown)
		}
	}
}

// lockedDaemon returns a daemon with a remote state. Another daemon, which had the same state folder, died while it
// worked on workspaces. Its lock blocks each provision until the lock is removed.
func lockedDaemon(t *testing.T, workspaces ...string) *fixture {
	t.Helper()
	all, clock := daemons(t, pgtest.Database(t), 2)
	f, dead := all[0], all[1]
	f.cfg.RemoteState, f.cfg.Home = true, "here"
	for _, id := range workspaces {
		if err := dead.db.BeginOperation(t.Context(), id, "here", workspace.Who()); err != nil {
			t.Fatal(err)
		}
	}
	created := clock.Now().Add(time.Second)
	clock.Advance(time.Minute)
	f.workspaces.provision = func(context.Context) error {
		var removed bool
		f.workspaces.set(func() { removed = len(f.workspaces.unlocked) > 0 })
		if removed {
			return nil
		}
		return lockedBy(workspace.Who(), created)
	}
	return f
}

// TestLockOfAnotherIsKept creates a container on whose workspace no other daemon has worked.
func TestLockOfAnotherIsKept(t *testing.T) {
	f := lockedDaemon(t, workspace.FoundationID)
	f.begin(t)
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if api.KindOf(err) != api.Conflict || len(f.workspaces.unlocked) != 0 {
		t.Errorf("got %v, unlocked %v; want a conflict", err, f.workspaces.unlocked)
	}
	left, err := f.db.Operations(t.Context(), workspace.FoundationID)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v; want none after an operation that succeeded", left, err)
	}
}

func TestLockOfTheDeadIsRemoved(t *testing.T) {
	f := lockedDaemon(t, workspace.FoundationID, hexID("a"))
	id := f.insertContainer(t, func(riverdriver.ExecutorTx, int64) error { return nil })
	f.begin(t)
	f.until(t, "web", store.Created)
	if diff := cmp.Diff([]string{id + " 4b1d"}, f.workspaces.unlocked); diff != "" {
		t.Error(diff)
	}
	if left, err := f.db.Operations(t.Context(), id); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v; want none after an operation that succeeded", left, err)
	}
}
