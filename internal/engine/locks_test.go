package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
	"github.com/sockerless/backend-azf/workspace"
)

// lockedBy is Terraform's error for a lock.
func lockedBy(who string, created time.Time) error {
	return &workspace.TerraformError{Step: "plan", Dir: "/w", Err: errors.New("exit status 1"), Diagnostics: []string{
		"Error acquiring the state lock: Error message: state blob is already locked\nLock Info:\n  ID:        4b1d\n  Path:      states/v1\n  Operation: OperationTypeApply\n" +
			"  Who:       " + who + "\n  Version:   1.11.4\n  Created:   " + created.UTC().String() + "\n  Info:      \n\n\nTerraform acquires a state lock",
	}}
}

func TestLocksOfTheDead(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	all := daemons(t, pgtest.Database(t), 3, time.Minute)
	e, other, dead := all[0], all[1], all[2]
	e.cfg.Home = "here"
	other.begin(t) // it lives
	for {
		live, err := e.db.LiveDaemons(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if live[other.db.DaemonID()] {
			break
		}
		<-other.db.WatchAll()
	}
	run := func(daemon, home string, missing time.Time) store.Operation {
		return store.Operation{DaemonID: daemon, Home: home, Who: "root@ci", Started: at, Seen: at.Add(time.Hour), MissingSince: missing}
	}
	gone, now := dead.db.DaemonID(), time.Now()
	for name, row := range map[string]struct {
		who     string
		created time.Time
		runs    []store.Operation
		dead    bool
		later   bool
	}{
		"nobody's":                    {"root@ci", at, nil, false, false},
		"our own, of an earlier try":  {"root@ci", at.Add(time.Minute), []store.Operation{run(e.db.DaemonID(), "here", time.Time{})}, true, false},
		"our predecessor's":           {"root@ci", at.Add(time.Minute), []store.Operation{run(gone, "here", time.Time{})}, true, false},
		"of one that lives":           {"root@ci", at.Add(time.Minute), []store.Operation{run(other.db.DaemonID(), "there", time.Time{})}, false, false},
		"of one that lives, or ours":  {"root@ci", at.Add(time.Minute), []store.Operation{run(gone, "here", time.Time{}), run(other.db.DaemonID(), "there", time.Time{})}, false, false},
		"of one just missed":          {"root@ci", at.Add(time.Minute), []store.Operation{run(gone, "there", now.Add(-time.Minute))}, false, true},
		"of one not missed yet":       {"root@ci", at.Add(time.Minute), []store.Operation{run(gone, "there", time.Time{})}, false, true},
		"of one that is missed":       {"root@ci", at.Add(time.Minute), []store.Operation{run(gone, "there", now.Add(-deadAfter))}, true, false},
		"of a person":                 {"eve@ci", at.Add(time.Minute), []store.Operation{run(gone, "here", time.Time{})}, false, false},
		"older than the run":          {"root@ci", at.Add(-time.Minute), []store.Operation{run(gone, "here", time.Time{})}, false, false},
		"younger than the run's end":  {"root@ci", at.Add(2 * time.Hour), []store.Operation{run(gone, "here", time.Time{})}, false, false},
		"of the dead or just missed":  {"root@ci", at.Add(time.Minute), []store.Operation{run(gone, "here", time.Time{}), run("azf-x", "there", now)}, false, true},
		"just before the run's start": {"root@ci", at.Add(-time.Second), []store.Operation{run(gone, "here", time.Time{})}, true, false},
	} {
		lock, ok := workspace.LockOf(lockedBy(row.who, row.created))
		if !ok || lock.ID != "4b1d" || lock.Who != row.who || !lock.Created.Equal(row.created) {
			t.Fatalf("%s: read %+v, %v", name, lock, ok)
		}
		is, err := e.ownerIsDead(t.Context(), row.runs, lock)
		if is != row.dead || (snoozed(err) != nil) != row.later || (err != nil && !row.later) {
			t.Errorf("%s: got %v, %v; want %v, later %v", name, is, err, row.dead, row.later)
		}
	}
}

func TestLockOfTheDeadIsRemoved(t *testing.T) {
	f := daemons(t, pgtest.Database(t), 1, time.Hour)[0]
	f.cfg.RemoteState, f.cfg.Home = true, "here"
	// The run of a daemon that had this state folder before.
	const insert = "INSERT INTO operations (workspace, daemon_id, home, who, started_at, seen_at) VALUES ($1, 'azf-dead', 'here', $2, $3, $4)"
	f.workspaces.provision = func(ctx context.Context) error {
		f.workspaces.set(func() { f.workspaces.provision = nil })
		return lockedBy(workspace.Who(), time.Now().Add(-time.Minute))
	}
	began := time.Now().Add(-2 * time.Minute).UnixNano()
	f.begin(t)
	if _, err := f.db.SQL().ExecContext(t.Context(), insert, workspace.FoundationID, workspace.Who(), began, time.Now().UnixNano()); err != nil {
		t.Fatal(err)
	}
	_, err := f.ContainerCreate(t.Context(), "web", request)
	if err == nil {
		t.Fatal("the lock of a container that nobody has worked on was taken for that of a dead run")
	}
	if len(f.workspaces.unlocked) != 0 || api.KindOf(err) != api.Conflict {
		t.Errorf("got %v, unlocked %v; want a conflict", err, f.workspaces.unlocked)
	}
	// What a dead run has left is in the way of the next one.
	f.workspaces.set(func() {
		f.workspaces.provision = func(ctx context.Context) error {
			var first bool
			f.workspaces.set(func() { first = len(f.workspaces.unlocked) == 0 })
			if first {
				return lockedBy(workspace.Who(), time.Now().Add(-time.Minute))
			}
			return nil
		}
	})
	if _, err := f.db.SQL().ExecContext(t.Context(), `CREATE FUNCTION leave() RETURNS trigger AS $$ BEGIN
		INSERT INTO operations (workspace, daemon_id, home, who, started_at, seen_at) VALUES (NEW.id, 'azf-dead', 'here', '`+workspace.Who()+`', 1, 9000000000000000000); RETURN NEW; END $$ LANGUAGE plpgsql;
		CREATE TRIGGER leave AFTER INSERT ON containers FOR EACH ROW EXECUTE FUNCTION leave()`); err != nil {
		t.Fatal(err)
	}
	id := f.create(t, "web")
	if diff := cmp.Diff([]string{id + " 4b1d"}, f.workspaces.unlocked); diff != "" {
		t.Error(diff)
	}
	if left, err := f.db.Operations(t.Context(), id); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v; want none after a run that succeeded", left, err)
	}
}
