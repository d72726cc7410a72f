package engine

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sockerless/backend-azf/internal/api"
	"github.com/sockerless/backend-azf/internal/audit"
	"github.com/sockerless/backend-azf/internal/azuretest"
	"github.com/sockerless/backend-azf/internal/pgtest"
	"github.com/sockerless/backend-azf/store"
)

// wrapping returns an engine that wraps all images.
func wrapping(t *testing.T) (*fixture, *fakeWrapper) {
	t.Helper()
	f, w := setup(t), &fakeWrapper{}
	f.registry.answers("a", 0, nil)
	f.wraps(t, w, 0)
	return f, w
}

// wraps replaces the engine by one that wraps all images, as the next daemon.
func (f *fixture) wraps(t *testing.T, w *fakeWrapper, keep time.Duration) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.wrapper = w
	f.prepare(t)
	f.cfg.WrapKeep = keep
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// prune prunes all images but those of containers, and returns what was deleted of a derived image.
func (f *fixture) prune(t *testing.T, given api.Filters) (deleted []api.ImageDeleted, reclaimed uint64) {
	t.Helper()
	report, err := f.ImagePrune(t.Context(), given)
	if err != nil {
		t.Error(err)
	}
	for _, d := range report.ImagesDeleted {
		if d.Untagged == fakeDerived.Reference || d.Deleted == fakeDerived.Digest {
			deleted = append(deleted, d)
		}
	}
	return deleted, report.SpaceReclaimed
}

var (
	pruneAll = api.Filters{"dangling": {"false"}}
	pruned   = []api.ImageDeleted{{Untagged: fakeDerived.Reference}, {Deleted: fakeDerived.Digest}}
)

func (f *fixture) info(t *testing.T) (wrapped string, warnings []string) {
	t.Helper()
	info, err := f.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range info.DriverStatus {
		if row[0] == "Wrapped Images" {
			wrapped = row[1]
		}
	}
	return wrapped, slices.DeleteFunc(info.Warnings, func(w string) bool { return !strings.Contains(w, "wrapped") })
}

