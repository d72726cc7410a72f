package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/store"
)

// verify verifies a trail and returns a line for each record: number, action, what was asked, name of the container,
// and outcome.
func verify(t *testing.T, db *store.DB, checkpoints ...audit.Checkpoint) (lines []string, err error) {
	t.Helper()
	_, err = db.VerifyTrail(t.Context(), checkpoints, func(r audit.Record) error {
		line := fmt.Sprintf("%d %s", r.Seq, r.Action)
		if r.Asked != "" {
			line += " " + r.Asked
		}
		if r.Container != nil {
			line += " " + r.Container.Name
		}
		if r.Outcome != nil {
			line += " " + r.Outcome.State
		}
		lines = append(lines, line)
		return nil
	})
	return lines, err
}

func expectTrail(t *testing.T, db *store.DB, want ...string) {
	t.Helper()
	got, err := verify(t, db)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("the trail: %s, %v", diff, err)
	}
}

func TestTrailOfAContainer(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		cfg.Daemon = audit.Daemon{Home: "home", Owner: "team", Version: "1", Host: "ci"}
		db := open(t, cfg)
		uid := uint32(1000)
		origin := api.Origin{
			Requester: api.Requester{Kind: api.RequesterUnix, UID: &uid}, Request: &api.RequestDetails{ID: "r-1"},
		}
		c := store.Container{ID: id("a"), Name: "web", FunctionApp: "app", Config: api.Config{
			Image: "team/job:1", Cmd: []string{"echo", "canary"}, Env: []string{"SECRET=canary"},
			Labels: map[string]string{"label": "canary"},
		}, Derived: &api.Derived{}}
		ctx := api.WithOrigin(t.Context(), origin)
		succeed(t, db.CreateContainer(ctx, c))
		_, err := db.ClaimDerived(ctx, c.ID, store.DerivedImage{Reference: "own/wrapped@sha256:d"})
		succeed(t, err)
		succeed(t, db.RecordDerived(ctx, c.ID, api.Derived{
			Reference: "own/wrapped@sha256:d", Digest: "sha256:d", Source: "team/job@sha256:s", Base: "base@sha256:b",
			Handler: "sha256:h", Recipe: 2, HostLayers: []string{"sha256:l"},
		}))
		succeed(t, db.Provisioned(t.Context(), c.ID, testApp, nothing))
		succeed(t, db.Start(ctx, store.Run{ID: "run", ContainerID: c.ID, TraceID: "t", SpanID: "s"}, nothing))
		succeed(t, db.AskToStop(ctx, c.ID), db.AskToStop(ctx, c.ID))
		succeed(t, db.Finish(t.Context(), "run", store.Result{ExitCode: 3}, nothing, noRemoval))
		succeed(t, db.Rename(ctx, c.ID, "job"), db.Remove(ctx, c.ID, false, nothing), db.Delete(ctx, c.ID, nothing))
		expectTrail(t, db, "1 request create web", "2 created web", "3 run-started web", "4 request stop web",
			"5 run-ended web failed", "6 request rename job", "7 request remove job", "8 removed job")

		list, err := db.Audit(t.Context(), store.AuditQuery{Container: c.ID, Action: audit.ActionRunEnded})
		succeed(t, err)
		if len(list) != 1 {
			t.Fatalf("got %d records", len(list))
		}
		r, err := audit.Decode(list[0].Line)
		succeed(t, err)
		if *r.Run.ExitCode != 3 || r.Requester.Kind != api.RequesterDaemon || r.Daemon.Home != "home" ||
			r.Daemon.ID != db.DaemonID() {
			t.Errorf("got %+v", r)
		}
		all, err := db.Audit(t.Context(), store.AuditQuery{})
		succeed(t, err)
		if r, err = audit.Decode(all[0].Line); err != nil || !cmp.Equal(r.Origin, origin) || r.Container.Command == "" {
			t.Errorf("the request is %+v, %v", r, err)
		}
		var derived *audit.Derived // there is none when the request is recorded
		for _, l := range all {
			r, err := audit.Decode(l.Line)
			succeed(t, err)
			if diff := cmp.Diff(derived, r.Container.Derived); diff != "" {
				t.Errorf("record %d: %s", r.Seq, diff)
			}
			derived = &audit.Derived{Digest: "sha256:d", Source: "sha256:s", Base: "sha256:b", Handler: "sha256:h", Recipe: 2}
			if strings.Contains(string(l.Line), "canary") {
				t.Errorf("a record holds a value: %s", l.Line)
			}
		}
	})
}

