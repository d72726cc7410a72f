package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// daemon opens a database as one of several daemons. The daemon stays connected until leave is called or the test ends.
// reports receives the reports of StayConnected.
func daemon(t *testing.T, url string) (db *store.DB, reports <-chan error, leave func()) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: url})
	succeed(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan error, 1000)
	var connected sync.WaitGroup
	connected.Go(func() { db.StayConnected(ctx, func(err error) { seen <- err }) })
	leave = sync.OnceFunc(func() {
		cancel()
		connected.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(leave)
	succeed(t, <-seen)
	return db, seen, leave
}

func TestDaemonsWakeEachOther(t *testing.T) {
	url := pgtest.Database(t)
	one, _, _ := daemon(t, url)
	other, _, _ := daemon(t, url)
	at(t, one, id("a"), store.Created)
	mine, all := other.Watch(id("a")), other.WatchAll()
	succeed(t, one.Rename(t.Context(), id("a"), "new"))
	<-mine
	<-all
	if c, err := other.Container(t.Context(), "new"); err != nil || c.ID != id("a") {
		t.Errorf("got %v, %v", c.ID, err)
	}
}

func TestLiveDaemons(t *testing.T) {
	url := pgtest.Database(t)
	one, _, _ := daemon(t, url)
	other, _, leave := daemon(t, url)
	live, err := one.LiveDaemons(t.Context())
	if err != nil || !cmp.Equal(live, map[string]bool{one.DaemonID(): true, other.DaemonID(): true}) {
		t.Errorf("got %v, %v; want both", live, err)
	}
	leave()
	live, err = one.LiveDaemons(t.Context())
	if err != nil || !cmp.Equal(live, map[string]bool{one.DaemonID(): true}) {
		t.Errorf("got %v, %v; want one", live, err)
	}
}

// TestOneJobForEachChange lets several daemons ask for the same change at the same time. The state admits one of them.
func TestOneJobForEachChange(t *testing.T) {
	url := pgtest.Database(t)
	var daemons []*store.DB
	for range 3 {
		db, _, _ := daemon(t, url)
		daemons = append(daemons, db)
	}
	at(t, daemons[0], id("a"), store.Created)
	for name, change := range map[string]func(db *store.DB, n int, enqueue store.InTx) error{
		"create": func(db *store.DB, n int, enqueue store.InTx) error {
			c := store.Container{ID: id(fmt.Sprintf("%x", n)), Name: "same"}
			placing(t, db, enqueue)
			return db.CreateContainer(t.Context(), c)
		},
		"start": func(db *store.DB, n int, enqueue store.InTx) error {
			return db.Start(t.Context(), store.Run{ID: fmt.Sprint(n), ContainerID: id("a")}, enqueue)
		},
	} {
		var jobs atomic.Int32
		enqueue := func(context.Context, *sql.Tx) error { jobs.Add(1); return nil }
		var done sync.WaitGroup
		for n := range 9 {
			done.Go(func() {
				err := change(daemons[n%3], n, enqueue)
				if kind := api.KindOf(err); err != nil && kind != api.Conflict && kind != api.NotModified {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		done.Wait()
		if jobs.Load() != 1 {
			t.Errorf("%s: %d jobs, want 1", name, jobs.Load())
		}
	}
	succeed(t, daemons[0].Remove(t.Context(), id("a"), true, nothing))
	if err := daemons[1].Remove(t.Context(), id("a"), true, nothing); api.KindOf(err) != api.Conflict {
		t.Errorf("second removal: got %v, want a conflict", err)
	}
}

func TestDatabaseGoneAndBack(t *testing.T) {
	server, url := pgtest.Own(t)
	db, reports, _ := daemon(t, url)
	at(t, db, id("a"), store.Created)
	succeed(t, server.Stop())
	if err := <-reports; err == nil {
		t.Error("the loss of the database is not reported")
	}
	changed := db.Watch(id("a"))
	_, readErr := db.Container(t.Context(), id("a"))
	_, outcomeErr := db.ReleaseJob(t.Context(), 1, 1)
	for what, err := range map[string]error{
		"read": readErr, "write": db.Rename(t.Context(), id("a"), "new"), "release": outcomeErr,
	} {
		known, ok := errors.AsType[*api.Error](err)
		if !ok || known.Kind != api.Unavailable || known.RetryAfter == 0 || known.Err == nil ||
			!strings.Contains(known.Message, "database") {
			t.Errorf("%s: got %v, want unavailable with a cause and the time of a retry", what, err)
		}
	}
	succeed(t, server.Start())
	for err := range reports {
		if err == nil {
			break
		}
	}
	<-changed // everyone reads again
	if err := db.Rename(t.Context(), id("a"), "new"); err != nil {
		t.Error(err)
	}
	if live, err := db.LiveDaemons(t.Context()); err != nil || !live[db.DaemonID()] || len(live) != 1 {
		t.Errorf("got %v, %v; want this one", live, err)
	}
}