func TestPruneDerivedImages(t *testing.T) {
	f, w := wrapping(t)
	f.create(t, "web")
	f.create(t, "other")
	if got := w.asked(); got != "HEAD false, PUT, HEAD true" {
		t.Errorf("creates ask for %s", got)
	}
	for _, name := range []string{"web", "other"} {
		if got, _ := f.prune(t, pruneAll); len(got) > 0 {
			t.Errorf("the image of a container is pruned: %v", got)
		}
		if err := f.ContainerRemove(t.Context(), name, false); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := f.info(t); n != "1" {
		t.Errorf("%s wrapped images", n)
	}
	f.clock.Advance(time.Hour)
	for name, given := range map[string]api.Filters{
		"untagged images only": nil,
		"dangling images":      {"dangling": {"true"}},
		"images with a label":  {"dangling": {"false"}, "label": {"a"}},
		"without a label":      {"dangling": {"false"}, "label!": {"a"}},
		"older images":         {"dangling": {"false"}, "until": {"2h"}},
	} {
		if got, reclaimed := f.prune(t, given); len(got) > 0 || reclaimed != 0 || w.asked() != "" {
			t.Errorf("%s: %v is pruned", name, got)
		}
	}
	got, reclaimed := f.prune(t, api.Filters{"dangling": {"false"}, "until": {"30m"}})
	if diff := cmp.Diff(pruned, got); diff != "" || reclaimed != 7 || w.asked() != "DELETE sha256:dd" {
		t.Errorf("pruned: %s; %d bytes", diff, reclaimed)
	}
	last, err := f.db.LastEvent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	events, err := f.db.EventsAfter(t.Context(), last-2, time.Time{}, 2)
	if err != nil || len(events) != 2 || events[0].Action != api.EventDelete || events[0].Actor.ID != fakeDerived.Digest ||
		events[0].Actor.Attributes["name"] != fakeDerived.Reference || events[1].Actor.Attributes["reclaimed"] != "7" {
		t.Errorf("events %+v, %v", events, err)
	}
	if n, warnings := f.info(t); n != "0" || len(warnings) > 0 {
		t.Errorf("%s wrapped images, warnings %q", n, warnings)
	}
	f.create(t, "again")
	if got := w.asked(); got != "HEAD false, PUT" {
		t.Errorf("a create after the prune asks for %s", got)
	}
}

// TestRefusedRemovals are put off, and do not fail a prune.
func TestRefusedRemovals(t *testing.T) {
	f, w := wrapping(t)
	f.create(t, "web")
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	w.asked()
	answer := api.Errorf(api.Forbidden, "the identity needs AcrDelete")
	w.remove = func(context.Context) error { return answer }
	for range 2 {
		if got, _ := f.prune(t, pruneAll); len(got) > 0 {
			t.Errorf("pruned: %v", got)
		}
	}
	if n := strings.Count(f.log.String(), "AcrDelete"); n != 1 {
		t.Errorf("%d lines in the log: %s", n, f.log.String())
	}
	n, warnings := f.info(t)
	if n != "1" || len(warnings) != 1 || !strings.Contains(warnings[0], "the identity needs AcrDelete") {
		t.Errorf("%s wrapped images, warnings %q", n, warnings)
	}
	// A refusal keeps no create from the image. Of another failure nobody knows what becomes of it.
	f.create(t, "web")
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	answer = api.Errorf(api.Unavailable, "no answer")
	f.prune(t, pruneAll)
	w.remove, w.log = nil, nil
	if got, _ := f.prune(t, pruneAll); len(got) > 0 || w.asked() != "" {
		t.Errorf("pruned twice: %v", got)
	}
	f.clock.Advance(store.RemovalLease)
	if got, _ := f.prune(t, pruneAll); len(got) != 2 {
		t.Errorf("pruned after the lease: %v", got)
	}
	if _, warnings := f.info(t); len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

// TestKeptDerivedImages moves the clock over the time for which unused derived images are kept.
func TestKeptDerivedImages(t *testing.T) {
	f, w := wrapping(t)
	f.create(t, "web")
	f.cfg.WrapKeep = 24 * time.Hour
	w.asked()
	after := func(d time.Duration, want string) {
		t.Helper()
		f.clock.Advance(d)
		if err := f.removeLongUnused(api.ByDaemon(t.Context(), "retention")); err != nil || w.asked() != want {
			t.Errorf("after %s: %v", d, err)
		}
	}
	after(48*time.Hour, "")
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	after(23*time.Hour, "")
	f.create(t, "again")
	w.asked()
	if err := f.ContainerRemove(t.Context(), "again", false); err != nil {
		t.Fatal(err)
	}
	after(23*time.Hour, "")
	after(2*time.Hour, "DELETE sha256:dd")
	var last audit.Record
	_, err := f.db.VerifyTrail(t.Context(), nil, func(r audit.Record) error {
		last = r
		return nil
	})
	if err != nil || last.Action != audit.ActionImage || last.Asked != "delete" || last.Image == nil ||
		last.Image.Name != fakeDerived.Reference || last.Requester.Cause != "retention" {
		t.Errorf("recorded %+v, %v", last, err)
	}
	// A daemon looks for them when it starts.
	f.create(t, "web")
	if err := f.ContainerRemove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(25 * time.Hour)
	w.asked()
	f.wraps(t, w, 24*time.Hour)
	azuretest.Eventually(t, "the image is removed", func() bool { return w.asked() == "DELETE sha256:dd" })
}

// TestPruneWhileAnotherDaemonDerives forces the orders in which a create of one daemon and a prune of another meet.
func TestPruneWhileAnotherDaemonDerives(t *testing.T) {
	all, clock := daemons(t, pgtest.Database(t), 2)
	w := &fakeWrapper{}
	for _, f := range all {
		f.cfg.Wrapper, f.cfg.Settings.Registry = w, "registry.example.com"
		f.begin(t)
	}
	one, two := all[0], all[1]
	one.registry.answers("a", 0, nil)
	waiters := 3 * len(all) // the tickers of both
	if err := clock.BlockUntilContext(t.Context(), waiters); err != nil {
		t.Fatal(err)
	}
	type stop struct{ reached, proceed chan struct{} }
	newStop := func() stop { return stop{make(chan struct{}), make(chan struct{})} }
	wait := func(s stop) {
		close(s.reached)
		select {
		case <-s.proceed:
		case <-t.Context().Done(): // the test has failed
		}
	}
	// begin runs f, and returns a channel that is closed at its end.
	begin := func(f func()) chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		return done
	}
	create := func(name string) chan struct{} {
		return begin(func() {
			if _, err := one.ContainerCreate(t.Context(), name, request); err != nil {
				t.Error(err)
			}
		})
	}
	remove := func(name string) {
		t.Helper()
		if err := one.ContainerRemove(t.Context(), name, false); err != nil {
			t.Fatal(err)
		}
		w.asked()
	}

	// The create has claimed the image, and has asked for nothing yet.
	deriving := newStop()
	w.derive = func() { wait(deriving) }
	created := create("first")
	<-deriving.reached
	if got, _ := two.prune(t, pruneAll); len(got) > 0 {
		t.Fatalf("the image of a create is pruned: %v", got)
	}
	close(deriving.proceed)
	<-created
	if got := w.asked(); got != "HEAD false, PUT" {
		t.Errorf("the first create: %s", got)
	}
	remove("first")

	// The prune has begun to delete the image when the create comes.
	deleting, claimed := newStop(), make(chan struct{})
	w.remove = func(context.Context) error {
		wait(deleting)
		return nil
	}
	w.derive = func() { close(claimed) }
	pruning := begin(func() {
		if got, _ := two.prune(t, pruneAll); len(got) != 2 {
			t.Errorf("pruned: %v", got)
		}
	})
	select {
	case <-deleting.reached:
	case <-pruning:
		t.Fatal("the prune deletes nothing")
	}
	created = create("second")
	waiting := begin(func() { _ = clock.BlockUntilContext(t.Context(), waiters+1) })
	select {
	case <-waiting:
	case <-claimed:
		t.Fatal("a create goes on while a prune deletes the image")
	}
	close(deleting.proceed)
	<-pruning
	<-created
	if got := w.asked(); got != "DELETE sha256:dd, HEAD false, PUT" {
		t.Errorf("prune and create: %s", got)
	}
	remove("second")
	clock.Advance(store.RemovalLease) // nobody waits any more

	// The daemon that prunes dies before the registry deletes the image.
	list, err := two.db.UnusedDerived(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("unused: %v, %v", list, err)
	}
	if removal, err := two.db.BeginRemoval(t.Context(), list[0]); removal == nil || err != nil {
		t.Fatalf("removal %v, %v", removal, err)
	}
	w.derive = nil
	created = create("third")
	if err := clock.BlockUntilContext(t.Context(), waiters+1); err != nil {
		t.Fatal(err)
	}
	if got := w.asked(); got != "" {
		t.Fatalf("during the lease: %s", got)
	}
	azuretest.Eventually(t, "the create goes on", func() bool {
		clock.Advance(store.RemovalLease)
		select {
		case <-created:
			return true
		default:
			return false
		}
	})
	if got := w.asked(); got != "HEAD true" {
		t.Errorf("after the lease: %s", got)
	}
	if got, _ := two.prune(t, pruneAll); len(got) > 0 {
		t.Errorf("the image of the third create is pruned: %v", got)
	}
}