// TestTrailIsWrittenOrNothing makes the trail impossible to write.
func TestTrailIsWrittenOrNothing(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Created)
		exec(t, db, "ALTER TABLE audit_hashes RENAME TO hidden")
		err := db.CreateContainer(t.Context(), store.Container{ID: id("b"), Name: "web", FunctionApp: "app"})
		if api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("create: %v", err)
		}
		if err := db.Remove(t.Context(), id("a"), false, nothing); api.KindOf(err) != api.Unavailable {
			t.Errorf("remove: %v", err)
		}
		if err := db.Record(t.Context(), audit.Record{Action: audit.ActionPlan}); api.KindOf(err) != api.Unavailable {
			t.Errorf("record: %v", err)
		}
		exec(t, db, "ALTER TABLE hidden RENAME TO audit_hashes")
		if _, err := db.Container(t.Context(), id("b")); api.KindOf(err) != api.NotFound {
			t.Errorf("the container is there: %v", err)
		}
		expectTrail(t, db, "1 request create naaaa", "2 created naaaa")
	})
}

// TestTrailRefusesChanges tries what a person with the database's password would.
func TestTrailRefusesChanges(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		at(t, db, id("a"), store.Exited)
		statements := []string{
			"UPDATE audit SET record = '{}' WHERE seq = 1", "UPDATE audit SET at = 0", "DELETE FROM audit WHERE seq = 4",
			"DELETE FROM audit", "UPDATE audit_hashes SET hash = hash", "DELETE FROM audit_hashes", "DELETE FROM audit_head",
			"UPDATE audit_head SET size = 1", "UPDATE audit_head SET log = 'other'", "UPDATE audit_head SET first = 9",
		}
		if in.name == postgres.name {
			statements = append(statements, "TRUNCATE audit", "TRUNCATE audit_hashes", "TRUNCATE audit_head")
		}
		for _, s := range statements {
			if _, err := db.SQL().ExecContext(t.Context(), s); err == nil || !strings.Contains(err.Error(), "audit trail") {
				t.Errorf("%s: %v", s, err)
			}
		}
		expectTrail(t, db, "1 request create naaaa", "2 created naaaa", "3 run-started naaaa", "4 run-ended naaaa succeeded")
	})
}

// tamper runs a statement that the triggers refuse.
func tamper(t *testing.T, db *store.DB, in database, statements ...string) {
	t.Helper()
	on := map[string]string{
		"audit_never_changes": "audit", "audit_stays": "audit", "audit_hashes_stay": "audit_hashes",
		"audit_head_grows": "audit_head",
	}
	if in.name == sqlite.name {
		on["audit_hashes_never_change"] = "audit_hashes"
	}
	for trigger, table := range on {
		drop := "DROP TRIGGER " + trigger
		if in.name == postgres.name {
			drop += " ON " + table
		}
		exec(t, db, drop)
	}
	for _, s := range statements {
		exec(t, db, s)
	}
}

func TestTrailShowsTampering(t *testing.T) {
	const zero = "'\\x0000000000000000000000000000000000000000000000000000000000000000'"
	both(t, func(t *testing.T, in database) {
		hash := zero
		if in.name == sqlite.name {
			hash = "zeroblob(32)"
		}
		for name, test := range map[string]struct {
			statements []string
			want       int64
		}{
			"one byte": {[]string{"UPDATE audit SET record = replace(record, 'naaaa', 'nbbbb') WHERE seq = 2"}, 2},
			"a time":   {[]string{"UPDATE audit SET at = at + 1 WHERE seq = 3"}, 3},
			"removed":  {[]string{"DELETE FROM audit WHERE seq = 3"}, 3},
			"a hash":   {[]string{"UPDATE audit_hashes SET hash = " + hash + " WHERE idx = 0"}, 1},
			"the last five": {[]string{
				"DELETE FROM audit WHERE seq > 3", "DELETE FROM audit_hashes WHERE idx >= 4", "UPDATE audit_head SET size = 3",
			}, 4},
			"all": {[]string{
				"DELETE FROM audit", "DELETE FROM audit_hashes", "UPDATE audit_head SET size = 0",
			}, 1},
		} {
			t.Run(name, func(t *testing.T) {
				db, _ := in.open(t)
				at(t, db, id("a"), store.Exited)
				at(t, db, id("b"), store.Exited)
				checkpoint, err := db.Checkpoint(t.Context())
				succeed(t, err)
				if _, err := verify(t, db, checkpoint); err != nil || checkpoint.Size != 8 {
					t.Fatal(checkpoint.Size, err)
				}
				tamper(t, db, in, test.statements...)
				_, err = verify(t, db, checkpoint)
				if altered, ok := errors.AsType[*audit.AlteredError](err); !ok || altered.Record != test.want {
					t.Errorf("got %v, want record %d", err, test.want)
				}
			})
		}
	})
}

