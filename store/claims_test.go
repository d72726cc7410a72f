package store_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/store"
)

// enqueued counts the jobs that a change inserts.
type enqueued int

func (n *enqueued) insert(context.Context, *sql.Tx) error {
	*n++
	return nil
}

func TestClaims(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		ctx := t.Context()
		c := store.Container{ID: id("a"), Name: "web", FunctionApp: "f", Config: api.Config{Image: "i", Cmd: []string{"run"}}}
		succeed(t, db.CreateContainer(ctx, c))
		again := c
		again.ID = id("b")
		var jobs enqueued
		joined := ""
		join := func() string {
			t.Helper()
			joined = ""
			earlier, err := db.Join(ctx, again, func(id string) { joined = id })
			succeed(t, err)
			if joined != earlier {
				t.Errorf("joins %.1s, and says %.1s", earlier, joined)
			}
			return earlier
		}
		if got := join(); got != "" {
			t.Errorf("joined %.1s, whose client still waits", got)
		}
		succeed(t, db.Lose(ctx, c.ID, jobs.insert))
		list, err := db.Unanswered(ctx)
		if err != nil || len(list) != 1 || !list[0].Lost() {
			t.Errorf("got %+v, %v", list, err)
		}
		again.Config.Cmd = []string{"other"}
		if got := join(); got != "" {
			t.Errorf("joined %.1s, which is configured otherwise", got)
		}
		again.Config = c.Config
		if got := join(); got != c.ID {
			t.Errorf("got %.1s; want to join the creation", got)
		}
		if got := join(); got != "" {
			t.Errorf("joined %.1s twice", got)
		}
		succeed(t, db.Lose(ctx, c.ID, jobs.insert), db.Provisioned(ctx, c.ID, testApp, nothing))
		if got := join(); got != c.ID || jobs != 0 {
			t.Errorf("got %.1s, %d jobs; want the created container", got, jobs)
		}
		succeed(t, db.Answered(ctx, c.ID), db.Lose(ctx, c.ID, jobs.insert))
		if list, err := db.Unanswered(ctx); err != nil || len(list) != 0 || jobs != 0 {
			t.Errorf("got %+v, %v, %d jobs; want the answer to stay", list, err, jobs)
		}
		if got := join(); got != "" {
			t.Errorf("joined %.1s, which was answered", got)
		}
	})
}

// TestLostWithoutAName removes a container whose name nobody knows, as soon as it is created.
func TestLostWithoutAName(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		ctx := t.Context()
		var jobs enqueued
		placing(t, db, nothing)
		for _, c := range []string{"a", "b", "c"} {
			row := store.Container{ID: id(c), Name: "azf-" + c, FunctionApp: "f", Unnamed: true}
			succeed(t, db.CreateContainer(ctx, row))
		}
		state := func(c string) store.State {
			t.Helper()
			got, err := db.Container(ctx, id(c))
			succeed(t, err)
			return got.State
		}
		succeed(t, db.Lose(ctx, id("a"), jobs.insert))
		if state("a") != store.Creating || jobs != 0 {
			t.Errorf("got %s, %d jobs; want the creation to go on", state("a"), jobs)
		}
		succeed(t, db.Provisioned(ctx, id("a"), testApp, nothing), db.Lose(ctx, id("a"), jobs.insert))
		if state("a") != store.Removing || jobs != 1 {
			t.Errorf("got %s, %d jobs; want it removed", state("a"), jobs)
		}
		if err := db.Answered(ctx, id("a")); api.KindOf(err) != api.Conflict {
			t.Errorf("answered: got %v", err)
		}
		// Whoever renames it, or starts it, knows it.
		for _, c := range []string{"b", "c"} {
			succeed(t, db.Provisioned(ctx, id(c), testApp, nothing))
		}
		succeed(t, db.Rename(ctx, id("b"), "mine"), db.Lose(ctx, id("b"), jobs.insert))
		succeed(t, db.Start(ctx, store.Run{ID: "r", ContainerID: id("c")}, nothing), db.Lose(ctx, id("c"), jobs.insert))
		if state("b") != store.Created || state("c") != store.Running || jobs != 1 {
			t.Errorf("got %s and %s, %d jobs", state("b"), state("c"), jobs)
		}
		succeed(t, db.Lose(ctx, id("d"), jobs.insert)) // unknown
	})
}

// TestRemoveAfterStop removes a running container without force, if somebody has asked to stop this run.
func TestRemoveAfterStop(t *testing.T) {
	both(t, func(t *testing.T, in database) {
		db, _ := in.open(t)
		ctx := t.Context()
		at(t, db, id("a"), store.Exited)
		succeed(t, db.AskToStop(ctx, id("a"))) // not running: no effect
		succeed(t, db.Start(ctx, store.Run{ID: "r1", ContainerID: id("a")}, nothing), db.AskToStop(ctx, id("a")))
		succeed(t, db.Finish(ctx, "r1", store.Result{}, nothing, noRemoval))
		succeed(t, db.Start(ctx, store.Run{ID: "r2", ContainerID: id("a")}, nothing))
		if err := db.Remove(ctx, id("a"), false, nothing); api.KindOf(err) != api.Conflict {
			t.Errorf("got %v, want the next run to need a request of its own", err)
		}
		succeed(t, db.AskToStop(ctx, id("a")), db.Remove(ctx, id("a"), false, nothing))
		run, err := db.Run(ctx, "r2")
		if err != nil || run.Finished.IsZero() || run.ExitCode != 137 || run.Error != "" {
			t.Errorf("got %+v, %v", run, err)
		}
	})
}