func TestPrunedTrail(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, clock := in.open(t)
		at(t, db, id("a"), store.Exited)
		old, err := db.Checkpoint(t.Context())
		succeed(t, err)
		begun := audit.Record{
			Action: audit.ActionApply, Operation: &audit.Operation{Workspace: id("b"), Number: 1},
			Outcome: &audit.Outcome{State: audit.OutcomeBegun},
		}
		succeed(t, db.Record(t.Context(), begun))
		clock.Advance(time.Hour)
		at(t, db, id("b"), store.Creating)
		succeed(t, db.PruneTrail(t.Context(), db.Now()))
		expectTrail(t, db, "5 apply begun", "6 request create nbbbb", "7 pruned")
		begun.Outcome = &audit.Outcome{State: audit.OutcomeSucceeded}
		succeed(t, db.Record(t.Context(), begun))
		succeed(t, db.PruneTrail(t.Context(), db.Now()))
		expectTrail(t, db, "6 request create nbbbb", "7 pruned", "8 apply succeeded", "9 pruned")
		succeed(t, db.PruneTrail(t.Context(), db.Now())) // nothing is old enough
		clock.Advance(time.Hour)
		succeed(t, db.PruneTrail(t.Context(), db.Now()))
		expectTrail(t, db, "10 pruned")
		if _, err := verify(t, db, old); err != nil {
			t.Errorf("with a checkpoint of what was pruned: %v", err)
		}
		old.Root[0]++
		if _, err := verify(t, db, old); err == nil {
			t.Error("another checkpoint of what was pruned is accepted")
		}
	})
}

// TestInterruptedOperations: a daemon that starts again ends the operations that it was killed in, and so does the next
// operation in the same workspace.
func TestInterruptedOperations(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		cfg.Daemon.Home = "one"
		killed, err := store.Open(t.Context(), cfg)
		succeed(t, err)
		begin := func(db *store.DB, workspace string, number int) {
			succeed(t, db.Record(t.Context(), audit.Record{
				Action: audit.ActionApply, Container: &audit.Container{ID: workspace},
				Operation: &audit.Operation{Workspace: workspace, Number: number, CorrelationID: "c"},
				Outcome:   &audit.Outcome{State: audit.OutcomeBegun},
			}))
		}
		begin(killed, "w", 1)
		begin(killed, "foundation", 1)
		begin(killed, "v", 1)
		succeed(t, killed.Close())
		db := open(t, cfg)
		begin(db, "w", 2)
		var ended []int64
		follow := func(r audit.Record) error {
			if r.Outcome.State == audit.OutcomeInterrupted && r.Requester.Cause == "crash recovery" {
				ended = append(ended, r.Outcome.Begun)
			}
			return nil
		}
		_, err = db.VerifyTrail(t.Context(), nil, follow)
		if diff := cmp.Diff([]int64{1}, ended); diff != "" || err != nil {
			t.Errorf("ended after the next operation: %s, %v", diff, err)
		}
		succeed(t, db.CloseOperations(t.Context(), nil, time.Time{}))
		ended = nil
		check, err := db.VerifyTrail(t.Context(), nil, follow)
		if diff := cmp.Diff([]int64{1, 2, 3}, ended); diff != "" || err != nil {
			t.Errorf("ended after the start: %s, %v", diff, err)
		}
		if diff := cmp.Diff([]int64{5}, check.Open()); diff != "" {
			t.Errorf("open: %s", diff)
		}
	})
}

// TestOperationsOfOtherDaemons: the foundation of another state folder, and what live daemons do, stays open.
func TestOperationsOfOtherDaemons(t *testing.T) {
	cfg, clock := postgres.fresh(t), azuretest.NewClock()
	cfg.Now = clock.Now
	cfg.Daemon.Home = "one"
	one := open(t, cfg)
	cfg.Daemon.Home = "two"
	two := open(t, cfg)
	begun := audit.Record{
		Action: audit.ActionApply, Operation: &audit.Operation{Workspace: "foundation", Number: 1},
		Outcome: &audit.Outcome{State: audit.OutcomeBegun},
	}
	succeed(t, one.Record(t.Context(), begun), two.Record(t.Context(), begun))
	later := two.Now().Add(time.Second)
	both := map[string]bool{one.DaemonID(): true, two.DaemonID(): true}
	succeed(t, two.CloseOperations(t.Context(), both, later))
	delete(both, one.DaemonID())
	succeed(t, two.CloseOperations(t.Context(), both, two.Now()))
	expectTrail(t, two, "1 apply begun", "2 apply begun")
	succeed(t, two.CloseOperations(t.Context(), both, later))
	expectTrail(t, two, "1 apply begun", "2 apply begun", "3 apply interrupted")
}

func TestStartOfATrail(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		cfg := in.fresh(t)
		if in.name == sqlite.name {
			cfg.Path = strings.ReplaceAll(cfg.Path, "?", "")
		}
		load(t, cfg, in.folder+"-7.sql")
		db := open(t, cfg)
		start := audit.Record{CheckpointKey: "key", Configuration: "location: westeurope"}
		plan := func(container string) string { return map[string]string{id("c"): "digest"}[container] }
		for range 2 {
			succeed(t, db.StartTrail(t.Context(), start, plan))
		}
		var baselines []string
		_, err := db.VerifyTrail(t.Context(), nil, func(r audit.Record) error {
			if r.Action != audit.ActionBaseline {
				return nil
			}
			text := r.Container.Name + " " + r.Requester.Kind
			if r.Operation != nil {
				text += " " + r.Operation.Files["apply.plan.json"]
			}
			baselines = append(baselines, text)
			return nil
		})
		slices.Sort(baselines)
		if diff := cmp.Diff([]string{"nbbbb unknown", "nc unknown digest", "ndddd unknown"}, baselines); diff != "" ||
			err != nil {
			t.Errorf("baselines: %s, %v", diff, err)
		}
		head, err := db.AuditHead(t.Context())
		if err != nil || head.Size != 5 || head.First != 1 || len(head.Log) != 32 {
			t.Errorf("got %+v, %v", head, err)
		}
	})
}

// TestOneSequenceOfSeveralDaemons has two daemons write at the same time.
func TestOneSequenceOfSeveralDaemons(t *testing.T) {
	cfg := postgres.fresh(t)
	one, two := open(t, cfg), open(t, cfg)
	const each = 25
	var g errgroup.Group
	for _, db := range []*store.DB{one, two} {
		for range 4 {
			g.Go(func() error {
				for range each {
					if err := db.Record(t.Context(), audit.Record{Action: audit.ActionPlan}); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	succeed(t, g.Wait())
	lines, err := verify(t, one)
	if len(lines) != 2*4*each || err != nil {
		t.Errorf("got %d records, %v", len(lines), err)
	}
}

// TestLongErrorInARecord is shortened, whatever it holds.
func TestLongErrorInARecord(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		text := "no \x00 " + strings.Repeat("é", 10_000)
		succeed(t, db.Record(t.Context(), audit.Record{
			Action: audit.ActionApply, Outcome: &audit.Outcome{State: audit.OutcomeFailed, Error: text},
		}))
		expectTrail(t, db, "1 apply failed")
		list, err := db.Audit(t.Context(), store.AuditQuery{})
		succeed(t, err)
		r, err := audit.Decode(list[0].Line)
		if err != nil || !strings.HasSuffix(r.Outcome.Error, "é [...]") || len(list[0].Line) > 5000 {
			t.Errorf("got %d bytes, %v", len(list[0].Line), err)
		}
	})
}

func TestAuditCursors(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		for _, seq := range []int64{0, 7, 5} {
			succeed(t, db.MoveAuditCursor(t.Context(), "journald", seq))
		}
		got, err := db.AuditCursor(t.Context(), "journald")
		other, otherErr := db.AuditCursor(t.Context(), "file:///x")
		if got != 7 || other != 0 || err != nil || otherErr != nil {
			t.Errorf("got %d and %d, %v, %v", got, other, err, otherErr)
		}
		changed := db.WatchAudit()
		refused := errors.New("refused")
		placing(t, db, func(context.Context, *sql.Tx) error { return refused })
		err = db.CreateContainer(t.Context(), store.Container{ID: id("a"), Name: "aa"})
		if !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		select {
		case <-changed:
			t.Error("a change that did not happen wakes the sinks")
		default:
		}
		placing(t, db, nothing)
		at(t, db, id("a"), store.Creating)
		<-changed
	})
}
